import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BenchCase, BenchContext, Effort, Figure } from '../bench-case.ts';
import { startChild } from './child.ts';

export interface Outcome {
  name: string;
  row: string;
  figures: Figure[];
  /** What was lost, doubled or out of order, and what failed. Empty = all is right. */
  violations: string[];
  seconds: number;
}

export interface CaseOptions {
  effort: Effort;
  profileDir?: string | undefined;
  say(text: string): void;
}

/** A case that takes longer than this is ended and counts as failed. */
const LIMIT_MS: Record<Effort, number> = { tiny: 60_000, quick: 180_000, full: 900_000 };

/** Runs a case to its end, and leaves nothing of it: no process, no file. Never rejects. */
export async function runCase(one: BenchCase, { effort, profileDir, say }: CaseOptions): Promise<Outcome> {
  const closers: (() => Promise<void> | void)[] = [];
  const violations: string[] = [];
  const started = performance.now();
  let isOver = false;
  const context: BenchContext = {
    effort,
    pick: (choices) => choices[effort],
    folder: () => {
      // Short, because the path of a Unix socket may have 107 bytes.
      const path = mkdtempSync(join(tmpdir(), 'aib-'));
      closers.push(() => rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }));
      return path;
    },
    start: async (file, options = {}) => {
      if (isOver) throw new Error('the case is over');
      const child = await startChild<never>(file, {
        core: options.core,
        profileDir: options.profiled === true ? profileDir : undefined,
      });
      closers.push(() => child.close());
      // Its time may have run out while the process started: nobody would end that one.
      if (isOver) await child.close();
      return child;
    },
    check: (ok, message) => {
      if (!ok) violations.push(message);
    },
    say,
  };
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it took longer than ${LIMIT_MS[effort] / 1000} s`)), LIMIT_MS[effort]);
  });
  let figures: Figure[] = [];
  try {
    figures = await Promise.race([one.run(context), late]);
  } catch (error) {
    violations.push(`failed: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    clearTimeout(timer);
    isOver = true;
  }
  for (const close of closers.toReversed()) {
    try {
      await close();
    } catch (error) {
      violations.push(`clearing up: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { name: one.name, row: one.row, figures, violations, seconds: (performance.now() - started) / 1000 };
}
