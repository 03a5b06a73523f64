import type { Eof } from '../../contract/attempt.ts';
import { openJournal, type JournalOptions } from '../journal.ts';

/** The door gave an attempt that this recorder cannot read: the server is of another version. In words. */
export class UnreadAttempt extends Error {}

/**
 * Ends an attempt that was claimed and cannot be read: nothing is started, and its journal says why, so that whoever looks at the run
 * sees it, and not whoever looks at the pod alone.
 */
export async function closeUnread(
  journalOptions: Pick<JournalOptions, 'path' | 'attempt' | 'resume' | 'onAppend' | 'onWritten'>,
  message: string,
): Promise<Eof> {
  const journal = await openJournal({ ...journalOptions, onTrouble: () => undefined });
  journal.note('setup_failed', message);
  const timings = { workspace_ms: null, first_message_ms: null, total_ms: 0 };
  return journal.close({ reason: 'setup_failed', message, exit: null, timings });
}
