import { HTTPException } from 'hono/http-exception';
import type { z } from 'zod';
import type { Problem } from '../contract/api-system.ts';
import { AppError } from '../errors.ts';

/** Errors as RFC 9457 documents: one of the two edges where an AppError is translated. */

export const PROBLEM_TYPE = 'application/problem+json';

/** Where in a request something was wrong. `path` names the field; outside the body it begins with query, path or header. */
export interface FieldError {
  path: string;
  message: string;
}

type Part = 'json' | 'query' | 'param' | 'header' | 'cookie' | 'form';

const PREFIX: Record<Part, string> = {
  json: '',
  form: '',
  query: 'query.',
  param: 'path.',
  header: 'header.',
  cookie: 'cookie.',
};

/**
 * The problem document of a thrown value. What is not an AppError was not foreseen: it becomes `internal`, and its
 * message stays in the log.
 */
export function problemOf(thrown: unknown, context: { instance?: string; requestId?: string } = {}): Problem {
  const error = known(thrown);
  const { status: _status, ...details } = error.details ?? {};
  return {
    ...details,
    type: `/problems/${error.code}`,
    title: error.title,
    status: error.status,
    detail: error.message,
    code: error.code,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    ...(context.instance === undefined ? {} : { instance: context.instance }),
    ...(context.requestId === undefined ? {} : { request_id: context.requestId }),
  };
}

/** A problem document as a response, with the headers its status asks for. */
export function problemResponse(thrown: unknown, context: { instance?: string; requestId?: string } = {}): Response {
  const problem = problemOf(thrown, context);
  const headers = new Headers({ 'content-type': PROBLEM_TYPE });
  if (problem.status === 401) headers.set('www-authenticate', 'Bearer realm="aideator"');
  if (problem.status === 503) headers.set('retry-after', '5');
  // What is left of a refused body is not read: the connection cannot be used again.
  if (problem.status === 413) headers.set('connection', 'close');
  const allow = problem['allow'];
  if (Array.isArray(allow)) headers.set('allow', allow.join(', '));
  return new Response(JSON.stringify(problem), { status: problem.status, headers });
}

function known(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  if (thrown instanceof HTTPException) {
    if (thrown.status === 415) return unsupportedMediaType();
    // The validator's only own complaint: JSON is wanted, and the body is empty (anything else was refused before).
    if (thrown.status === 400)
      return new AppError('invalid_json', 'The body is empty, but JSON is wanted.', {
        cause: thrown,
        hint: 'What it may be: /docs.',
      });
  }
  return new AppError('internal', 'The server failed in a way it did not foresee.', {
    cause: thrown,
    hint: 'The log of the server has the cause under this request id. Please report it.',
  });
}

export function unsupportedMediaType(): AppError {
  return new AppError('unsupported_media_type', 'The body is not declared as JSON in UTF-8.', {
    hint: 'Send it with `content-type: application/json`.',
  });
}

/** The error for a part of a request that its schema refuses: says each field and what is wrong with it. */
export function invalidRequest(part: Part, error: z.ZodError): AppError {
  const errors = fieldErrors(error.issues, []).map(({ path, message }) => ({
    path: `${PREFIX[part]}${path}`,
    message,
  }));
  return invalidFields(errors);
}

export function invalidFields(errors: readonly FieldError[]): AppError {
  const [first] = errors;
  const detail =
    first === undefined
      ? 'The request is not valid.'
      : `${first.path === '' ? 'The body' : first.path}: ${first.message}`;
  return new AppError('invalid_request', errors.length > 1 ? `${detail} (and ${errors.length - 1} more)` : detail, {
    hint: 'What each field may be: /docs, or /openapi.json.',
    details: { errors },
  });
}

function fieldErrors(issues: readonly z.core.$ZodIssue[], above: readonly PropertyKey[]): FieldError[] {
  return issues.flatMap((issue): FieldError[] => {
    const path = [...above, ...issue.path];
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({
        path: [...path, key].map(String).join('.'),
        message: 'There is no such field.',
      }));
    }
    if (issue.code === 'invalid_union') {
      // The branch that was meant is the one whose complaints lie deeper than the value itself.
      const meant = issue.errors.find(
        (branch) => branch.length > 0 && branch.every(({ path: inner }) => inner.length > 0),
      );
      if (meant !== undefined) return fieldErrors(meant, path);
      const wanted = issue.errors.flatMap((branch) => branch.map(({ message }) => message));
      return [{ path: path.map(String).join('.'), message: wanted.join('; or: ') || issue.message }];
    }
    return [{ path: path.map(String).join('.'), message: issue.message }];
  });
}
