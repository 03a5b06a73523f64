import type { Config } from '../config.ts';

/** A strategy: a named instruction that is added beneath the prompt. */
const shipped: Record<string, string> = {
  'smallest-change':
    'Strategy: smallest change. Make the least change that fully solves the task. Touch as few files and lines as you can; no refactoring, renaming or reformatting beside it.',
  'test-first':
    'Strategy: test first. Before you change the code, write a test that fails because the task is not done yet, and see it fail. Then make it pass, and run the whole test suite.',
  'edge-cases-first':
    'Strategy: edge cases first. List the edge cases of the task before you write code (empty, zero, negative, huge, duplicate, concurrent, malformed, non-ASCII input). Handle each of them, and cover each with a test.',
};

/** All strategies by name; one of the configuration's own replaces a shipped one of the same name. */
export function strategiesOf(config: Config): ReadonlyMap<string, string> {
  const own = Object.entries(config.strategies).map(([name, entry]) => [name, entry.instruction] as const);
  return new Map([...Object.entries(shipped), ...own]);
}
