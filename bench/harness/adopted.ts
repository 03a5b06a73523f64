import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { newRunId, now } from '../../src/contract/ids.ts';
import { openStore } from '../../src/store/database.ts';

/** What a server left behind that died while an attempt ran: the next one adopts it. */
export interface LeftBehind {
  runId: string;
  journal: string;
}

/** @param handle the process that writes the journal. */
export async function leaveAttempt(dataDir: string, attemptId: string, handle: object): Promise<LeftBehind> {
  const directory = join(dataDir, 'attempts', attemptId);
  mkdirSync(directory, { recursive: true });
  const journal = join(directory, 'journal.ndjson');
  writeFileSync(journal, '');
  const store = openStore(join(dataDir, 'aideator.sqlite'));
  const { db } = store;
  const runId = newRunId();
  const at = now();
  const never = { end_reason: null, message: null, ended_at: null };
  await store.write({
    within: (tx) => {
      const { lastInsertRowid: run } = tx.run(
        db.insertInto('runs').values({
          id: runId,
          repository: '/bench',
          mirror: 'bench',
          ref: null,
          base: '0'.repeat(40),
          prompt: 'bench',
          max_parallel: 1,
          retries: 0,
          limits: JSON.stringify(LIMITS),
          status: 'running',
          created_at: at,
          ended_at: null,
          cancelled_at: null,
          forget_at: null,
        }),
      );
      tx.run(
        db.insertInto('variations').values({
          ...never,
          run,
          idx: 0,
          agent: 'echo',
          model: 'scripted/none',
          strategy: null,
          instruction: null,
          dialect: 'anthropic',
          limits: JSON.stringify(LIMITS),
          status: 'running',
          queued_at: at,
          started_at: at,
          stop_reason: null,
          retries_left: 0,
          result: null,
        }),
      );
      tx.run(
        db.insertInto('attempts').values({
          ...never,
          id: attemptId,
          run,
          variation: 0,
          attempt: 0,
          status: 'running',
          isolation: 'none',
          token_sha256: '0'.repeat(64),
          started_at: at,
          cursor: 0,
          last_seq: 0,
          log_complete: null,
          gaps: '[]',
          stated_result: null,
          eof: null,
          handle: JSON.stringify(handle),
        }),
      );
    },
  });
  await store.close();
  return { runId, journal };
}

const LIMITS = { timeout_seconds: 600, run_timeout_seconds: 600 };
