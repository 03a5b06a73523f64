import { EventEmitter, once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { sendStatus, writeLines, type Asked, type Fault } from './kube-wire.ts';

/** Logs of the played kubelet, by pod. */
export interface Logs {
  /** A container that runs and has printed nothing yet. */
  start(pod: string): Container;
  /** A pod whose container has not started, for this reason. */
  pending(pod: string, reason?: string): void;
  /** A pod that has no node yet. */
  unscheduled(pod: string): void;
  remove(pod: string): void;
  answer(pod: string, asked: Asked, response: ServerResponse, fault: Fault | null): Promise<void>;
}

export interface Container {
  /** @param at ns since the epoch */
  print(line: string, at?: bigint): void;
  /** Something that the kubelet itself writes into an answer. */
  remark(text: string): void;
  /**
   * The container is over; its log stays.
   *
   * @param rest what it printed last, without LF
   */
  end(rest?: string): void;
  /** The container is removed, its pod stays. */
  collect(): void;
}

interface Entry {
  /** Whole seconds, as far as `sinceTime` can tell. */
  second: number;
  stamp: string;
  text: string;
}

type State =
  | { kind: 'unscheduled' }
  | { kind: 'pending'; reason: string }
  | { kind: 'started'; entries: Entry[]; rest: string; isOver: boolean; isCollected: boolean; bell: EventEmitter };

const BATCH = 200;

export function createLogs(): Logs {
  const pods = new Map<string, State>();

  return {
    start: (pod) => {
      const state = {
        kind: 'started' as const,
        entries: [] as Entry[],
        rest: '',
        isOver: false,
        isCollected: false,
        bell: new EventEmitter().setMaxListeners(0),
      };
      pods.set(pod, state);
      const ring = () => state.bell.emit('ring');
      return {
        print: (text, at = BigInt(Date.now()) * 1_000_000n) => {
          const second = Number(at / 1_000_000_000n);
          const fraction = String(at % 1_000_000_000n)
            .padStart(9, '0')
            .replace(/0+$/, '');
          const whole = new Date(second * 1000).toISOString().slice(0, 19);
          state.entries.push({ second, stamp: `${whole}${fraction === '' ? '' : `.${fraction}`}Z`, text });
          ring();
        },
        remark: (text) => {
          state.entries.push({ second: Infinity, stamp: '', text });
          ring();
        },
        end: (rest = '') => {
          state.rest = rest;
          state.isOver = true;
          ring();
        },
        collect: () => {
          state.isOver = true;
          state.isCollected = true;
          ring();
        },
      };
    },
    pending: (pod, reason = 'ContainerCreating') => pods.set(pod, { kind: 'pending', reason }),
    unscheduled: (pod) => pods.set(pod, { kind: 'unscheduled' }),
    remove: (pod) => pods.delete(pod),
    answer: async (pod, { query }, response, fault) => {
      const state = pods.get(pod);
      const container = query.get('container') ?? '';
      if (state === undefined) return sendStatus(response, 404, 'NotFound', `pods "${pod}" not found`);
      if (container !== 'main') {
        return sendStatus(response, 400, 'BadRequest', `container ${container} is not valid for pod ${pod}`);
      }
      if (state.kind === 'pending') {
        const message = `container "${container}" in pod "${pod}" is waiting to start: ${state.reason}`;
        return sendStatus(response, 400, 'BadRequest', message);
      }
      response.writeHead(200, { 'content-type': 'text/plain' });
      if (state.kind === 'unscheduled') {
        response.end();
        return undefined;
      }
      if (state.isCollected) {
        response.end(`unable to retrieve container logs for containerd://${'0'.repeat(64)}`);
        return undefined;
      }
      const since = Math.floor(Date.parse(query.get('sinceTime') ?? '1970-01-01T00:00:00Z') / 1000);
      const tail = query.get('tailLines');
      let at = tail === null ? 0 : Math.max(0, state.entries.length - Number(tail));
      const progress = { written: 0 };
      for (;;) {
        const batch = state.entries.slice(at, at + BATCH);
        at += batch.length;
        const lines = batch
          .filter(({ second }) => second >= since)
          .map(({ stamp, text }) => (query.get('timestamps') === 'true' && stamp !== '' ? `${stamp} ${text}` : text));
        if (!(await writeLines(response, lines, progress, fault))) return undefined;
        if (at < state.entries.length) continue;
        if (query.get('follow') !== 'true' || state.isOver) break;
        await Promise.race([once(state.bell, 'ring'), once(response, 'close')]);
        if (response.destroyed) return undefined;
      }
      const stamp = query.get('timestamps') === 'true' ? `${new Date().toISOString()} ` : '';
      response.end(state.rest === '' ? '' : `${stamp}${state.rest}`);
      return undefined;
    },
  };
}
