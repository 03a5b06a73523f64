import type { EnvelopeType } from '../../contract/envelope.ts';
import type { Finder } from '../../redaction/finder.ts';
import { redactJson, redactText } from '../../redaction/redact.ts';
import { createTextStream, type TextStream } from '../../redaction/text-stream.ts';
import type { Journal } from '../journal.ts';
import { createSaid } from './said.ts';

/** What is noted of secrets that were found: so many different ones. */
const MOST_NOTES = 20;

/**
 * A journal that no secret gets into: what stands in one's place says what it was. All else is written to the byte as it came, in its
 * order; only the end of a text that comes in pieces may wait for what follows it (see `createTextStream`), and never past another
 * message, a note or the end.
 */
export function redacted(journal: Journal, finder: Finder): Journal {
  const noted = new Set<string>();
  let unsaid: { what: string; where: string }[] = [];

  const foundIn =
    (where: string) =>
    (what: string): void => {
      const key = `${what} ${where}`;
      if (noted.has(key) || noted.size >= MOST_NOTES) return;
      noted.add(key);
      unsaid.push({ what, where });
    };

  /** Behind the event that it is about. */
  function append(type: EnvelopeType, data: string): void {
    journal.append(type, data);
    const notes = unsaid;
    unsaid = [];
    for (const { what, where } of notes) {
      journal.note('secret_redacted', `A secret was left out (${what}), first here in what is of kind ${where}.`, {
        what,
        where,
      });
    }
  }

  const said = createSaid({ finder, foundIn, write: (text) => append('acp', text) });
  const printed: Record<'stderr' | 'unparsed', TextStream> = {
    stderr: createTextStream(finder, foundIn('stderr')),
    unparsed: createTextStream(finder, foundIn('unparsed')),
  };

  /** `{text}` as whole lines, or `{base64}` where it is not UTF-8: one event follows another, and a secret may go over both. */
  function print(type: 'stderr' | 'unparsed', data: string): void {
    const { text, base64 } = JSON.parse(data) as { text?: string; base64?: string };
    const whole = text ?? Buffer.from(base64 ?? '', 'base64').toString('latin1');
    // A line of its own, whose LF is not a part of the event.
    const end = type === 'unparsed' ? '\n' : '';
    const stream = printed[type];
    const clean = [...stream.take(whole + end), ...stream.flush()].join('');
    if (clean === whole + end) {
      append(type, data);
      return;
    }
    const rest = end !== '' && clean.endsWith(end) ? clean.slice(0, -1) : clean;
    append(
      type,
      JSON.stringify(text === undefined ? { base64: Buffer.from(rest, 'latin1').toString('base64') } : { text: rest }),
    );
  }

  const self: Journal = {
    get bytes() {
      return journal.bytes;
    },
    get seq() {
      return journal.seq;
    },
    get full() {
      return journal.full;
    },
    append: (type, data, value) => {
      switch (type) {
        case 'acp':
          said.take(data, value);
          break;
        case 'stderr':
        case 'unparsed':
          print(type, data);
          break;
        default:
          said.flush();
          append(type, redactJson(finder, data, foundIn(type)));
      }
    },
    note: (code, message, facts = {}) => self.append('note', JSON.stringify({ code, message, ...facts })),
    heartbeat: () => journal.heartbeat(),
    drained: () => journal.drained(),
    close: (word) => {
      said.flush();
      const { message } = word;
      return journal.close({ ...word, message: message === null ? null : redactText(finder, message) });
    },
  };
  return self;
}
