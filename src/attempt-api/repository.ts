import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { AppError } from '../errors.ts';
import type { Git } from '../git/command.ts';
import { isProtocol2, uploadPack } from '../git/upload-pack.ts';
import { isMethod, refuse } from './answer.ts';
import { bodyStream } from './body.ts';
import { createTurns } from './turns.ts';

/** What is asked of an attempt's repository. */
export interface RepositoryRequest {
  path: string;
  query: string;
  /** Aborted when the attempt is over. */
  over: AbortSignal;
  repository(): Promise<{ source: string; base: string }>;
}

/** Bytes of what a fetching git says: wants, and what it has already. */
const MAX_ASKED_BYTES = 32 * 1024 * 1024;
/** The line before an advertisement of protocol 0 and 1, and a flush. */
const SERVICE = '001e# service=git-upload-pack\n0000';
const NOTHING_CACHED = { 'cache-control': 'no-cache, max-age=0, must-revalidate' };

/**
 * git's smart HTTP, of fetching alone: `git-upload-pack` of the run's mirror. Pushing, and the files of the dumb protocol, have no
 * route.
 *
 * @param atOnce gits that run at the same time
 */
export function createRepositoryRoutes(git: Git, atOnce: number) {
  const turns = createTurns(atOnce);
  /** @returns false where there is no such route */
  return async (request: IncomingMessage, response: ServerResponse, asked: RepositoryRequest): Promise<boolean> => {
    const isAdvertising = asked.path === '/repository/info/refs';
    if (!isAdvertising && asked.path !== '/repository/git-upload-pack') return false;
    if (!isMethod(request, response, isAdvertising ? 'GET' : 'POST')) return true;
    if (isAdvertising && new URLSearchParams(asked.query).get('service') !== 'git-upload-pack') {
      refuse(
        response,
        403,
        'forbidden',
        'Only git-upload-pack is served here: this repository can be read, by a git that speaks smart HTTP.',
      );
      return true;
    }
    const gone = new AbortController();
    const leave = (): void => gone.abort();
    response.once('close', leave);
    asked.over.addEventListener('abort', leave);
    if (asked.over.aborted || response.destroyed) leave();
    try {
      await turns(gone.signal, async () => {
        const { source, base } = await asked.repository();
        const protocol = headerOf(request, 'git-protocol');
        const type = isAdvertising ? 'advertisement' : 'result';
        const input = isAdvertising ? null : bodyStream(request, MAX_ASKED_BYTES);
        const before = isAdvertising && !isProtocol2(protocol) ? SERVICE : '';
        await uploadPack(git, {
          source,
          base,
          protocol,
          input,
          onStdout: (stdout) => send(stdout, response, `application/x-git-upload-pack-${type}`, before),
          signal: gone.signal,
        }).finally(() => input?.destroy());
      });
      if (!response.headersSent) throw new AppError('git_failed', 'git had nothing to say.');
      response.end();
    } catch (error) {
      if (gone.signal.aborted) response.destroy();
      else throw error;
    } finally {
      asked.over.removeEventListener('abort', leave);
    }
    return true;
  };
}

/** The answer begins with git's first bytes: what fails before them has a status. */
async function send(stdout: Readable, response: ServerResponse, type: string, before: string): Promise<void> {
  for await (const chunk of stdout) {
    if (!response.headersSent) {
      response.writeHead(200, { 'content-type': type, ...NOTHING_CACHED });
      if (before !== '') response.write(before);
    }
    if (!response.write(chunk)) await drained(response);
  }
}

/** Resolves when there is room again, or nobody there any more. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
    if (response.destroyed) done();
  });
}

function headerOf(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
