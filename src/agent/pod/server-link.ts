import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { LINK_BEAT_MS, linkMessage } from '../../contract/attempt-door.ts';
import type { EndReason } from '../../contract/run.ts';
import { createLineSplitter } from '../line-splitter.ts';
import { parse, type DoorClient } from './door-client.ts';

export interface ServerLinkOptions {
  door: DoorClient;
  /** How far the server has the journal on its own disk. */
  onHave(seq: number): void;
  onStop(reason: EndReason): void;
  /** Prompts wait, up to this number. */
  onPrompt(no: number): void;
  /** The server answers again. */
  onOpen(): void;
  log(words: string): void;
  signal: AbortSignal;
  /** So long without a message, and the link is taken for dead (ms). */
  silenceMs?: number | undefined;
}

/** What is not known here is of a newer server. */
const message = z.object(linkMessage.shape);

/** Listens to what the server has to say, and connects again whenever that ends, until it is aborted or the attempt is over for the server. */
export async function followServer(options: ServerLinkOptions): Promise<void> {
  const { door, log } = options;
  const silenceMs = options.silenceMs ?? 3 * LINK_BEAT_MS;
  const signal = AbortSignal.any([options.signal, door.over]);
  let pause = 0;
  while (!signal.aborted) {
    const quiet = new AbortController();
    const watchdog = setTimeout(() => quiet.abort(new Error(`no message for ${silenceMs} ms`)), silenceMs);
    const lines = createLineSplitter({
      maxBytes: 64 * 1024,
      keepBytes: 0,
      onLine: (line) => {
        watchdog.refresh();
        const said = message.safeParse(parse(line));
        if (!said.success) return;
        // It said something sensible: the next trouble is a new one.
        pause = 0;
        if (said.data.have !== undefined) options.onHave(said.data.have);
        if (said.data.stop !== undefined) options.onStop(said.data.stop);
        if (said.data.prompt !== undefined) options.onPrompt(said.data.prompt);
      },
      onCut: () => undefined,
    });
    try {
      const answer = await door.open('/attempt/link', AbortSignal.any([signal, quiet.signal]));
      options.onOpen();
      for await (const chunk of answer) lines.push(chunk as Buffer);
      log('The link to the server ended.');
    } catch (error) {
      const why: unknown = quiet.signal.aborted ? quiet.signal.reason : error;
      if (!signal.aborted) log(`The link to the server broke: ${why instanceof Error ? why.message : String(why)}`);
    } finally {
      clearTimeout(watchdog);
    }
    if (signal.aborted) break;
    // 0, 0.5, 1, 2 … 10 s; a little apart, so that not all recorders knock at once.
    await wait(pause * (0.8 + Math.random() * 0.4), undefined, { signal }).catch(() => undefined);
    pause = Math.min(Math.max(500, pause * 2), 10_000);
  }
}
