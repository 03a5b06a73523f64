import { randomUUID } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { sendJson, sendStatus, writeLines, type Asked, type Fault } from './kube-wire.ts';

/** Objects of the played API server, by collection path, with the history that watches are made of. */
export interface Objects {
  /** Makes or changes one; labels of its own are kept. */
  put(path: string, name: string, more?: Partial<Thing>): Thing;
  remove(path: string, name: string): void;
  list(path: string): Thing[];
  /** Forgets the history: who is behind has to list again. */
  compact(): void;
  answer(asked: Asked, response: ServerResponse, fault: Fault | null): Promise<void>;
}

export interface Thing {
  metadata: {
    name: string;
    namespace: string;
    uid: string;
    resourceVersion: string;
    creationTimestamp: string;
    labels?: Record<string, string>;
  };
  [field: string]: unknown;
}

interface HistoryEvent {
  path: string;
  version: number;
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  object: Thing;
}

export function createObjects(): Objects {
  const collections = new Map<string, Map<string, Thing>>();
  const history: HistoryEvent[] = [];
  const changed = new EventEmitter().setMaxListeners(0);
  const pages = new Map<string, { at: number; rest: Thing[] }>();
  let version = 100;
  let compacted = 0;

  const of = (path: string): Map<string, Thing> => {
    const found = collections.get(path) ?? new Map<string, Thing>();
    collections.set(path, found);
    return found;
  };
  function record(path: string, type: HistoryEvent['type'], object: Thing): void {
    history.push({ path, version, type, object });
    changed.emit('change');
  }

  const objects: Objects = {
    put: (path, name, more = {}) => {
      version += 1;
      const before = of(path).get(name);
      const object: Thing = {
        ...before,
        ...more,
        metadata: {
          name,
          namespace: 'test',
          uid: before?.metadata.uid ?? randomUUID(),
          creationTimestamp: new Date().toISOString(),
          ...more.metadata,
          resourceVersion: String(version),
        },
      };
      of(path).set(name, object);
      record(path, before === undefined ? 'ADDED' : 'MODIFIED', object);
      return object;
    },
    remove: (path, name) => {
      const before = of(path).get(name);
      if (before === undefined) return;
      version += 1;
      of(path).delete(name);
      record(path, 'DELETED', { ...before, metadata: { ...before.metadata, resourceVersion: String(version) } });
    },
    list: (path) => [...of(path).values()],
    compact: () => {
      compacted = version;
      history.length = 0;
      pages.clear();
    },
    answer: async (asked, response, fault) => {
      const { method, path, query } = asked;
      if (method === 'GET' && query.has('watch')) return watch(asked, response, fault);
      if (method === 'POST') {
        const body = JSON.parse(asked.body) as Thing;
        const { name } = body.metadata;
        if (of(path).has(name)) return sendStatus(response, 409, 'AlreadyExists', `"${name}" already exists`);
        return sendJson(response, 201, query.get('dryRun') === 'All' ? body : objects.put(path, name, body));
      }
      if (method === 'GET' && (collections.has(path) || /\/(jobs|pods|events)$/.test(path))) {
        return list(path, query, response);
      }
      const [, parent = '', name = ''] = /^(.*)\/([^/]+)$/.exec(path) ?? [];
      const found = of(parent).get(name);
      if (found === undefined) return sendStatus(response, 404, 'NotFound', `"${name}" not found`);
      if (method === 'DELETE') {
        const { preconditions } = JSON.parse(asked.body) as { preconditions?: { uid?: string } };
        if (preconditions?.uid !== undefined && preconditions.uid !== found.metadata.uid) {
          return sendStatus(response, 409, 'Conflict', 'the UID in the precondition does not match');
        }
        objects.remove(parent, name);
      }
      return sendJson(response, 200, method === 'PATCH' ? objects.put(parent, name, JSON.parse(asked.body)) : found);
    },
  };

  /** The rest of a list is of the version that its first page was of. */
  function list(path: string, query: URLSearchParams, response: ServerResponse): void {
    const token = query.get('continue');
    const found = token === null ? { at: version, rest: [...of(path).values()] } : pages.get(token);
    if (found === undefined) return sendStatus(response, 410, 'Expired', 'the continue token is too old');
    const limit = Number(query.get('limit') ?? found.rest.length);
    const metadata: { resourceVersion: string; continue?: string } = { resourceVersion: String(found.at) };
    if (found.rest.length > limit) {
      metadata.continue = randomUUID();
      pages.set(metadata.continue, { at: found.at, rest: found.rest.slice(limit) });
    }
    return sendJson(response, 200, { kind: 'List', metadata, items: found.rest.slice(0, limit) });
  }

  async function watch(asked: Asked, response: ServerResponse, fault: Fault | null): Promise<void> {
    const from = Number(asked.query.get('resourceVersion'));
    if (from < compacted) return sendStatus(response, 410, 'Expired', `too old resource version: ${from}`);
    const state = { written: 0 };
    let sent = from;
    const endsAt = Date.now() + Number(asked.query.get('timeoutSeconds')) * 1000;
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    while (!response.destroyed && Date.now() < endsAt) {
      const events = history.filter((event) => event.path === asked.path && event.version > sent);
      sent = events.at(-1)?.version ?? sent;
      const lines = events.map(({ type, object }) => JSON.stringify({ type, object }));
      if (!(await writeLines(response, lines, state, fault))) return;
      await Promise.race([
        once(changed, 'change'),
        once(response, 'close'),
        new Promise((resolve) => setTimeout(resolve, Math.max(0, endsAt - Date.now())).unref()),
      ]);
    }
    response.end(
      `${JSON.stringify({ type: 'BOOKMARK', object: { kind: 'Job', metadata: { resourceVersion: String(sent) } } })}\n`,
    );
  }
  return objects;
}
