import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runCase } from '../bench/harness/context.ts';
import { Mirror } from '../bench/load/mirror.ts';
import { BEGIN, END, rowsOf, table, writeBetween } from '../bench/report.ts';
import { plainEnv } from './support/repository.ts';
import { tempDir } from './support/temp.ts';

/** The bench measures what it says, and finds what is lost, doubled or out of order. How fast anything is stays out of here. */

const root = join(import.meta.dirname, '..');

function frame(seq: number, id = seq * 3): string {
  return `id: ${id}\nevent: agent_output\ndata: {"run_id":"k3xyzabcde","attempt":0,"seq":${seq},"t":5,"content":"x"}\n\n`;
}

function give(mirror: Mirror, reader: number, text: string): void {
  const bytes = Buffer.from(`..${text}..`);
  mirror.take(reader, bytes, 2, bytes.length - 2);
}

describe('the mirror that every reader is compared with', () => {
  it('counts what each reader has, however it was cut into pieces', () => {
    const mirror = new Mirror();
    const [one, other] = [mirror.add(), mirror.add()];
    const text = [1, 2, 3, 4].map((seq) => frame(seq)).join('');
    give(mirror, one, text.slice(0, 100));
    give(mirror, other, text);
    give(mirror, one, text.slice(100, 250));
    expect(mirror.violations).toEqual([]);
    expect([mirror.seqOf(one), mirror.seqOf(other)]).toEqual([2, 4]);
    expect(mirror.lowestSeq([one, other])).toBe(2);
    give(mirror, one, text.slice(250));
    expect(mirror.deliveries).toBe(8);
    expect(mirror.violations).toEqual([]);
  });

  it.each([
    ['one is lost', [frame(1), frame(3)], 'seq 3 came after 1'],
    ['one comes twice', [frame(1), frame(2), frame(2, 7)], 'seq 2 came twice'],
    ['two change places', [frame(1), frame(3, 6), frame(2, 9)], 'seq 3 came after 1'],
    ['an id does not rise', [frame(1, 5), frame(2, 5)], 'id 5 came after 5'],
  ])('says so where %s', (_, frames, words) => {
    const mirror = new Mirror();
    give(mirror, mirror.add(), frames.join(''));
    expect(mirror.violations).toContain(words);
  });

  it('says so where one reader gets other bytes than the others', () => {
    const mirror = new Mirror();
    const [one, other] = [mirror.add(), mirror.add()];
    give(mirror, one, frame(1) + frame(2) + frame(3));
    give(mirror, other, frame(1));
    give(mirror, other, frame(3) + frame(2));
    expect(mirror.violations).toEqual(['reader 1 got other bytes than the others, behind seq 1']);
  });

  it('lets a reader that was cut off go on behind its last whole event, and forgets what all have', () => {
    const mirror = new Mirror();
    const [one, other] = [mirror.add(), mirror.add()];
    const text = Array.from({ length: 30_000 }, (_, index) => frame(index + 1)).join('');
    const cut = text.indexOf(frame(101)) + 20;
    give(mirror, other, text.slice(0, cut));
    for (let at = 0; at < text.length; at += 60_000) give(mirror, one, text.slice(at, at + 60_000));
    expect(mirror.rewind(other)).toBe(300);
    give(mirror, other, text.slice(text.indexOf(frame(101))));
    expect(mirror.seqOf(other)).toBe(30_000);
    expect(mirror.violations).toEqual([]);
  });
});

describe('the report', () => {
  it('takes medians, sets them beside the peer of the same run, and judges by the goal', () => {
    const [row] = rowsOf({
      row: 'F1',
      figures: [
        {
          what: 'burst',
          unit: '/s',
          rounds: [900, 100, 1000],
          goal: { atLeast: 800 },
          beside: { name: 'peer', rounds: [100, 300], goal: { atLeast: 8 } },
        },
      ],
    });
    expect(row).toMatchObject({
      value: 900,
      lowest: 100,
      highest: 1000,
      beside: { value: 200, ratio: 4.5 },
      reached: false,
      goal: '>= 800 /s, >= 8 times peer',
    });
  });

  it('writes between its markers and nowhere else', () => {
    const file = join(tempDir(), 'page.md');
    writeFileSync(file, `before\n${BEGIN}\nold\n${END}\nafter\n`);
    writeBetween(file, table([]));
    const text = readFileSync(file, 'utf8');
    expect(text).toMatch(/^before\n/);
    expect(text).toMatch(/\nafter\n$/);
    expect(text).toContain('| median (lowest to highest) |');
    expect(text).not.toContain('old');
    writeFileSync(file, 'no place');
    expect(() => writeBetween(file, 'x')).toThrow('has no place for the figures');
  });

  it('has its place in docs/performance.md', () => {
    const text = readFileSync(join(root, 'docs', 'performance.md'), 'utf8');
    expect(text.indexOf(BEGIN)).toBeGreaterThan(0);
    expect(text.indexOf(END)).toBeGreaterThan(text.indexOf(BEGIN));
  });
});

describe('a case', () => {
  it('names what was not right and what failed, and leaves nothing behind', async () => {
    const folders: string[] = [];
    const { violations, figures } = await runCase(
      {
        name: 'broken',
        row: 'X1',
        run: (context) => {
          folders.push(context.folder());
          context.check(true, 'never said');
          context.check(false, 'one was lost');
          return Promise.reject(new Error('it broke'));
        },
      },
      { effort: 'tiny', say: () => undefined },
    );
    expect(violations).toEqual(['one was lost', 'failed: it broke']);
    expect(figures).toEqual([]);
    expect(folders.map((folder) => existsSync(folder))).toEqual([false]);
  });
});

describe('npm run bench', () => {
  it('runs cases on the real store, door and peers, and ends by itself', async () => {
    const json = join(tempDir(), 'figures.json');
    const { code, printed } = await bench('--tiny', '--only', 'fan-out,replay,stuck-readers', '--json', json);
    expect(printed).toContain('C1: nothing lost, doubled or out of order.');
    expect(code).toBe(0);
    const { rows, violations } = JSON.parse(readFileSync(json, 'utf8')) as {
      rows: { row: string; value: number; beside: { value: number } | null }[];
      violations: string[];
    };
    expect(violations).toEqual([]);
    expect([...new Set(rows.map(({ row }) => row))]).toEqual(['F1', 'R1', 'M2']);
    expect(rows.every(({ value }) => Number.isFinite(value))).toBe(true);
  });

  it('says which cases there are where one is not known', async () => {
    const { code, printed } = await bench('--only', 'nothing');
    expect(code).toBe(2);
    expect(printed).toContain('There is no case nothing.');
    expect(printed).toContain('fan-out');
  });
});

function bench(...args: string[]): Promise<{ code: number | null; printed: string }> {
  const child = spawn(process.execPath, [join(root, 'bench', 'main.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: plainEnv,
  });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      printed += chunk.toString('utf8');
    });
  }
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, printed })));
}
