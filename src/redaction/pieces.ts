import type { Finder } from './finder.ts';
import { hasDoubledNames, WITHHELD, withoutSecrets, type OnFound } from './redact.ts';

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
 * Puts what became of a piece of text into its message. The piece was looked at together with what stands around it (see
 * `createTextStream`); all else in the message is looked at by itself. A message comes back as it was, to the byte, where nothing is to
 * be changed.
 *
 * @param message JSON text of an update of {@link PIECES}
 */
export type WithPiece = (
  message: string,
  what: { piece: string; clean: string },
  onFound: OnFound | undefined,
) => string;

export function createWithPiece(finder: Finder): WithPiece {
  // What stood around the last piece, and held no secret: mostly it is the same again.
  let before = '';
  let after = '';

  function isAround(message: string, text: string): boolean {
    return (
      message.length === before.length + text.length + after.length &&
      message.startsWith(before) &&
      message.endsWith(after) &&
      message.startsWith(text, before.length)
    );
  }

  return (message, { piece, clean }, onFound) => {
    if (clean === piece) {
      const text = JSON.stringify(piece);
      if (isAround(message, text)) return message;
      if (!finder.suspects(message)) {
        const at = message.lastIndexOf(text);
        if (at !== -1) {
          before = message.slice(0, at);
          after = message.slice(at + text.length);
        }
        return message;
      }
    }
    try {
      return rewritten(message, piece, clean, onFound);
    } catch {
      // Nested so deep that it cannot be written.
      return WITHHELD;
    }
  };

  function rewritten(message: string, piece: string, clean: string, onFound: OnFound | undefined): string {
    const value = JSON.parse(message) as Message;
    value.params.update.content.text = '';
    const bare = JSON.stringify(value);
    const rest = withoutSecrets(finder, bare, value, onFound);
    const isWhole = !hasDoubledNames(message, value) && finder.findKnown(message).length === 0;
    if (clean === piece && rest === bare && isWhole) return message;
    const written = JSON.parse(rest) as Partial<Message>;
    if (written.params !== undefined) written.params.update.content.text = clean;
    return JSON.stringify(written);
  }
}
