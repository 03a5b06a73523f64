import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { catchUp } from './checkpoint.ts';

/**
 * The thread that checkpoints: each message is a request, each answer a `Checkpointed`. What fails (no space, a lock) is tried
 * again at the next request, and until then everything stands in the WAL.
 */
const db = new DatabaseSync(String(workerData), { timeout: 0 });
db.exec('PRAGMA synchronous = NORMAL');
parentPort?.on('message', () => {
  try {
    parentPort?.postMessage(catchUp(db), []);
  } catch {
    parentPort?.postMessage({ log: 0, done: 0 }, []);
  }
});
