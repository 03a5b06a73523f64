import { join } from 'node:path';
import { CompiledQuery } from 'kysely';
import { onTestFinished } from 'vitest';
import { parseFrame } from '../../src/contract/event.ts';
import { openStore, type StoreOptions } from '../../src/store/database.ts';
import type { NewEvent, Store } from '../../src/store/store.ts';
import { tempDir } from './temp.ts';

/** A store on a real file, closed when the test ends. */
export function testStore(options: StoreOptions & { path?: string } = {}): Store {
  const { path = join(tempDir(), 'test.db'), ...rest } = options;
  const store = openStore(path, rest);
  onTestFinished(() => store.close());
  return store;
}

/** An event as a recorder's line becomes one; `data` gives it a recognisable text. */
export function outputEvent(event: Partial<NewEvent> & { data?: string } = {}): NewEvent {
  return { run: 1, variation: 0, attempt: null, seq: null, span: 1, type: 'agent_output', data: '{}', ...event };
}

/** Any SQL, for what a test has to set up or look at behind the store's back. */
export function raw(sql: string): { compile: () => CompiledQuery<Record<string, unknown>> } {
  return { compile: () => CompiledQuery.raw(sql) };
}

export function parseFrames(frames: Buffer): { id: number; type: string; data: string }[] {
  return frames
    .toString()
    .split('\n\n')
    .filter((frame) => frame !== '')
    .map((frame) => parseFrame(`${frame}\n\n`));
}

/** A row for `runs` with what every run must have. */
export function runRow(id: string) {
  return {
    id,
    repository: '/repo',
    mirror: 'mirror',
    ref: null,
    base: '0'.repeat(40),
    prompt: 'Fix it.',
    max_parallel: 1,
    retries: 0,
    limits: '{}',
    status: 'queued',
    created_at: '2026-01-01T00:00:00.000Z',
    ended_at: null,
    cancelled_at: null,
    forget_at: null,
  };
}
