import { AppError } from '../../../errors.ts';
import type { Status } from './objects.ts';

/**
 * The API server answered, and the answer is no. `message` is Kubernetes' own, whole: people are shown it. A server that is too
 * busy or broken (429, 5xx) counts as unreachable, everything else as refused.
 */
export class ApiError extends AppError {
  /** Of the answer; {@link AppError.status} is what our own callers are told. */
  readonly httpStatus: number;
  /** In one word, for programs: AlreadyExists, NotFound, Forbidden, Expired … null where the answer was no Status. */
  readonly reason: string | null;
  readonly body: Status | null;
  /** From the header or the body; null = the server does not say. */
  readonly retryAfterSeconds: number | null;

  constructor(
    request: string,
    answer: { httpStatus: number; text: string; body: Status | null; retryAfterSeconds: number | null },
  ) {
    const { httpStatus, body } = answer;
    const said = body?.message ?? answer.text.trim();
    super(
      httpStatus === 429 || httpStatus >= 500 ? 'cluster_unreachable' : 'cluster_refused',
      said === '' ? `Kubernetes answered ${request} with ${httpStatus}` : said,
      {
        details: { request, http_status: httpStatus, ...(body?.reason === undefined ? {} : { reason: body.reason }) },
        ...hintFor(httpStatus),
      },
    );
    this.httpStatus = httpStatus;
    this.reason = body?.reason ?? null;
    this.body = body;
    this.retryAfterSeconds = answer.retryAfterSeconds;
  }
}

function hintFor(httpStatus: number): { hint?: string } {
  if (httpStatus === 401)
    return { hint: 'The credentials are not valid (any more): renew the token or the kubeconfig.' };
  if (httpStatus === 403) {
    return { hint: '`aideator doctor --kubernetes` lists the rights that are missing; the chart’s Role grants them.' };
  }
  return {};
}

/** Whether it is the API server's answer with this status. */
export function answeredWith(error: unknown, httpStatus: number): error is ApiError {
  return error instanceof ApiError && error.httpStatus === httpStatus;
}

/** How long the server wants to be left alone (ms); 0 where it does not say, and at most a minute. */
export function askedWait(error: unknown): number {
  const seconds = error instanceof ApiError ? (error.retryAfterSeconds ?? 0) : 0;
  return Math.min(seconds, LONGEST_WAIT_SECONDS) * 1000;
}

const LONGEST_WAIT_SECONDS = 60;

/** How much of an answer that is no Status is kept. Characters. */
const TEXT_KEPT = 2000;

/** An error of what was answered: a Status where it is one, else the beginning of its text. */
export function apiError(
  request: string,
  answer: { httpStatus: number; bytes: Buffer; retryAfter: string | undefined },
): ApiError {
  const text = answer.bytes.toString('utf8');
  const body = asStatus(text);
  const header = answer.retryAfter === undefined ? Number.NaN : Number(answer.retryAfter);
  const asked = Number.isFinite(header) && header >= 0 ? header : body?.details?.retryAfterSeconds;
  return new ApiError(request, {
    httpStatus: answer.httpStatus,
    text: text.slice(0, TEXT_KEPT),
    body,
    retryAfterSeconds: asked ?? null,
  });
}

function asStatus(text: string): Status | null {
  try {
    const parsed: unknown = JSON.parse(text);
    const isStatus = typeof parsed === 'object' && parsed !== null && 'kind' in parsed && parsed.kind === 'Status';
    return isStatus ? (parsed as Status) : null;
  } catch {
    return null;
  }
}
