import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tempDir } from '../../test/support/temp.ts';
import type { Eof } from '../contract/attempt.ts';
import { createDecoder } from '../contract/envelope-codec.ts';
import { createJournal, openJournal, type JournalFile } from './journal.ts';

const attempt = 'attempt-1';
const word: Omit<Eof, 'lastSeq' | 'sha256'> = {
  reason: 'end_turn',
  message: null,
  exit: null,
  timings: { workspace_ms: null, first_message_ms: null, total_ms: 1 },
};

/** A file that takes so many bytes, then is full until `full` is put right. */
function smallDisk(room: number) {
  const taken: Buffer[] = [];
  const disk = { room, writes: 0, synced: false, bytes: () => Buffer.concat(taken) };
  const file: JournalFile = {
    write: (buffer: Buffer, offset: number, length: number) => {
      disk.writes += 1;
      const size = Math.min(length, disk.room);
      if (size === 0)
        return Promise.reject(Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' }));
      disk.room -= size;
      taken.push(Buffer.from(buffer.subarray(offset, offset + size)));
      return Promise.resolve({ bytesWritten: size });
    },
    datasync: () => {
      disk.synced = true;
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
  return { disk, file };
}

test('what was appended in a turn is one write, in order, and confirmed at the end', async () => {
  const { disk, file } = smallDisk(Infinity);
  const journal = createJournal({ path: '', attempt, onTrouble: () => undefined }, file);
  for (let n = 0; n < 100; n += 1) journal.append('acp', `{"n":${n}}`);
  journal.note('limit_reached', 'enough', { bytes: 3 });
  const size = journal.bytes;
  const eof = await journal.close(word);
  expect(disk.writes).toBeLessThanOrEqual(2);
  expect(disk.synced).toBe(true);
  const decoder = createDecoder(attempt);
  const { envelopes } = decoder.push(disk.bytes());
  expect(envelopes.map(({ seq }) => seq)).toEqual(Array.from({ length: 102 }, (_, n) => n + 1));
  expect(envelopes[100]?.data).toBe('{"code":"limit_reached","message":"enough","bytes":3}');
  expect(decoder.matches(eof)).toBe(true);
  expect(disk.bytes().length).toBeGreaterThan(size);
});

test('a disk that is full for a while loses nothing and halves nothing', async () => {
  const { disk, file } = smallDisk(5000);
  const troubles: string[] = [];
  const journal = createJournal(
    {
      path: '',
      attempt,
      onTrouble: (error) => {
        troubles.push(String(error.code));
        disk.room = 1000;
        setTimeout(() => {
          disk.room = Infinity;
        }, 300);
      },
    },
    file,
  );
  for (let n = 0; n < 100; n += 1) journal.append('acp', `{"n":${n}}`);
  const eof = await journal.close(word);
  const decoder = createDecoder(attempt);
  expect(decoder.push(disk.bytes()).problems).toEqual([]);
  expect(decoder.matches(eof)).toBe(true);
  expect(troubles).toEqual(['ENOSPC']);
});

test('a disk that stays full is given up: readers go on, the end says why', async () => {
  const { file } = smallDisk(100);
  const journal = createJournal({ path: '', attempt, onTrouble: () => undefined, patienceMs: 50 }, file);
  for (let n = 0; n < 10; n += 1) journal.append('acp', JSON.stringify('x'.repeat(200_000)));
  expect(journal.full).toBe(true);
  await journal.drained();
  expect(journal.full).toBe(false);
  await expect(journal.close(word)).rejects.toThrow('ENOSPC');
});

test('there is room again once what waited is written', async () => {
  const path = join(tempDir(), 'journal.ndjson');
  const journal = await openJournal({ path, attempt, onTrouble: () => undefined });
  expect(journal.full).toBe(false);
  await journal.drained();
  for (let n = 0; n < 10; n += 1) journal.append('acp', JSON.stringify('x'.repeat(200_000)));
  expect(journal.full).toBe(true);
  await journal.drained();
  expect(journal.full).toBe(false);
  journal.heartbeat();
  const eof = await journal.close(word);
  const decoder = createDecoder(attempt);
  const { heartbeats, envelopes } = decoder.push(readFileSync(path));
  expect([heartbeats, envelopes.length, decoder.matches(eof)]).toEqual([1, 11, true]);
});
