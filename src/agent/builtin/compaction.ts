import type { ModelMessage, ToolResultPart } from 'ai';

/** Makes a conversation shorter. Values in, values out; calls and their results are never parted. */

/** The last so many results stay as they are. */
const RESULTS_KEPT = 6;
const LONG_RESULT = 1200;
const KEPT_OF_RESULT = 400;

/** About how many tokens messages take: a quarter of their characters as JSON. */
export function estimateTokens(messages: readonly ModelMessage[]): number {
  return Math.ceil(
    messages.reduce(
      (sum, { content }) => sum + (typeof content === 'string' ? content.length : JSON.stringify(content).length),
      0,
    ) / 4,
  );
}

/** Shortens long results of tools except the last ones, with a mark in each. The same array where there was nothing to shorten. */
export function shortenResults(messages: readonly ModelMessage[]): readonly ModelMessage[] {
  const withResults = messages.flatMap(({ role }, index) => (role === 'tool' ? [index] : []));
  const old = new Set(withResults.slice(0, -RESULTS_KEPT));
  let changed = false;
  const shorter = messages.map((message, index): ModelMessage => {
    if (message.role !== 'tool' || !old.has(index)) return message;
    const content = message.content.map((part) => {
      const short = part.type === 'tool-result' ? shortenResult(part) : part;
      changed ||= short !== part;
      return short;
    });
    return { ...message, content };
  });
  return changed ? shorter : messages;
}

function shortenResult(part: ToolResultPart): ToolResultPart {
  const { output } = part;
  if ((output.type !== 'text' && output.type !== 'error-text') || output.value.length <= LONG_RESULT) return part;
  const cut = `${output.value.slice(0, KEPT_OF_RESULT).toWellFormed()}\n[… ${output.value.length - KEPT_OF_RESULT} characters were left out to save room; run the tool again if you need them …]`;
  return { ...part, output: { ...output, value: cut } };
}

/**
 * Where the conversation can be parted: everything before is told in short, the rest stays. An answer of the model's always
 * begins the rest, so the results of its calls are with it. Null where nothing can be taken away.
 *
 * @param keepTokens about how many tokens the rest may take
 */
export function partAt(messages: readonly ModelMessage[], keepTokens: number): number | null {
  let kept = 0;
  let at: number | null = null;
  for (let index = messages.length - 1; index > 1; index -= 1) {
    const message = messages[index];
    if (message === undefined) break;
    kept += estimateTokens([message]);
    if (message.role !== 'assistant') continue;
    // The last answer and its results stay in any case.
    if (kept > keepTokens && at !== null) break;
    at = index;
  }
  return at;
}

/** A conversation as text, for the model to tell it in short. */
export function transcriptOf(messages: readonly ModelMessage[], mostChars: number): string {
  const parts = messages.map((message) => {
    if (typeof message.content === 'string') return `[${message.role}]\n${message.content}`;
    const pieces = message.content.flatMap((part) => {
      switch (part.type) {
        case 'text':
          return [part.text];
        case 'tool-call':
          return [`(calls ${part.toolName} ${clip(JSON.stringify(part.input) ?? '', 1500)})`];
        case 'tool-result':
          return [
            `(${part.toolName} gives) ${clip(part.output.type === 'text' || part.output.type === 'error-text' ? part.output.value : part.output.type, 1500)}`,
          ];
        default:
          return [];
      }
    });
    return `[${message.role}]\n${pieces.join('\n')}`;
  });
  const text = parts.join('\n\n');
  if (text.length <= mostChars) return text;
  const half = Math.floor(mostChars / 2);
  return `${text.slice(0, half)}\n[… ${text.length - 2 * half} characters are left out …]\n${text.slice(-half)}`.toWellFormed();
}

function clip(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most).toWellFormed()} […]`;
}

export const SUMMARY_REQUEST = `Below is the beginning of a coding agent's work on a task. It is too long to be kept and will be replaced by your summary; the agent goes on from it. Write down, in at most 800 words, everything it needs: the task word for word where it is short, what was found out (files, functions, causes), what was changed so far and where, which commands were run with which outcome, what is still to be done, and what must not be tried again. Facts only.`;

/** The message that stands for what was taken away. */
export function summaryMessage(task: ModelMessage | undefined, summary: string): ModelMessage {
  const asked =
    task === undefined ? '' : typeof task.content === 'string' ? task.content : transcriptOf([task], 20_000);
  return {
    role: 'user',
    content: `${asked}\n\n[The work so far was longer than fits; this is a summary of it. Files are as it says: go on from here.]\n\n${summary}`,
  };
}
