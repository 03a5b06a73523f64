import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { CreatedKey, KeyView } from '../contract/api-system.ts';
import { newRunId, now } from '../contract/ids.ts';
import { AppError } from '../errors.ts';
import type { Store } from '../store/store.ts';
import type { Caller, Scope } from './door.ts';

/** API keys: `aid_<id>_<secret>`. Only a SHA-256 of the whole is stored; 256 random bits need no slow hash. */
export interface Keys {
  count(): Promise<number>;
  list(): Promise<KeyView[]>;
  /** The answer has the key itself: nobody can show it again. */
  create(request: { name: string; scope: Scope }): Promise<CreatedKey>;
  /** False where there is no such key. Whoever streams with it is told through {@link Keys.onRevoked}. */
  revoke(id: string): Promise<boolean>;
  /** Whose key it is; null for one that is malformed, unknown or revoked. Notes the use, at most once a minute. */
  verify(key: string): Promise<Caller | null>;
  /** Returns the way to stop listening. */
  onRevoked(listener: (id: string) => void): () => void;
}

const KEY = /^aid_([a-z][a-z0-9]{9})_[A-Za-z0-9_-]{43}$/;
const USE_NOTED_EVERY_MS = 60_000;

/** The id of the key that the operator gave by file. */
const FILE_KEY = 'file';
/** Fewer characters than this can be guessed. */
const SHORTEST_FILE_KEY = 24;

/**
 * @param fileKey a key of scope admin that is not stored: the operator's own, from a mounted Secret. Errors: invalid_config, for one
 *   that is too short.
 */
export function createKeys(store: Store, fileKey: string | null = null): Keys {
  if (fileKey !== null && fileKey.length < SHORTEST_FILE_KEY) {
    throw new AppError('invalid_config', `The key in admin_key_file has ${fileKey.length} characters.`, {
      hint: `Use ${SHORTEST_FILE_KEY} random ones or more: openssl rand -hex 32`,
    });
  }
  const fileHash = fileKey === null ? null : hash(fileKey);
  const { db } = store;
  const listeners = new Set<(id: string) => void>();
  /** When the use of a key was last written, by key: the row itself is read anyway, but two requests may read it at once. */
  const noted = new Map<string, number>();

  async function noteUse(id: string, lastUsedAt: string | null): Promise<void> {
    const last = Math.max(noted.get(id) ?? 0, lastUsedAt === null ? 0 : Date.parse(lastUsedAt));
    if (Date.now() - last < USE_NOTED_EVERY_MS) return;
    noted.set(id, Date.now());
    await store.write({
      within: (tx) => void tx.run(db.updateTable('api_keys').set({ last_used_at: now() }).where('id', '=', id)),
    });
  }

  return {
    async count() {
      return store.query(db.selectFrom('api_keys').select('id')).length + (fileHash === null ? 0 : 1);
    },
    async list() {
      return store.query(
        db
          .selectFrom('api_keys')
          .select(['id', 'name', 'scope', 'created_at', 'last_used_at'])
          .orderBy('created_at')
          .orderBy('id'),
      );
    },
    async create({ name, scope }) {
      const id = newRunId();
      const key = `aid_${id}_${randomBytes(32).toString('base64url')}`;
      const view: KeyView = { id, name, scope, created_at: now(), last_used_at: null };
      await store.write({
        within: (tx) => void tx.run(db.insertInto('api_keys').values({ ...view, sha256: hash(key).toString('hex') })),
      });
      return { ...view, key };
    },
    async revoke(id) {
      const gone = await store.write({
        within: (tx) => tx.run(db.deleteFrom('api_keys').where('id', '=', id)).changes > 0,
      });
      noted.delete(id);
      if (gone) for (const listener of listeners) listener(id);
      return gone;
    },
    async verify(key) {
      if (fileHash !== null && timingSafeEqual(hash(key), fileHash)) return { id: FILE_KEY, scope: 'admin' };
      const id = KEY.exec(key)?.[1];
      if (id === undefined) return null;
      const [row] = store.query(
        db.selectFrom('api_keys').select(['scope', 'sha256', 'last_used_at']).where('id', '=', id),
      );
      if (row === undefined || !timingSafeEqual(hash(key), Buffer.from(row.sha256, 'hex'))) return null;
      // A full disk must not lock people out: the use goes unnoted then.
      await noteUse(id, row.last_used_at).catch(() => undefined);
      return { id, scope: row.scope };
    },
    onRevoked(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

function hash(key: string): Buffer {
  return createHash('sha256').update(key, 'utf8').digest();
}
