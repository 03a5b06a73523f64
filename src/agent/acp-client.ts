import type { AnyMessage, ClientContext, RequestPermissionResponse } from '@agentclientprotocol/sdk';
import type { Writable } from 'node:stream';
import type { JsonRpcMessage } from './agent-output.ts';

/** Our side of ACP v1: the SDK's client over lines that somebody else splits and writes down. */
export interface AcpClient {
  agent: ClientContext;
  /** A message from the agent that may need an answer, or is one. */
  receive(message: JsonRpcMessage): void;
  /** The agent is gone: requests that wait are rejected. */
  close(): void;
  /** Resolves when the agent takes what is written to it; null where it does. */
  ready(): Promise<void> | null;
}

export interface AcpClientOptions {
  stdin: Writable;
  /** Every message sent, as its line without LF, before it goes out. */
  onSend(text: string): void;
  /** Rejects nothing and resolves when the agent's process is over, so that nobody waits for a full pipe. */
  gone: Promise<unknown>;
  /** What a request for permission is answered, see `permission/`. */
  permit(params: unknown): RequestPermissionResponse;
}

/** The SDK is loaded here, late: it takes a fifth of a second, in which workspace and agent can start. */
export async function connectAcp(options: AcpClientOptions): Promise<AcpClient> {
  const { client, methods } = await import('@agentclientprotocol/sdk');
  const { stdin } = options;
  /** Ids of requests of ours that wait. What answers anything else is written down and goes no further. */
  const waiting = new Set<unknown>();
  let incoming: ReadableStreamDefaultController<AnyMessage> | null = null;
  let closed = false;
  const readable = new ReadableStream<AnyMessage>({
    start: (controller) => {
      incoming = controller;
    },
  });
  const writable = new WritableStream<AnyMessage>({
    write: (message) => {
      if ('method' in message && 'id' in message) waiting.add(message.id);
      const text = JSON.stringify(message);
      options.onSend(text);
      if (stdin.writable) stdin.write(`${text}\n`);
    },
  });
  const connection = client({ name: 'aideator-recorder' })
    .onRequest(methods.client.session.requestPermission, ({ params }) => options.permit(params))
    .connect({ readable, writable });

  const markClosed = (): void => {
    closed = true;
  };
  connection.closed.then(markClosed, markClosed);

  return {
    agent: connection.agent,
    receive: (message) => {
      if (closed || incoming === null) return;
      if (message.method === undefined && !waiting.delete(message.id)) return;
      incoming.enqueue(message as AnyMessage);
    },
    close: () => {
      if (closed) return;
      closed = true;
      connection.close(new Error('The agent is gone.'));
    },
    ready: () => {
      if (!stdin.writableNeedDrain || stdin.destroyed) return null;
      return Promise.race([
        new Promise<void>((resolve) => stdin.once('drain', resolve).once('close', resolve)),
        options.gone.then(() => undefined),
      ]);
    },
  };
}
