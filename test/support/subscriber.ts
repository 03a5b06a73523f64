import { setTimeout as pause } from 'node:timers/promises';
import { EventSourceParserStream } from 'eventsource-parser/stream';
import { onTestFinished } from 'vitest';

/** An event of a stream. */
export interface Heard {
  id: number;
  type: string;
  data: Record<string, unknown>;
}

/** Somebody who watches a run as an EventSource does: comes back with the last id whenever the connection is gone. */
export interface Subscriber {
  /** As they came, over all connections. */
  readonly heard: readonly Heard[];
  /** How often it was answered with a stream. */
  readonly connections: number;
  /** Resolves when the server says that nothing more will come (204). */
  readonly over: Promise<void>;
}

/** A server says something at least every 15 s: a connection without is dead, also where nobody has said so (ms). */
const SILENCE_MS = 20_000;

/** @param url of a stream */
export function subscribe(url: string, key: string): Subscriber {
  const heard: Heard[] = [];
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  let connections = 0;

  /** One connection, to its end. False where there is nothing to come back for. */
  async function connect(): Promise<boolean> {
    const last = heard.at(-1)?.id;
    const dead = new AbortController();
    const silence = setTimeout(() => dead.abort(), SILENCE_MS);
    try {
      const response = await fetch(url, {
        headers: {
          authorization: `Bearer ${key}`,
          ...(last === undefined ? {} : { 'last-event-id': String(last) }),
        },
        signal: AbortSignal.any([stop.signal, dead.signal]),
      });
      if (response.status === 204) return false;
      if (!response.ok || response.body === null) throw new Error(`${url} was answered ${response.status}`);
      connections += 1;
      const text = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
      for await (const { id, event, data } of text) {
        silence.refresh();
        if (id !== undefined)
          heard.push({ id: Number(id), type: event ?? '', data: JSON.parse(data) as Record<string, unknown> });
      }
    } finally {
      clearTimeout(silence);
    }
    return true;
  }

  async function follow(): Promise<void> {
    while (!stop.signal.aborted) {
      // The server is away, or the connection died with it.
      if (!(await connect().catch(() => true))) return;
      await pause(200);
    }
  }

  return {
    heard,
    get connections() {
      return connections;
    },
    over: follow(),
  };
}
