import { once } from 'node:events';
import type { ServerResponse } from 'node:http';

/** What passes between the parts of the played API server: requests, faults, answers. */

export interface Asked {
  method: string;
  path: string;
  query: URLSearchParams;
  authorization: string | undefined;
  body: string;
}

export interface Fault {
  afterLines: number;
  kind: 'reset' | 'stall' | 'truncate' | 'truncate_reset' | 'eof' | 'garbage' | 'expired';
}

/** A Status, as the API server answers what it refuses. */
export function sendStatus(
  response: ServerResponse,
  code: number,
  reason: string,
  message: string,
  headers: Record<string, string> = {},
): void {
  sendJson(response, code, { kind: 'Status', apiVersion: 'v1', status: 'Failure', message, reason, code }, headers);
}

export function sendJson(
  response: ServerResponse,
  code: number,
  body: object,
  headers: Record<string, string> = {},
): void {
  response.writeHead(code, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

/** Writes lines until the fault is due, and then that. False: nothing more can be written. */
export async function writeLines(
  response: ServerResponse,
  lines: readonly string[],
  state: { written: number },
  fault: Fault | null,
): Promise<boolean> {
  const left = fault === null ? Infinity : Math.max(0, fault.afterLines - state.written);
  const now = lines.slice(0, left);
  state.written += now.length;
  if (now.length > 0 && !response.write(now.map((line) => `${line}\n`).join(''))) {
    await Promise.race([once(response, 'drain'), once(response, 'close')]);
  }
  if (response.destroyed) return false;
  if (fault === null || lines.length < left) return true;
  const next = lines[now.length] ?? '';
  switch (fault.kind) {
    case 'reset':
      response.destroy();
      break;
    case 'truncate_reset':
      response.write(next.slice(0, next.length / 2), () => response.destroy());
      break;
    case 'truncate':
      response.end(next.slice(0, next.length / 2));
      break;
    case 'eof':
      response.end();
      break;
    case 'garbage':
      response.end('\u0000\u0001{"type":"MODI\u001b[31m not what you think\n');
      break;
    case 'expired':
      response.end(`${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old' } })}\n`);
      break;
    case 'stall':
      await once(response, 'close');
  }
  return false;
}
