import { expect, test } from 'vitest';
import { TerminalBlock } from './terminal-block.ts';

/** As much of a terminal as the block uses: rows, a cursor, and whether the cursor is seen and lines wrap. */
class Terminal {
  readonly columns = 20;
  readonly rows = 10;
  lines: string[] = [''];
  row = 0;
  column = 0;
  cursor = true;
  wraps = true;
  writes = 0;

  write(text: string): void {
    this.writes += 1;
    for (const [part] of text.matchAll(new RegExp('\u001b\\[\\??\\d*[A-Za-z]|[\\s\\S]', 'gu'))) this.#take(part);
  }

  #take(part: string): void {
    const line = this.lines[this.row] ?? '';
    if (part === '\r') this.column = 0;
    else if (part === '\n') {
      this.row += 1;
      this.lines[this.row] ??= '';
    } else if (part === '\u001b[K') this.lines[this.row] = line.slice(0, this.column);
    else if (part === '\u001b[J') this.lines = [...this.lines.slice(0, this.row), line.slice(0, this.column)];
    else if (/^\u001b\[\d+A$/u.test(part)) this.row -= Number(part.slice(2, -1));
    else if (part === '\u001b[?25l' || part === '\u001b[?25h') this.cursor = part.endsWith('h');
    else if (part === '\u001b[?7l' || part === '\u001b[?7h') this.wraps = part.endsWith('h');
    else if (!part.startsWith('\u001b')) {
      this.lines[this.row] = line.slice(0, this.column) + part + line.slice(this.column + 1);
      this.column = Math.min(this.column + 1, this.wraps ? Infinity : this.columns - 1);
    }
  }
}

test('draws in place, shrinks, prints above, and gives the terminal back', () => {
  const terminal = new Terminal();
  terminal.write('$ aideator run\r\n');
  const block = new TerminalBlock(terminal);
  block.draw(['head', 'a long line', 'third']);
  expect(terminal.lines).toEqual(['$ aideator run', 'head', 'a long line', 'third', '']);
  expect([terminal.cursor, terminal.wraps]).toEqual([false, false]);
  block.draw(['head 2', 'short']);
  expect(terminal.lines).toEqual(['$ aideator run', 'head 2', 'short', '']);
  block.above('a remark that is wider than the screen');
  expect(terminal.lines).toEqual([
    '$ aideator run',
    'a remark that is',
    'wider than the',
    'screen',
    'head 2',
    'short',
    '',
  ]);
  block.leave();
  expect(terminal.lines).toEqual(['$ aideator run', 'a remark that is', 'wider than the', 'screen', '']);
  expect([terminal.cursor, terminal.wraps]).toEqual([true, true]);
  block.leave();
  block.above('after');
  expect(terminal.lines.slice(-2)).toEqual(['after', '']);
});

test('a line that fills the screen is whole', () => {
  const terminal = new Terminal();
  new TerminalBlock(terminal).draw(['x'.repeat(19) + 'y', 'next']);
  expect(terminal.lines).toEqual(['x'.repeat(19) + 'y', 'next', '']);
});

test('the same picture is not drawn twice', () => {
  const terminal = new Terminal();
  const block = new TerminalBlock(terminal);
  block.draw(['one']);
  const { writes } = terminal;
  block.draw(['one']);
  expect(terminal.writes).toBe(writes);
});
