import type { Child } from './harness/child.ts';

/** What a case is, and what it gives back. To add one: a file in `cases/`, and its line in `cases/all.ts`. */

export interface BenchCase {
  /** What `--only` takes. */
  name: string;
  /** The row of the table of goals in docs/performance.md that it is about. */
  row: string;
  run(context: BenchContext): Promise<Figure[]>;
}

/** `tiny`: does the bench itself work (its figures mean nothing). `quick`: about three minutes in all. */
export type Effort = 'tiny' | 'quick' | 'full';

export interface BenchContext {
  effort: Effort;
  pick<Value>(choices: Record<Effort, Value>): Value;
  /** A new empty folder, removed when the case is over. */
  folder(): string;
  /** Starts a process of the bench; it is ended with the case at the latest. */
  start<Api>(file: URL, options?: StartOptions): Promise<Child<Api>>;
  /** What must hold besides speed: nothing lost, doubled or out of order. One that does not fails the whole bench. */
  check(ok: boolean, message: string): void;
  /** Progress, for whoever watches. */
  say(text: string): void;
}

export interface StartOptions {
  /** The core it is pinned to, where that can be done: 0 = servers, 1 = load. Left out = any. */
  core?: 0 | 1 | undefined;
  /** Profiled with `--profile`. */
  profiled?: boolean | undefined;
}

/** One line of the table. */
export interface Figure {
  what: string;
  /** One value per round; the median is what counts. */
  rounds: readonly number[];
  unit: string;
  /** What the median is to be at least, or at most. */
  goal?: Bound | undefined;
  /** The peer's rounds of the same run. */
  beside?: { name: string; rounds: readonly number[]; goal?: Bound | undefined } | undefined;
}

export type Bound = { atLeast: number } | { atMost: number };

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}
