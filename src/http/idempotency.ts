import { createHash } from 'node:crypto';
import { createMiddleware } from 'hono/factory';
import { now } from '../contract/ids.ts';
import { AppError } from '../errors.ts';
import type { IdempotencyTable } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import type { Log } from '../telemetry.ts';
import type { DoorEnv } from './door.ts';
import { invalidFields } from './problem.ts';

/**
 * `Idempotency-Key` on POST: what was done once is not done again, its answer is.
 *
 * A row is written before the work (status 0), and gets the answer after it. So a server that died in between leaves a mark,
 * and the same key then gets a 409 that says so: at most once, never silently twice. Only successes are kept: a refusal did
 * nothing, and is decided anew. Rows are kept for 24 hours, per caller.
 */
const KEEP_MS = 24 * 60 * 60 * 1000;
const VISIBLE_ASCII = /^[\x21-\x7e]{1,200}$/;

export function idempotency({ store, log }: { store: Store; log: Log }) {
  const { db } = store;
  const running = new Map<string, { fingerprint: string; over: Promise<void> }>();

  /** The row that is there already, or null after it was reserved. */
  function reserve(key: string, fingerprint: string): Promise<IdempotencyTable | null> {
    return store.write({
      within: (tx) => {
        tx.run(db.deleteFrom('idempotency').where('at', '<', new Date(Date.now() - KEEP_MS).toISOString()));
        const [row] = tx.all(db.selectFrom('idempotency').selectAll().where('key', '=', key));
        if (row === undefined)
          tx.run(db.insertInto('idempotency').values({ key, fingerprint, status: 0, body: '', at: now() }));
        return row ?? null;
      },
    });
  }

  async function settle(key: string, response: Response): Promise<void> {
    const body = response.ok ? await response.clone().text() : null;
    await store.write({
      within: (tx) =>
        void tx.run(
          body === null
            ? db.deleteFrom('idempotency').where('key', '=', key)
            : db.updateTable('idempotency').set({ status: response.status, body }).where('key', '=', key),
        ),
    });
  }

  return createMiddleware<DoorEnv>(async (c, next) => {
    const given = c.req.header('idempotency-key');
    if (c.req.method !== 'POST' || given === undefined) return next();
    if (!VISIBLE_ASCII.test(given)) {
      throw invalidFields([{ path: 'header.Idempotency-Key', message: 'Must be 1 to 200 visible ASCII characters.' }]);
    }
    if (/^\/api\/v1\/keys(\/|$)/.test(c.req.path)) {
      throw invalidFields([
        {
          path: 'header.Idempotency-Key',
          message: 'A new API key is shown once, so its creation cannot be answered again.',
        },
      ]);
    }
    const key = `${c.var.caller.id} ${given}`;
    const { pathname, search } = new URL(c.req.url);
    const fingerprint = createHash('sha256')
      .update(`${c.req.method} ${pathname}${search}\n`)
      .update(c.var.body)
      .digest('hex');

    for (let other = running.get(key); other !== undefined; other = running.get(key)) {
      if (other.fingerprint !== fingerprint) throw conflict(given);
      await other.over;
    }
    const { promise: over, resolve } = Promise.withResolvers<void>();
    running.set(key, { fingerprint, over });
    try {
      const row = await reserve(key, fingerprint);
      if (row !== null) return replay(row, fingerprint, given);
      await next();
      // The work is done and must be answered, even where the answer cannot be kept.
      await settle(key, c.res).catch((error: unknown) =>
        log.error({ err: error }, 'an answer could not be kept for its idempotency key'),
      );
      return undefined;
    } finally {
      running.delete(key);
      resolve();
    }
  });
}

function replay(row: IdempotencyTable, fingerprint: string, given: string): Response {
  if (row.fingerprint !== fingerprint) throw conflict(given);
  if (row.status === 0) {
    throw new AppError(
      'idempotency_conflict',
      `The server stopped while it handled the first request with the key ${JSON.stringify(given)}.`,
      {
        hint: 'See with GET /api/v1/runs whether it was done; if not, send it again with a new key.',
      },
    );
  }
  return new Response(row.body, {
    status: row.status,
    headers: { 'content-type': 'application/json', 'idempotency-replayed': 'true' },
  });
}

function conflict(given: string): AppError {
  return new AppError('idempotency_conflict', `The key ${JSON.stringify(given)} was used for another request.`, {
    hint: 'Use a new key for a new request; repeat the same request, byte for byte, with the same key.',
  });
}
