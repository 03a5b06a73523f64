import { Worker } from 'node:worker_threads';
import { catchUp, checkpoint, type Checkpointed } from './checkpoint.ts';
import type { Statements } from './statements.ts';

/** Written pages after which a checkpoint is due: about 4 MB. */
const DUE_PAGES = 1000;
/** Pages in the WAL (32 MB) from which on the last of them are moved here, so that it starts over. */
const LIMIT_PAGES = 8192;

/**
 * Keeps the WAL short. A checkpoint writes and syncs for milliseconds, so a thread of its own does it, started when the first
 * one is due; if that thread dies, this one does the work.
 */
export class Checkpoints {
  readonly #statements: Statements;
  readonly #workerFile: URL;
  readonly #report: (error: unknown) => void;
  #worker: Worker | 'none yet' | 'dead' = 'none yet';
  #written = 0;
  #running = false;

  constructor(statements: Statements, report: (error: unknown) => void, workerFile: URL = defaultWorkerFile()) {
    this.#statements = statements;
    this.#report = report;
    this.#workerFile = workerFile;
  }

  /** After each commit, with the number of pages it wrote (an estimate will do). */
  wrote(pages: number): void {
    this.#written += pages;
    if (this.#written < DUE_PAGES || this.#running) return;
    this.#written = 0;
    if (this.#worker === 'none yet') this.#worker = this.#start();
    if (this.#worker === 'dead') {
      this.#here(catchUp);
      return;
    }
    this.#running = true;
    this.#worker.postMessage('checkpoint', []);
  }

  /** Ends the thread: afterwards the writer's connection is the only one. */
  async stop(): Promise<void> {
    const worker = this.#worker;
    this.#worker = 'dead';
    if (typeof worker === 'string') return;
    worker.removeAllListeners();
    await worker.terminate();
  }

  #start(): Worker | 'dead' {
    try {
      const worker = new Worker(this.#workerFile, {
        workerData: this.#statements.path,
        env: {},
        execArgv: [],
        resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4 },
      });
      worker.unref();
      worker.on('message', (result: Checkpointed) => this.#answered(result));
      worker.on('error', (error) => this.#died(error));
      worker.on('exit', (code) => this.#died(new Error(`The checkpoint thread ended with ${code}.`)));
      return worker;
    } catch (error) {
      this.#report(error);
      return 'dead';
    }
  }

  #answered({ log }: Checkpointed): void {
    this.#running = false;
    // The WAL starts over only when all of it is moved at the moment of a commit. Under constant load there is none such: the
    // writer is always a few pages ahead of the thread. Here nobody can write meanwhile, and those few pages are all there is.
    if (log > LIMIT_PAGES) this.#here(checkpoint);
  }

  #died(error: Error): void {
    if (this.#worker === 'dead') return;
    this.#worker = 'dead';
    this.#running = false;
    this.#report(error);
  }

  #here(work: (db: Statements['db']) => Checkpointed): void {
    try {
      work(this.#statements.db);
    } catch (error) {
      // Nothing is lost: it stands in the WAL until there is space, or nobody holds a lock.
      this.#report(error);
    }
  }
}

/** Sources are run as .ts, the package as .js. */
function defaultWorkerFile(): URL {
  return new URL(`./checkpoint-worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url);
}
