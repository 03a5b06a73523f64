import { RUN_STRIDE } from './event-ids.ts';
import type { Store } from './store.ts';

/** Events that one commit deletes: a few milliseconds. */
const PORTION = 2000;

/**
 * Removes a run with all that belongs to it. The run's own row goes last, together with whatever came meanwhile: after a crash
 * in the middle it is still there to be deleted again.
 */
export async function deleteRun(store: Pick<Store, 'db' | 'write'>, run: number): Promise<void> {
  const { db } = store;
  const from = run * RUN_STRIDE;
  const to = from + RUN_STRIDE;
  const events = db.selectFrom('events').select('key').where('key', '>', from).where('key', '<', to).orderBy('key');
  for (let more = true; more;) {
    more = await store.write({
      within: (tx) => {
        const [next] = tx.all(events.offset(PORTION).limit(1));
        tx.run(
          db
            .deleteFrom('events')
            .where('key', '>', from)
            .where('key', '<', next?.key ?? to),
        );
        // The rest goes with it: variations, attempts, model calls, choice, shipments.
        if (next === undefined) tx.run(db.deleteFrom('runs').where('no', '=', run));
        return next !== undefined;
      },
    });
  }
}
