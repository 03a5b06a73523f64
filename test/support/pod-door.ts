import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import type { ClaimedAttempt, LinkMessage } from '../../src/contract/attempt-door.ts';
import { claimRequest } from '../../src/contract/attempt-door.ts';
import { createLineReader } from '../../src/contract/envelope-line.ts';
import type { EndReason } from '../../src/contract/run.ts';
import { scriptedHandler } from '../../src/gateway/scripted/handler.ts';
import { parseScript } from '../../src/gateway/scripted/script.ts';
import { plainEnv } from './repository.ts';

/**
 * The attempt door as a recorder in a pod sees it, over a real repository: just enough of `contract/attempt-door.ts` to keep what
 * comes, with switches for what goes wrong on the way.
 */
export interface PodDoor {
  url: string;
  token: string;
  /** What is kept: whole lines, dense, in order. */
  kept(): Buffer;
  readonly have: number;
  /** Lines that came by uploads, and how often they came. */
  uploads: { seqs: number[]; requests: number };
  /** Patches that attempts start with, by their hash. */
  works: Map<string, Buffer>;
  /** Has a prompt wait, and says so on every link. */
  prompt(no: number, text: string): void;
  /** Patches that arrived whole. */
  patches: Map<string, Buffer>;
  /** Requests, as `<method> <path>`. */
  requests: string[];
  links: number;
  /** A line of the pod's log. */
  offer(line: Buffer): void;
  stop(reason: EndReason): void;
  /** Ends every connection and takes no new one. */
  goAway(): Promise<void>;
  comeBack(): Promise<void>;
  cutLinks(): void;
  /** Read for every request: what goes wrong with it. */
  faults: {
    /** Answers to everything but the claim. */
    refuseAll: boolean;
    /** Lines are answered 503. */
    refuseLines: boolean;
    /** Links say nothing, not even that they live. */
    mute: boolean;
    /** Cuts a PUT after so many bytes, once per entry. */
    cutResultAfter: number[];
    /** Changes a byte of the first upload. */
    damageResult: number;
    /** Changes a byte of so many patches on their way to the pod. */
    damageWork: number;
    /** So many askings for a prompt are answered 503. */
    refusePrompts: number;
    maxResultBytes: number;
  };
}

export interface PodDoorOptions {
  attempt: ClaimedAttempt;
  /** A bare repository, whose path ends in `/.git` or so. */
  repository: string;
  /** Turns of a scripted model. */
  script?: string;
}

export async function openPodDoor(options: PodDoorOptions): Promise<PodDoor> {
  const token = `token-${options.attempt.attempt_id}`;
  const kept: Buffer[] = [];
  const beside = new Map<number, Buffer>();
  const links = new Set<ServerResponse>();
  const partial = new Map<string, Buffer>();
  const models = options.script === undefined ? null : scriptedHandler(parseScript(options.script));
  const sockets = new Set<Socket>();
  let pod: string | null = null;
  let stopped: EndReason | undefined;
  const prompts: { no: number; text: string }[] = [];
  let have = 0;
  let server: Server | null = null;
  let port = 0;

  const say = (link: ServerResponse, message: LinkMessage): void => {
    if (!door.faults.mute) link.write(`${JSON.stringify(message)}\n`);
  };
  const take = (bytes: Buffer): void => {
    createLineReader(options.attempt.attempt_id, 0).read(bytes, (line) => {
      if (typeof line === 'string') throw new Error(line);
      if (line.type !== 'hb' && line.seq > have) beside.set(line.seq, Buffer.from(line.bytes));
    });
    const before = have;
    for (let next = beside.get(have + 1); next !== undefined; next = beside.get(have + 1)) {
      kept.push(next);
      have += 1;
      beside.delete(have);
    }
    if (have > before) for (const link of links) say(link, { have });
  };

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://door');
    door.requests.push(`${request.method} ${url.pathname}`);
    const answer = (status: number, body: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    const refuse = (status: number, type: string, message: string): void =>
      answer(status, { error: { type, message } });
    if (request.headers.authorization !== `Bearer ${token}`) return refuse(403, 'forbidden', 'not this token');
    if (url.pathname === '/attempt/claim') {
      const asked = claimRequest.parse(JSON.parse((await bodyOf(request)).toString()));
      pod ??= asked.pod_uid;
      return pod === asked.pod_uid ? answer(200, options.attempt) : refuse(409, 'attempt_taken', 'another pod has it');
    }
    if (door.faults.refuseAll) return refuse(403, 'forbidden', 'the attempt is over');
    if (url.pathname === '/attempt/link') {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      response.flushHeaders();
      links.add(response);
      door.links += 1;
      response.once('close', () => links.delete(response));
      const last = prompts.at(-1)?.no;
      say(response, {
        have,
        ...(stopped === undefined ? {} : { stop: stopped }),
        ...(last === undefined ? {} : { prompt: last }),
      });
      return;
    }
    if (url.pathname === '/attempt/lines') {
      const body = await bodyOf(request);
      if (door.faults.refuseLines) return refuse(503, 'shutting_down', 'later');
      door.uploads.requests += 1;
      createLineReader(options.attempt.attempt_id, 0).read(body, (line) => {
        if (typeof line !== 'string' && line.type !== 'hb') door.uploads.seqs.push(line.seq);
      });
      take(body);
      return answer(200, { have });
    }
    if (url.pathname === '/attempt/prompts') {
      if ((door.faults.refusePrompts -= 1) >= 0) return refuse(503, 'shutting_down', 'later');
      const after = Number(url.searchParams.get('after'));
      return answer(200, { prompt: prompts.find(({ no }) => no > after) ?? null });
    }
    const work = door.works.get(/^\/attempt\/work\/([0-9a-f]{64})$/.exec(url.pathname)?.[1] ?? '');
    if (work !== undefined) {
      const damaged = Buffer.from(work);
      if (door.faults.damageWork > 0) damaged[0] = (damaged[0] ?? 0) ^ 1;
      door.faults.damageWork -= 1;
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': work.length });
      response.end(damaged);
      return;
    }
    const sha = /^\/attempt\/result\/([0-9a-f]{64})$/.exec(url.pathname)?.[1];
    if (sha !== undefined) return result(request, url, sha, answer, refuse);
    if (url.pathname.startsWith('/repository/')) return gitBackend(request, response, url, options.repository);
    if (url.pathname.startsWith('/models/') && models !== null) {
      request.url = (request.url ?? '').slice('/models'.length);
      return models(request, response);
    }
    refuse(404, 'not_found', url.pathname);
  }

  async function result(
    request: IncomingMessage,
    url: URL,
    sha: string,
    answer: (status: number, body: unknown) => void,
    refuse: (status: number, type: string, message: string) => void,
  ): Promise<void> {
    const state = () => ({
      received: (door.patches.get(sha) ?? partial.get(sha))?.length ?? 0,
      complete: door.patches.has(sha),
    });
    if (request.method === 'GET') return answer(200, state());
    const [offset, bytes] = [Number(url.searchParams.get('offset')), Number(url.searchParams.get('bytes'))];
    if (bytes > door.faults.maxResultBytes) return refuse(413, 'payload_too_large', 'too large');
    if (offset !== state().received) return answer(409, state());
    const cut = door.faults.cutResultAfter.shift() ?? Infinity;
    let got = partial.get(sha) ?? Buffer.alloc(0);
    for await (const chunk of request) {
      got = Buffer.concat([got, chunk as Buffer]);
      partial.set(sha, got);
      if (got.length - offset >= cut) {
        request.socket.destroy();
        return;
      }
    }
    if (got.length < bytes) return answer(200, state());
    if (door.faults.damageResult > 0) {
      door.faults.damageResult -= 1;
      got[0] = (got[0] ?? 0) ^ 1;
    }
    partial.delete(sha);
    if (createHash('sha256').update(got).digest('hex') !== sha)
      return refuse(422, 'upload_damaged', 'its hash differs');
    door.patches.set(sha, got);
    answer(200, state());
  }

  async function listen(): Promise<void> {
    server = createServer((request, response) => {
      handle(request, response).catch((error: unknown) => {
        if (response.headersSent) response.destroy();
        else response.writeHead(500).end(String(error));
      });
    });
    server.requestTimeout = 0;
    server.on('connection', (socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server?.listen(port, '127.0.0.1', resolve));
    ({ port } = server.address() as AddressInfo);
  }
  async function shut(): Promise<void> {
    const closing = server;
    server = null;
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => (closing === null ? resolve() : closing.close(() => resolve())));
  }

  const door: PodDoor = {
    url: '',
    token,
    kept: () => Buffer.concat(kept),
    get have() {
      return have;
    },
    uploads: { seqs: [], requests: 0 },
    patches: new Map(),
    works: new Map(),
    prompt: (no, text) => {
      prompts.push({ no, text });
      for (const link of links) say(link, { prompt: no });
    },
    requests: [],
    links: 0,
    offer: take,
    stop: (reason) => {
      stopped = reason;
      for (const link of links) say(link, { stop: reason });
    },
    goAway: shut,
    comeBack: listen,
    cutLinks: () => {
      for (const link of links) link.destroy();
    },
    faults: {
      refuseAll: false,
      refuseLines: false,
      mute: false,
      cutResultAfter: [],
      damageResult: 0,
      damageWork: 0,
      refusePrompts: 0,
      maxResultBytes: Infinity,
    },
  };
  await listen();
  door.url = `http://127.0.0.1:${port}`;
  const beat = setInterval(() => {
    for (const link of links) say(link, { have });
  }, 100);
  onTestFinished(async () => {
    clearInterval(beat);
    await shut();
  });
  return door;
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** `git http-backend` as a CGI program. */
async function gitBackend(
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
  repository: string,
): Promise<void> {
  const child = spawn('git', ['http-backend'], {
    env: {
      ...plainEnv,
      GIT_PROJECT_ROOT: repository,
      GIT_HTTP_EXPORT_ALL: '1',
      PATH_INFO: url.pathname.slice('/repository'.length),
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method ?? 'GET',
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
      GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  request.pipe(child.stdin);
  child.stdin.on('error', () => undefined);
  const out = await new Promise<Buffer>((resolve) => {
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.once('close', () => resolve(Buffer.concat(chunks)));
  });
  const end = out.indexOf('\r\n\r\n');
  const headers = out
    .toString('latin1', 0, end)
    .split('\r\n')
    .map((line) => line.split(': ') as [string, string]);
  const status = headers.find(([name]) => name === 'Status')?.[1] ?? '200';
  response.writeHead(Number.parseInt(status, 10), Object.fromEntries(headers.filter(([name]) => name !== 'Status')));
  response.end(out.subarray(end + 4));
}
