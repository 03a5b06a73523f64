import type { Readable } from 'node:stream';
import { assertObjectName } from './borrowed.ts';
import type { Git } from './command.ts';
import { pinOf } from './mirror-access.ts';

/** What somebody who fetches is to get, and what they say. */
export interface UploadPackRequest {
  /** The mirror's path. */
  source: string;
  /** The one commit that is for them; its pin is the only ref that they see. */
  base: string;
  /** The `Git-Protocol` header. */
  protocol?: string | undefined;
  /** Null: what there is, is advertised. Else what the fetching git asks, as it came. */
  input: Readable | null;
  onStdout(stdout: Readable): Promise<void>;
  /** Ends git and all that it started. */
  signal: AbortSignal;
}

/** A client that neither reads nor writes for so long is left alone (s). */
const STALLED_SECONDS = 120;
/** However much it moves (ms). */
const LONGEST_MS = 60 * 60_000;
/** What git exits with when it has told the client what is wrong with its request. */
const TOLD = 128;

/**
 * Serves one request of git's smart HTTP from a mirror: `git upload-pack`, which can only read. Nobody's configuration holds, as
 * with every safe command. Errors: git_failed, and what its input failed with.
 */
export async function uploadPack(git: Git, request: UploadPackRequest): Promise<void> {
  assertObjectName(request.base);
  const way = request.input === null ? ['--http-backend-info-refs'] : [];
  const protocol = isProtocol(request.protocol) ? { GIT_PROTOCOL: request.protocol } : {};
  await git(['upload-pack', '--stateless-rpc', ...way, '--strict', `--timeout=${STALLED_SECONDS}`, request.source], {
    cwd: request.source,
    env: { ...configured(request.base), ...protocol },
    signal: request.signal,
    timeoutMs: LONGEST_MS,
    input: request.input ?? undefined,
    onStdout: request.onStdout,
    accept: [0, TOLD],
  });
}

/** Whether a header asks for protocol 2: its advertisement has no `# service` line before it (git's http-backend.c). */
export function isProtocol2(header: string | undefined): boolean {
  return isProtocol(header) && header.split(':').includes('version=2');
}

/** `key=value` pairs between colons, as gitprotocol-v2 has them. */
function isProtocol(header: string | undefined): header is string {
  return header !== undefined && /^[a-z0-9=:._-]{1,200}$/i.test(header);
}

/** Several attempts begin at once, and the server has other things to do: a pack takes one thread and little memory. */
function configured(base: string): Record<string, string> {
  const entries: [string, string][] = [
    // The last that matches decides: all names of branches and tags stay out, this run's pin is shown.
    ['uploadpack.hideRefs', 'refs/'],
    ['uploadpack.hideRefs', `!${pinOf(base)}`],
    ['uploadpack.allowAnySHA1InWant', 'true'],
    ['lsrefs.unborn', 'ignore'],
    ['pack.threads', '1'],
    ['pack.windowMemory', '64m'],
  ];
  const env: Record<string, string> = { GIT_CONFIG_COUNT: String(entries.length) };
  for (const [index, [key, value]] of entries.entries()) {
    env[`GIT_CONFIG_KEY_${index}`] = key;
    env[`GIT_CONFIG_VALUE_${index}`] = value;
  }
  return env;
}
