import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { openStore } from '../../src/store/database.ts';
import { raw } from '../support/store.ts';
import { tempDir } from '../support/temp.ts';

const WRITER = fileURLToPath(new URL('crash-writer.ts', import.meta.url));
const ROUNDS = 12;

/** A small generator with a seed (mulberry32): a failure can be had again. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Kills the writer with SIGKILL once it has acknowledged so many bytes; gives the whole lines it had printed. */
async function writeUntilKilled(path: string, attempt: number, bytes: number, synchronous: string): Promise<string[]> {
  const child = spawn(process.execPath, [WRITER, path, String(attempt), synchronous], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const chunks: Buffer[] = [];
  let length = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    length += chunk.length;
    if (length >= bytes) child.kill('SIGKILL');
  });
  const [, signal] = (await once(child, 'close')) as [number | null, string | null];
  expect(signal).toBe('SIGKILL');
  return Buffer.concat(chunks).toString().split('\n').slice(0, -1);
}

test(
  'kill -9 at any point: what was acknowledged is there, once, with its cursor, and ids go on above',
  { timeout: 120_000 },
  async () => {
    const path = join(tempDir(), 'killed.db');
    const next = random(20_260_101);
    const acknowledged = new Map<number, string>();
    for (let attempt = 1; attempt <= ROUNDS; attempt += 1) {
      const highest = Math.max(0, ...acknowledged.keys());
      // From the first lines to several checkpoints.
      const bytes = 10 + Math.floor(next() ** 3 * 60_000);
      const [opened = '', ...lines] = await writeUntilKilled(
        path,
        attempt,
        bytes,
        attempt % 4 === 0 ? 'full' : 'normal',
      );
      expect(Number(opened.split(' ')[1])).toBeGreaterThanOrEqual(highest);
      for (const line of lines) {
        const [run = '', id = '', seq = ''] = line.split(' ');
        expect(acknowledged.has(Number(id))).toBe(false);
        acknowledged.set(Number(id), `${run} ${attempt} ${seq}`);
      }

      const store = openStore(path);
      const stored = new Map(
        store
          .query(raw('SELECT key / 4294967296 AS run, key % 4294967296 AS id, attempt, seq, frame FROM events'))
          .map((row) => [Number(row['id']), row] as const),
      );
      const text = (id: number) =>
        `${String(stored.get(id)?.['run'])} ${String(stored.get(id)?.['attempt'])} ${String(stored.get(id)?.['seq'])}`;
      expect([...acknowledged].filter(([id, event]) => text(id) !== event)).toEqual([]);
      // No id twice (the key is run and id), no event twice, none half.
      expect(store.query(raw('SELECT count(*) AS n FROM events'))).toEqual([{ n: stored.size }]);
      expect([...stored.values()].filter((row) => !String(row['frame']).endsWith('"\n\n'))).toEqual([]);
      // Cursor and events are one commit: the attempt's events are dense up to its cursor, and there are none behind it.
      const dense = store.query(
        raw(`SELECT count(*) AS n, max(seq) AS last FROM events WHERE attempt = ${attempt}`),
      )[0];
      const cursor = store.query(raw(`SELECT status FROM idempotency WHERE key = '${attempt}'`))[0]?.['status'] ?? 0;
      expect(dense).toEqual({ n: cursor, last: cursor === 0 ? null : cursor });
      expect(store.query(raw('PRAGMA integrity_check'))).toEqual([{ integrity_check: 'ok' }]);
      expect(store.lastId()).toBeGreaterThanOrEqual(Math.max(0, ...stored.keys()));
      // Every other time nobody tidies up: the next writer finds what the killed one left.
      if (attempt % 2 === 0) await store.close();
      else store.query(raw('PRAGMA wal_checkpoint(PASSIVE)'));
    }
    expect(acknowledged.size).toBeGreaterThan(1000);
  },
);
