import type { IncomingMessage, ServerResponse } from 'node:http';
import { toAppError } from '../errors.ts';

/** How long what is left of a body that nobody wants is read, so that its sender gets to the answer (ms). Then its connection ends. */
const PATIENCE_MS = 10_000;

export function answer(response: ServerResponse, body: unknown, status = 200): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

/** @param facts stand beside `error` in the body */
export function refuse(
  response: ServerResponse,
  status: number,
  type: string,
  message: string,
  facts: Record<string, unknown> = {},
): void {
  if (response.destroyed) return;
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const { req: request } = response;
  const { 'transfer-encoding': encoding, 'content-length': length } = request.headers;
  if (!request.complete && (encoding !== undefined || Number(length) > 0)) {
    // Closed at once, the connection would break under its sender's hands before the answer was read.
    request.resume();
    const timer = setTimeout(() => request.destroy(), PATIENCE_MS).unref();
    request.once('close', () => clearTimeout(timer));
  }
  answer(response, { error: { type, message }, ...facts }, status);
}

/** Refuses with what was thrown. */
export function refuseFor(response: ServerResponse, thrown: unknown, facts: Record<string, unknown> = {}): void {
  const { status, code, message } = toAppError(thrown);
  refuse(response, status, code, message, facts);
}

/** The one method that a route takes; false where it was refused. */
export function isMethod(request: IncomingMessage, response: ServerResponse, method: string): boolean {
  if (request.method === method) return true;
  response.setHeader('allow', method);
  refuse(response, 405, 'method_not_allowed', `This takes ${method}, not ${request.method ?? 'nothing'}.`);
  return false;
}
