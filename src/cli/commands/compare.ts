import { AppError } from '../../errors.ts';
import { plainLines } from '../display.ts';
import type { Palette } from '../palette.ts';
import { findRunId, type Session, wholeNumber } from '../session.ts';
import { printComparison } from './watch.ts';

/** `aideator compare`: the evidence of all variations; with two of them the diff from A's result to B's. */
export async function compare(session: Session, [given = '', a, b]: string[]): Promise<number> {
  if (a !== undefined && b === undefined)
    throw new AppError('invalid_request', 'Two variations make a diff; one was given.', {
      hint: `aideator compare ${given} ${a} <other>`,
    });
  const client = await session.connect();
  const runId = await findRunId(client, given);
  if (a === undefined || b === undefined) {
    const comparison = await client.compare(runId);
    if (session.json) session.printJson(comparison);
    else printComparison(session, comparison);
    return 0;
  }
  const variation = wholeNumber('A variation');
  const [first, second] = [variation(a), variation(b)];
  const diff = await client.diff(runId, first, second);
  if (session.json) session.printJson({ run_id: runId, a: first, b: second, diff: diff.toString('utf8') });
  else if (!session.io.stdout.isTTY) session.io.stdout.write(diff); // the bytes as they are: it may be applied
  else if (diff.length === 0) session.print(`${first} and ${second} are the same to the byte.`);
  else session.print(...paintDiff(diff.toString('utf8'), session.palette));
  return 0;
}

/** A diff for a terminal: plain, so that a file's content cannot drive the terminal. */
function paintDiff(diff: string, palette: Palette): string[] {
  return plainLines(diff.replace(/\n$/, '')).map((line) => {
    if (/^(diff |index |--- |\+\+\+ )/.test(line)) return palette.bold(line);
    if (line.startsWith('@@')) return palette.accent(line);
    if (line.startsWith('+')) return palette.good(line);
    return line.startsWith('-') ? palette.bad(line) : line;
  });
}
