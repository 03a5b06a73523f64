import { problem } from '../contract/api-system.ts';
import { AppError, type ErrorCode, errorCodes } from '../errors.ts';

/** Answers that are none, as errors that say what to do: no connection, no AIdeator, a problem document. */

/** What Node calls a certificate it does not trust. Source: X509_V_ERR_* of OpenSSL, as Node spells them. */
const UNTRUSTED = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
]);

/** No answer. `url` is the server's; `own` = the one of the data directory, which the CLI starts by itself. */
export function unreachable(url: string, cause: unknown, own = false): AppError {
  const { code, message } = reasonOf(cause);
  const hint = (): string => {
    if (UNTRUSTED.has(code))
      return 'Its certificate is of an authority that Node does not know. Name it: NODE_EXTRA_CA_CERTS=<ca.pem> aideator …, or NODE_USE_SYSTEM_CA=1 where the system knows it.';
    if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
      return "The server's certificate has to be renewed, or this machine's clock is wrong.";
    if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
      return 'The certificate is of another name: use the name that it is made for in the URL.';
    if (code === 'EPROTO' || code === 'ERR_SSL_WRONG_VERSION_NUMBER')
      return 'No TLS is spoken there: should the URL begin with http://?';
    if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
      return 'Nobody knows that name: look at the URL (`aideator config` says where it is from) and at the network.';
    if (own) return 'Is the server running? `aideator doctor` looks; `aideator serve` starts one.';
    return 'Is it running there, and is the URL right? `aideator config` says where the URL is from, `aideator doctor` looks, `aideator logout` goes back to the server of this machine.';
  };
  return new AppError('server_unreachable', `No answer from ${url}: ${message}.`, { hint: hint(), cause });
}

/** Whatever fetch threw, without its wrapping: `fetch failed` tells nobody anything. */
function reasonOf(thrown: unknown): { code: string; message: string } {
  let error = thrown;
  while (error instanceof Error && error.cause instanceof Error) error = error.cause;
  // One per address of the name: they say the same.
  if (error instanceof AggregateError && error.errors[0] instanceof Error) error = error.errors[0];
  if (!(error instanceof Error)) return { code: '', message: String(error) };
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  // OpenSSL adds file names and numbers, and Node advice of its own.
  const isTls = code === 'EPROTO' || code.startsWith('ERR_SSL');
  const message = isTls ? 'TLS could not be agreed on' : (error.message.split(';')[0] ?? '').trim();
  return { code, message: message === '' ? 'the connection failed' : message.replace(/\.$/, '') };
}

/**
 * The AppError that a response stands for which is not 2xx: the server's own problem, or that it was not the server that
 * answered (a redirect, a proxy's page).
 */
export async function refusalOf(response: Response, url: string): Promise<AppError> {
  const location = response.headers.get('location');
  if (response.status >= 300 && response.status < 400) {
    await response.body?.cancel();
    return redirected(url, response.status, location);
  }
  const body = await response.text();
  const parsed = problem.safeParse(parseJson(body));
  if (!parsed.success) return notOurs(response, url, body);
  const {
    detail,
    code,
    hint,
    errors,
    type: _type,
    title: _title,
    status: _status,
    instance: _i,
    ...details
  } = parsed.data;
  const places =
    errors?.filter(({ message }) => !detail.includes(message)).map(({ path, message }) => `${path}: ${message}`) ?? [];
  const ours = isErrorCode(code) ? code : 'internal';
  const next = ours === 'unauthorized' ? keyHint(url) : hint;
  return new AppError(ours, [detail, ...places].join('\n'), {
    ...(next === undefined ? {} : { hint: next }),
    details: { ...details, ...(errors === undefined ? {} : { errors }) },
  });
}

function keyHint(url: string): string {
  return `Log in with a key of that server: aideator login ${url} (or set AIDEATOR_API_KEY). Who runs it makes one with \`aideator keys create\`.`;
}

function redirected(url: string, status: number, location: string | null): AppError {
  const target = location !== null && URL.canParse(location, url) ? new URL(location, url) : null;
  // The key is sent to nobody it was not given for: a redirect is never followed.
  const better = target?.href.replace(/\/api\/v1\/[^?#]*([?#].*)?$/, '');
  const moved = target !== null && better !== undefined && better !== target.href;
  return new AppError(
    'not_aideator',
    `${url} answered ${status}: it sends elsewhere${target === null ? '' : `, to ${shown(target)}`}.`,
    {
      hint: moved
        ? `If that is the server, name it so: ${better}`
        : 'It looks like a page to sign in at, in front of the server. The API has to be reachable with its key alone: ask who runs the server for the address of its API.',
    },
  );
}

/** Without its query: what a sign-in page is sent there is nobody's business. */
function shown({ origin, pathname }: URL): string {
  return origin + pathname;
}

/** An answer, with a good status or a bad one, that no AIdeator gave: a page of a proxy or a portal, another program. */
export function notOurs(response: Response, url: string, body: string): AppError {
  const { status } = response;
  const isPage = /html/i.test(response.headers.get('content-type') ?? '') || /^\s*<(!doctype|html)/i.test(body);
  const title = /<title[^>]*>([^<]{1,120})/i.exec(body)?.[1]?.trim();
  const what = isPage ? `with a web page${title === undefined ? '' : ` (“${title}”)`}` : 'not as AIdeator does';
  const said = `${url} answered ${status}, ${what}.`;
  if (status === 407 || status === 511)
    return new AppError('not_aideator', said, {
      hint: 'A proxy or a portal of the network stands in between: sign in to it.',
    });
  // A gateway whose server is away: passing.
  if (status >= 500)
    return new AppError('server_unreachable', said, {
      hint: 'Something stands in front of the server, and the server behind it did not answer: is it running?',
    });
  if (status === 400 && /plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server/i.test(body))
    return new AppError('not_aideator', said, { hint: 'TLS is spoken there: the URL has to begin with https://.' });
  return new AppError('not_aideator', said, {
    hint: 'Is something else listening there, or is a path missing in the URL? `aideator config` says where the URL is from.',
  });
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCodes, code);
}

/** undefined where it is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
