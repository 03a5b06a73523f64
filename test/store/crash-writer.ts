/**
 * Writes events as fast as it can until it is killed, and prints each id once its commit is done.
 * Started by kill.test.ts: `node crash-writer.ts <database> <attempt> <normal|full>`.
 */
import { writeSync } from 'node:fs';
import { openStore } from '../../src/store/database.ts';
import type { NewEvent } from '../../src/store/store.ts';

const [path = '', attempt = '', synchronous = ''] = process.argv.slice(2);
const store = openStore(path, { synchronous: synchronous === 'full' ? 'full' : 'normal' });
// Synchronous and before anything else runs: what was printed had been committed.
store.onCommit((committed) => {
  for (const { run, frames } of committed) {
    const ids = [...frames.toString().matchAll(/^id: (\d+)\nevent: .*\ndata: "(\d+) /gm)];
    writeSync(1, ids.map(([, id, seq]) => `${run} ${id} ${seq}\n`).join(''));
  }
});
writeSync(1, `open ${store.lastId()}\n`);
for (let seq = 1; ;) {
  const jobs: Promise<void>[] = [];
  for (let job = 0; job < 5; job += 1) {
    const events: NewEvent[] = [];
    for (const end = seq + 1 + ((seq * 7) % 60); seq < end; seq += 1) {
      events.push({
        run: 1 + (seq % 3),
        variation: 0,
        attempt: Number(attempt),
        seq,
        span: 1,
        type: 'agent_output',
        data: `"${seq} ${'ü'.repeat(seq % 500)}"`,
      });
    }
    const cursor = seq - 1;
    jobs.push(
      store.write({
        events,
        // The follower's cursor, in the same commit: idempotency stands in for the attempt's row.
        within: (tx) => {
          const row = { key: attempt, fingerprint: '', status: cursor, body: '', at: '' };
          tx.run(store.db.replaceInto('idempotency').values(row));
        },
      }),
    );
  }
  await Promise.all(jobs);
}
