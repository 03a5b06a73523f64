import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { sampleEvents } from '../harness/sample-event.ts';
import { serve } from '../harness/serve.ts';

/** Replay as most write it: each row is read, parsed, stringified and written by itself, in pages of 500. */
let db: DatabaseSync | null = null;

const server = createServer((_, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' });
  response.write('retry: 1000\n\n');
  replay(response).catch(() => response.destroy());
});

async function replay(response: ServerResponse): Promise<void> {
  const page = db?.prepare('SELECT id, type, data FROM events WHERE id > ? ORDER BY id LIMIT 500');
  for (let after = 0; ;) {
    const rows = page?.all(after) ?? [];
    if (rows.length === 0) return;
    let isFull = false;
    for (const row of rows) {
      const event: unknown = JSON.parse(row['data'] as string);
      after = Number(row['id']);
      isFull = !response.write(`id: ${after}\nevent: ${String(row['type'])}\ndata: ${JSON.stringify(event)}\n\n`);
    }
    if (isFull && response.writableNeedDrain) await once(response, 'drain');
    else await new Promise((resolve) => setImmediate(resolve));
  }
}

const handlers = {
  open: async ({ folder, events }: { folder: string; events: number }) => {
    db = new DatabaseSync(join(folder, 'rows.sqlite'));
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
    db.exec('CREATE TABLE events (id INTEGER PRIMARY KEY, type TEXT NOT NULL, data TEXT NOT NULL)');
    const insert = db.prepare('INSERT INTO events VALUES (?, ?, ?)');
    db.exec('BEGIN');
    for (const event of sampleEvents(1, events)) insert.run(event.seq, 'agent_output', JSON.stringify(event));
    db.exec('COMMIT');
    await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  },
};
export type RowReplay = typeof handlers;

serve(handlers, () => {
  server.closeAllConnections();
  db?.close();
});
