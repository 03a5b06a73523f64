import type { Problem } from '../contract/api-system.ts';
import type { AppError } from '../errors.ts';
import { plainLines, wrap } from './display.ts';
import type { Palette } from './palette.ts';

/** An error as three parts for people: what happened, what to do about it, and the code to look up. */
export function renderError(error: AppError, palette: Palette, columns: number): string {
  const width = Math.max(20, columns);
  const [first = '', ...others] = plainLines(error.message).flatMap((line) => wrap(line, width - 7));
  const lines = [`${palette.bad('error:')} ${palette.bold(first)}`, ...others.map((line) => `       ${line}`)];
  if (error.hint !== undefined) {
    const [hint = '', ...more] = plainLines(error.hint).flatMap((line) => wrap(line, width - 7));
    lines.push(`${palette.accent(' hint:')} ${hint}`, ...more.map((line) => `       ${line}`));
  }
  lines.push(palette.dim(` code: ${error.code}`));
  return `${lines.join('\n')}\n`;
}

/** The problem document (RFC 9457) of an error, as the API would send it. */
export function problemOf(error: AppError): Problem {
  const { code, title, status, message, hint, details } = error;
  return {
    type: `/problems/${code}`,
    title,
    status,
    detail: message,
    code,
    ...(hint === undefined ? {} : { hint }),
    ...details,
  };
}
