import { createServer, type AddressInfo } from 'node:net';

/** How far all readers are, as the load tells it over a connection of its own: the way back of a closed loop. */
export interface Acks {
  readonly port: number;
  /** The seq that every reader has. */
  readonly seq: number;
  /** Resolves when it moved. Rejects where it does not within that time. */
  moved(timeoutMs: number): Promise<void>;
  reset(): void;
  close(): void;
}

export async function openAcks(): Promise<Acks> {
  let seq = 0;
  let wake: (() => void) | null = null;
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    let rest = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      const last = lines.at(-1);
      if (last === undefined) return;
      seq = Number(last);
      wake?.();
    });
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    get seq() {
      return seq;
    },
    moved: (timeoutMs) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const timer = setTimeout(() => reject(new Error(`the readers stand still at ${seq}`)), timeoutMs);
      wake = () => {
        clearTimeout(timer);
        wake = null;
        resolve();
      };
      return promise;
    },
    reset: () => {
      seq = 0;
    },
    close: () => server.close(),
  };
}
