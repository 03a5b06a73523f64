import { open } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import {
  claimRequest,
  MAX_LINES_BYTES,
  type ClaimedAttempt,
  type LinesTaken,
  type LinkMessage,
  type NextPromptAnswer,
} from '../contract/attempt-door.ts';
import { AppError, toAppError } from '../errors.ts';
import type { Git } from '../git/command.ts';
import type { Intake, Pods } from '../runtime/pods.ts';
import { answer, isMethod, refuse, refuseFor } from './answer.ts';
import { guardBody, readBody } from './body.ts';
import { createRepositoryRoutes } from './repository.ts';

/** What recorders in pods find at the door beside models. */
export interface PodHouse<Holder> {
  pods: Pods;
  git: Git;
  /** The attempt is this pod's, if it is nobody's yet. Errors: attempt_taken, forbidden. */
  claim(holder: Holder, podUid: string): Promise<ClaimedAttempt>;
  /** Where the attempt's repository is: the mirror's path, and the one commit it may have. */
  repository(holder: Holder): Promise<{ source: string; base: string }>;
  /** The patch that the attempt's work tree starts with, by its hash. Errors: not_found. */
  work(holder: Holder, sha256: string): Promise<{ file: string; bytes: number }>;
  /** The first prompt behind that number that waits for the attempt's variation. */
  nextPrompt(holder: Holder, after: number): Promise<NextPromptAnswer['prompt']>;
  /** Fetches that are served at once; others wait. Default 8: a git that waits for a minute gives up and comes again. */
  maxFetches?: number;
}

/** Answers a request to `/attempt/…` or `/repository/…`; false where there is no such route. */
export type PodRoutes<Holder> = (
  request: IncomingMessage,
  response: ServerResponse,
  holder: Holder,
) => Promise<boolean>;

const MAX_CLAIM_BYTES = 4096;
const WORK = /^\/attempt\/work\/([0-9a-f]{64})$/;
const RESULT = /^\/attempt\/result\/([0-9a-f]{64})$/;

export function createPodRoutes<Holder extends { attemptId: string }>(house: PodHouse<Holder>): PodRoutes<Holder> {
  const serveRepository = createRepositoryRoutes(house.git, house.maxFetches ?? 8);
  return async (request, response, holder) => {
    const [path = '', query = ''] = (request.url ?? '').split('?', 2);
    const isRepository = path.startsWith('/repository/');
    if (!isRepository && !path.startsWith('/attempt/')) return false;
    const intake = house.pods.get(holder.attemptId);
    if (intake === undefined) {
      // A refusal would be final. Its token is revoked when it is over; until then this is a moment between two states.
      refuse(response, 503, 'shutting_down', 'The attempt is not open here at the moment.');
      return true;
    }
    try {
      if (isRepository) {
        const asked = { path, query, over: intake.over, repository: () => house.repository(holder) };
        return await serveRepository(request, response, asked);
      }
      const work = WORK.exec(path)?.[1];
      const sha256 = RESULT.exec(path)?.[1];
      if (path === '/attempt/claim') await claim(request, response, (podUid) => house.claim(holder, podUid));
      else if (path === '/attempt/link') link(request, response, intake);
      else if (path === '/attempt/lines') await lines(request, response, intake);
      else if (path === '/attempt/prompts')
        await prompts(request, response, query, (after) => house.nextPrompt(holder, after));
      else if (work !== undefined) await sendWork(request, response, intake.over, () => house.work(holder, work));
      else if (sha256 !== undefined) await result(request, response, intake, sha256, new URLSearchParams(query));
      else return false;
    } catch (error) {
      refuseFor(response, error);
    }
    return true;
  };
}

async function claim(
  request: IncomingMessage,
  response: ServerResponse,
  take: (podUid: string) => Promise<ClaimedAttempt>,
): Promise<void> {
  if (!isMethod(request, response, 'POST')) return;
  const body = await readBody(request, MAX_CLAIM_BYTES);
  let asked: unknown;
  try {
    asked = JSON.parse(body.toString());
  } catch (error) {
    throw new AppError('invalid_json', 'The claim is not JSON.', { cause: error });
  }
  const parsed = claimRequest.safeParse(asked);
  if (!parsed.success) throw new AppError('invalid_request', 'A claim is {"pod_uid": "…"}.', { cause: parsed.error });
  answer(response, await take(parsed.data.pod_uid));
}

async function lines(request: IncomingMessage, response: ServerResponse, intake: Intake): Promise<void> {
  if (!isMethod(request, response, 'POST')) return;
  const taken: LinesTaken = { have: await intake.lines(await readBody(request, MAX_LINES_BYTES)) };
  answer(response, taken);
}

function link(request: IncomingMessage, response: ServerResponse, intake: Intake): void {
  if (!isMethod(request, response, 'GET')) return;
  response.writeHead(200, {
    'content-type': 'application/x-ndjson',
    'cache-control': 'no-store, no-transform',
    'x-accel-buffering': 'no',
  });
  request.socket.setKeepAlive(true, 10_000);
  const leave = intake.link(
    (message: LinkMessage) => {
      // What was said last is still on its way: nobody reads, and nothing is queued for them.
      if (response.writableNeedDrain) response.destroy();
      else response.write(`${JSON.stringify(message)}\n`);
    },
    () => response.end(),
  );
  response.once('close', leave);
  if (response.destroyed) leave();
}

async function prompts(
  request: IncomingMessage,
  response: ServerResponse,
  query: string,
  next: (after: number) => Promise<NextPromptAnswer['prompt']>,
): Promise<void> {
  if (!isMethod(request, response, 'GET')) return;
  const said: NextPromptAnswer = { prompt: await next(countOf(new URLSearchParams(query), 'after')) };
  answer(response, said);
}

/** The bytes of a patch. What fails in their middle breaks the connection: its reader knows how many there are. */
async function sendWork(
  request: IncomingMessage,
  response: ServerResponse,
  over: AbortSignal,
  find: () => Promise<{ file: string; bytes: number }>,
): Promise<void> {
  if (!isMethod(request, response, 'GET')) return;
  const { file, bytes } = await find();
  const source = await open(file);
  try {
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes });
    await pipeline(source.createReadStream({ autoClose: false }), response, { signal: over });
  } catch {
    response.destroy();
  } finally {
    await source.close();
  }
}

async function result(
  request: IncomingMessage,
  response: ServerResponse,
  intake: Intake,
  sha256: string,
  query: URLSearchParams,
): Promise<void> {
  if (request.method === 'GET') {
    answer(response, await intake.resultState(sha256));
    return;
  }
  if (!isMethod(request, response, 'PUT')) return;
  const [offset, bytes] = [countOf(query, 'offset'), countOf(query, 'bytes')];
  guardBody(request);
  try {
    answer(response, await intake.takeResult(sha256, { offset, bytes }, request));
  } catch (error) {
    // Where to go on is said in the same words as everywhere.
    const { code } = toAppError(error);
    refuseFor(response, error, code === 'upload_offset' ? { ...(await intake.resultState(sha256)) } : {});
  }
}

function countOf(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? '';
  if (!/^\d{1,15}$/.test(text)) throw new AppError('invalid_request', `${name} is a count.`);
  return Number(text);
}
