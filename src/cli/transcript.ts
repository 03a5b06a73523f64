import type { Event } from '../contract/api.ts';
import { fit, plainLines } from './display.ts';
import { type Words, wordsOf } from './event-words.ts';
import { wallClock } from './format.ts';
import type { Palette } from './palette.ts';

export interface TranscriptOptions {
  /** A variation's name in the brackets: `0 smallest-change`. */
  label(variation: number): string;
  palette: Palette;
  /** Everything that was said (tool output, notes, stderr), not only the outline. */
  full?: boolean;
}

interface Open {
  words: Words;
  text: string;
}

/** A text that has no line break and no end of a sentence is printed once it is this long. */
const LONG = 160;
/** Cells of a line in an outline. */
const OUTLINE = 400;
/** Lines of one tool's output that a full transcript shows. */
const OUTPUT_LINES = 40;

/**
 * Events as lines of plain text: `12:03:04 [0 smallest-change] thinking: …`. Agents speak in pieces of words; here they
 * are put together to whole lines and sentences.
 */
export class Transcript {
  readonly #options: TranscriptOptions;
  readonly #open = new Map<number | null, Open>();

  constructor(options: TranscriptOptions) {
    this.#options = options;
  }

  /** The lines that an event completes. */
  push(event: Event): string[] {
    const words = wordsOf(event);
    if (words === null || (words.detail && this.#options.full !== true)) return [];
    const open = this.#open.get(words.variation);
    if (words.chunk && open?.words.kind === words.kind) {
      open.text += words.text;
      open.words = words;
      return this.#whole(open);
    }
    const lines = this.flush(words.variation);
    if (!words.chunk) return [...lines, ...this.#lines(words, words.text), ...this.#more(words)];
    const opened = { words, text: words.text };
    this.#open.set(words.variation, opened);
    return [...lines, ...this.#whole(opened)];
  }

  /** What is still open, as lines: of one variation, or of all. Call it when nothing came for a while, and at the end. */
  flush(variation?: number | null): string[] {
    const keys = variation === undefined ? [...this.#open.keys()] : [variation];
    return keys.flatMap((key) => {
      const open = this.#open.get(key);
      this.#open.delete(key);
      return open === undefined ? [] : this.#lines(open.words, open.text);
    });
  }

  #more(words: Words): string[] {
    return words.more === undefined || this.#options.full !== true
      ? []
      : this.#lines({ ...words, kind: 'output' }, words.more);
  }

  /** Takes whole lines and sentences off an open text. */
  #whole(open: Open): string[] {
    let end = open.text.lastIndexOf('\n') + 1;
    if (end === 0 && open.text.length > LONG) {
      const sentence = /^[\s\S]*[.!?…:;。！？]\s/u.exec(open.text);
      end = sentence?.[0].length ?? (open.text.length > 4 * LONG ? open.text.lastIndexOf(' ') + 1 : 0);
    }
    if (end === 0) return [];
    const text = open.text.slice(0, end);
    open.text = open.text.slice(end);
    return this.#lines(open.words, text);
  }

  #lines({ kind, variation, at }: Words, text: string): string[] {
    const { palette } = this.#options;
    const who = variation === null ? '[run]' : `[${this.#options.label(variation)}]`;
    const head = `${palette.dim(wallClock(at))} ${palette.accent(who)} `;
    let lines = plainLines(text).filter((line) => line.trim() !== '');
    if (kind === 'output' && lines.length > OUTPUT_LINES) {
      lines = [...lines.slice(0, OUTPUT_LINES), `(${lines.length - OUTPUT_LINES} more lines)`];
    }
    // In outline a line is one to glance at: what a tool or an agent says at its end may be very long.
    if (this.#options.full !== true) lines = lines.map((line) => fit(line, OUTLINE));
    return lines.map(
      (line) =>
        head + this.#said(kind, kind === 'output' || kind === 'unparsed' || kind === 'stderr' ? line : line.trim()),
    );
  }

  #said(kind: Words['kind'], line: string): string {
    const { palette } = this.#options;
    switch (kind) {
      case 'thinking':
        return palette.dim(`thinking: ${line}`);
      case 'status':
        return line.startsWith('failed') || line.startsWith('run failed') ? palette.bad(line) : palette.bold(line);
      case 'error':
        return palette.bad(`error: ${line}`);
      case 'output':
        return palette.dim(`| ${line}`);
      default:
        return `${kind}: ${line}`;
    }
  }
}
