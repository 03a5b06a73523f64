import type { Finder } from './finder.ts';
import { withoutSecrets, type OnFound } from './redact.ts';

/** Updates of ACP of which each is a piece of one text. */
export const PIECES: ReadonlySet<unknown> = new Set([
  'agent_message_chunk',
  'agent_thought_chunk',
  'user_message_chunk',
]);

interface Message {
  params: { update: { content: { text: string } } };
}

/**
 * A message with what became of its piece of text, which was looked at together with what stands around it (see `createTextStream`);
 * all else in it is looked at by itself. As it was, to the byte, where nothing is to be changed.
 *
 * @param message JSON text of an update of {@link PIECES}
 */
export function withPiece(
  finder: Finder,
  message: string,
  { piece, clean }: { piece: string; clean: string },
  onFound?: OnFound,
): string {
  if (clean === piece && !finder.suspects(message)) return message;
  const value = JSON.parse(message) as Message;
  value.params.update.content.text = '';
  const bare = JSON.stringify(value);
  const rest = withoutSecrets(finder, bare, value, onFound);
  if (clean === piece && rest === bare && finder.findKnown(message).length === 0) return message;
  const written = JSON.parse(rest) as Partial<Message>;
  if (written.params !== undefined) written.params.update.content.text = clean;
  return JSON.stringify(written);
}
