import { wrap } from './display.ts';

/** What a block is drawn on: `process.stdout`, or a test's stand-in. */
export interface Screen {
  write(text: string): void;
  columns: number;
  rows: number;
}

const BEGIN = '\u001b[?2026h'; // synchronized output: the terminal shows the frame as a whole; others ignore it
const END = '\u001b[?2026l';
/** Cursor hidden, lines cut at the edge instead of wrapped. */
const ENTER = '\u001b[?25l\u001b[?7l';
const LEAVE = '\u001b[?7h\u001b[?25h';
/** Written before the line: behind one that fills the screen it would take the last cell away. */
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

/** Lines at the bottom of a terminal that are redrawn in place. What is written above them scrolls away as usual. */
export class TerminalBlock {
  readonly #screen: Screen;
  #drawn: string[] = [];
  #entered = false;

  constructor(screen: Screen) {
    this.#screen = screen;
  }

  /** Draws the lines over the ones drawn before. They must fit the screen's width. */
  draw(lines: readonly string[]): void {
    if (
      this.#entered &&
      lines.length === this.#drawn.length &&
      lines.every((line, place) => line === this.#drawn[place])
    )
      return;
    const enter = this.#entered ? '' : ENTER;
    this.#entered = true;
    this.#screen.write(
      `${enter}${BEGIN}${this.#up()}${lines.map((line) => `${CLEAR_LINE}${line}\r\n`).join('')}${CLEAR_BELOW}${END}`,
    );
    this.#drawn = [...lines];
  }

  /** Writes lines above the block: they stay. */
  above(text: string): void {
    const lines = this.#drawn;
    this.#screen.write(`${this.#up()}${CLEAR_BELOW}`);
    this.#drawn = [];
    for (const line of text.split('\n').flatMap((part) => wrap(part, this.#screen.columns)))
      this.#screen.write(`${line}\r\n`);
    if (lines.length > 0) this.draw(lines);
  }

  /** Removes the block and gives the terminal back as it was. May be called more than once. */
  leave(): void {
    if (!this.#entered) return;
    this.#screen.write(`${this.#up()}${CLEAR_BELOW}${LEAVE}`);
    this.#drawn = [];
    this.#entered = false;
  }

  #up(): string {
    return this.#drawn.length === 0 ? '' : `\u001b[${this.#drawn.length}A\r`;
  }
}
