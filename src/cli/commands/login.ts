import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { serverAddress } from '../../config.ts';
import type { Info } from '../../contract/api-system.ts';
import { AppError, toAppError } from '../../errors.ts';
import { Client } from '../client.ts';
import { plainLine } from '../display.ts';
import { dropLogin, loginPath, readLogin, saveLogin } from '../login-file.ts';
import { isLoopbackName } from '../same-machine.ts';
import type { Session } from '../session.ts';

/**
 * `aideator login`: checks a server and a key, and keeps both. The server is asked without a key first: what is no AIdeator never
 * gets to see one.
 */
export async function login(
  session: Session,
  [given = '']: string[],
  { keyFile }: { keyFile?: string },
): Promise<number> {
  const url = serverOf(given);
  const { protocol, hostname } = new URL(url);
  const open = await infoWithoutKey(url);
  const key = open === null || keyFile !== undefined ? await keyOf(session, url, keyFile) : null;
  if (key !== null && protocol === 'http:' && !isLoopbackName(hostname))
    session.remark(session.errPalette.warn('This URL is http://: the key is sent so that the network can read it.'));
  const info = key === null ? open : await new Client({ url, key }).info();
  if (info === null) throw new AppError('internal', 'No key was taken, and one is needed.');
  const path = saveLogin(session.io.env, { url, key });
  if (session.json) {
    session.printJson({ url, version: info.version, runtime: info.runtime, key: key !== null, file: path });
    return 0;
  }
  session.print(
    `Logged in to ${session.palette.bold(url)}: AIdeator ${plainLine(info.version)}, attempts run as ${info.runtime === 'kubernetes' ? 'Kubernetes Jobs' : 'processes'}.`,
    key === null ? 'It wants no key.' : `The key is in ${path}, for you alone; \`aideator logout\` forgets it.`,
  );
  for (const name of ['AIDEATOR_URL', 'AIDEATOR_API_KEY'])
    if (session.io.env[name] !== undefined)
      session.remark(`${name} is set in this environment, and goes before what was stored just now.`);
  return 0;
}

/** `aideator logout`: forgets a server and its key; without a URL the one that is talked to. */
export async function logout(session: Session, [given]: string[]): Promise<number> {
  const address = dropLogin(session.io.env, given === undefined ? undefined : serverOf(given));
  if (address === null && given !== undefined)
    throw new AppError('not_found', `There is no login at ${given}.`, {
      hint: `Known: ${Object.keys(readLogin(session.io.env)?.keys ?? {}).join(', ') || 'none'} (${loginPath(session.io.env)})`,
    });
  if (session.json) session.printJson({ url: address, logged_out: address !== null });
  else if (address === null) session.print('You were not logged in.');
  else {
    session.print(
      `Logged out of ${address}; its key is forgotten here. It stays valid until it is revoked: aideator keys revoke <id>`,
    );
    const others = Object.keys(readLogin(session.io.env)?.keys ?? {});
    if (others.length > 0) session.print(`Keys of other servers are kept: ${others.join(', ')}.`);
  }
  return 0;
}

/** The URL that was meant; https where no scheme is given. Errors: invalid_request. */
function serverOf(given: string): string {
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(given) ? given : `https://${given}`;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.hostname === '') {
    throw new AppError('invalid_request', `${JSON.stringify(given)} is not the URL of a server.`, {
      hint: 'For example: aideator login https://aideator.example.com',
    });
  }
  if (url.username !== '' || url.password !== '')
    throw new AppError(
      'invalid_request',
      'A user name or a password in the URL is of no use: servers want an API key.',
      {
        hint: 'Leave it out; the key is asked for.',
      },
    );
  // People paste what their browser shows.
  return serverAddress(text).replace(/\/(docs|api\/v1(\/.*)?)$/, '');
}

/** What the server says to everybody; null where it wants a key. Errors: not_aideator, server_unreachable. */
async function infoWithoutKey(url: string): Promise<Info | null> {
  try {
    return await new Client({ url }).info();
  } catch (thrown) {
    if (toAppError(thrown).code === 'unauthorized') return null;
    throw thrown;
  }
}

/** The key, from a file, a person or standard input. Errors: invalid_request. */
async function keyOf({ io }: Session, url: string, keyFile: string | undefined): Promise<string> {
  const asked = keyFile === undefined ? io.askSecret(`API key of ${url} (not shown): `) : null;
  let text: string | null;
  if (asked !== null) text = await asked;
  else if (keyFile === undefined || keyFile === '-') text = (await io.readStdin()).toString('utf8');
  else text = readKey(resolve(io.cwd, keyFile));
  const key = text?.trim() ?? '';
  if (/^[\x21-\x7e]+$/.test(key)) return key;
  throw new AppError(
    'invalid_request',
    key === '' ? 'No key was given.' : 'That is not a key: it has blanks or other characters in it.',
    {
      hint: 'A key looks like aid_…; give it at the prompt, on standard input, or with --key-file <file>.',
    },
  );
}

function readKey(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new AppError(
      'invalid_request',
      `The key cannot be read: ${error instanceof Error ? error.message : String(error)}.`,
      { hint: 'Name a file that holds the key alone, or - for standard input.', cause: error },
    );
  }
}
