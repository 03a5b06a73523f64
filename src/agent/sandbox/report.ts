import type { Duplex } from 'node:stream';
import { z } from 'zod';
import { createLineSplitter } from '../line-splitter.ts';

/**
 * What the sandbox's init says, a JSON object a line (`sandbox-init-main.ts`). It comes from beside an agent that could have taken
 * that process over: shapes are checked, what follows the end is not read, and none of it says more than how the agent itself ended.
 */
const report = z.union([
  z.strictObject({ started: z.literal(true) }),
  /** The program could not be started: the system's word, e.g. ENOENT. */
  z.strictObject({ missing: z.string().max(64) }),
  z.strictObject({ failed: z.string().max(4096) }),
  z.strictObject({
    code: z.int().min(0).max(255).nullable(),
    signal: z
      .string()
      .regex(/^SIG[A-Z0-9]{1,20}$/)
      .nullable(),
    /** Processes that were left outside the agent's own group. */
    left: z.int().min(0).max(100_000),
  }),
]);
export type Report = z.infer<typeof report>;

const MAX_LINE_BYTES = 16 * 1024;

/** Hands over each report; lines that are none are dropped. */
export function readReports(channel: Duplex, onReport: (report: Report) => void): void {
  const splitter = createLineSplitter({
    maxBytes: MAX_LINE_BYTES,
    keepBytes: 0,
    onCut: () => undefined,
    onLine: (line) => {
      let value: unknown;
      try {
        value = JSON.parse(line.toString('utf8'));
      } catch {
        return;
      }
      const parsed = report.safeParse(value);
      if (parsed.success) onReport(parsed.data);
    },
  });
  channel.on('data', (chunk: Buffer) => splitter.push(chunk));
  channel.on('error', () => undefined);
}
