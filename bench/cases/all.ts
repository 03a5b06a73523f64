import type { BenchCase } from '../bench-case.ts';
import { fanOut } from './fan-out.ts';
import { firstByteCase } from './first-byte.ts';
import { ingest } from './ingest.ts';
import { jobStart } from './job-start.ts';
import { pacedFast } from './paced-fast.ts';
import { paced } from './paced.ts';
import { replay } from './replay.ts';
import { start } from './start.ts';
import { stuckReaders } from './stuck-readers.ts';
import { warmLatency } from './warm-latency.ts';

/** What is run, in this order. */
export const cases: readonly BenchCase[] = [
  start,
  ingest,
  warmLatency,
  fanOut,
  replay,
  stuckReaders,
  paced,
  pacedFast,
  firstByteCase,
  jobStart,
];

/** What `--quick` leaves out. */
export const notQuick: ReadonlySet<BenchCase> = new Set([paced, pacedFast, jobStart]);
