import type { AttemptView, Gap, Lineage, Run, VariationView } from '../../contract/api.ts';
import { budgetWords } from '../budget-words.ts';
import { plainLine, plainLines, wrap } from '../display.ts';
import { endWords, waitingWords } from '../event-words.ts';
import { allTokens, costOf, count, dateTime, duration, lineChange, money, plural, wallClock } from '../format.ts';
import { findRunId, type Session } from '../session.ts';

const PROMPT_LINES = 8;

/** A name and its value as lines. */
type Row = (name: string, value: string) => string[];

/** `aideator show`: what is known of a run, its variations and their attempts. */
export async function show(session: Session, [given = '']: string[]): Promise<number> {
  const client = await session.connect();
  const run = await client.run(await findRunId(client, given));
  if (session.json) session.printJson(run);
  else session.print(...describe(run, session));
  return 0;
}

function describe(run: Run, { palette, columns }: Pick<Session, 'palette' | 'columns'>): string[] {
  const row: Row = (name, value) => {
    const [first = '', ...more] = wrap(plainLine(value), columns - 13);
    return [`${palette.dim(name.padEnd(12))} ${first}`, ...more.map((line) => `${' '.repeat(13)}${line}`)];
  };
  const prompt = plainLines(run.prompt);
  const isolations = new Set(run.variations.flatMap(({ attempts }) => attempts.map(({ isolation }) => isolation)));
  const [isolation] = isolations.size === 1 ? isolations : [];
  const promptLines = prompt.slice(0, PROMPT_LINES).flatMap((line) => wrap(line, columns - 2));
  return [
    ...row('run', run.run_id),
    ...row('status', `${run.status}: ${run.summary}`),
    ...row('repository', run.repository),
    ...row('commit', `${run.base}${run.ref === null ? '' : ` (${run.ref})`}`),
    ...(run.image === null ? [] : row('image', run.image)),
    ...row('started', dateTime(run.created_at)),
    ...(run.ended_at === null
      ? []
      : row(
          'ended',
          `${dateTime(run.ended_at)}, after ${duration(Date.parse(run.ended_at) - Date.parse(run.created_at))}`,
        )),
    ...row(
      'used',
      `${plural(run.usage.calls, 'model call')}, ${count(allTokens(run.usage))} tokens, ${money(costOf(run.usage))}`,
    ),
    ...(run.budget === null ? [] : row('budget', budgetWords(run.budget))),
    ...(isolation === undefined ? [] : row('isolation', isolation)),
    ...(run.choice === null
      ? []
      : row(
          'chosen',
          `${run.choice.winning_variation_id}${run.choice.reason === null ? '' : `: ${run.choice.reason}`}`,
        )),
    // The same may be shipped again: that is one line.
    ...[
      ...new Set(
        run.choice?.shipped.map(
          ({ kind, target, commit }) => `${kind} ${target}${commit === null ? '' : ` (${commit.slice(0, 12)})`}`,
        ),
      ),
    ].flatMap((shipment) => row('shipped', shipment)),
    palette.dim('prompt'),
    ...promptLines.map((line) => `  ${line}`),
    ...(prompt.length > PROMPT_LINES
      ? [palette.dim(`  (${plural(prompt.length - PROMPT_LINES, 'more line')}; --json has all)`)]
      : []),
    ...run.variations.flatMap((variation) => [
      '',
      ...describeVariation(variation, { row, bold: palette.bold, told: isolation }),
    ]),
  ];
}

function describeVariation(
  variation: VariationView,
  { row, bold, told }: { row: Row; bold: (text: string) => string; told: string | undefined },
): string[] {
  const { strategy, agent, model, status, end_reason: reason, message, usage } = variation;
  return [
    bold(
      plainLine(
        `variation ${variation.variation_id}  ${[strategy, agent, model].filter((part) => part !== null).join(' · ')}`,
      ),
    ),
    ...(variation.forked_from === null ? [] : row('  forked from', lineageWords(variation.forked_from))),
    ...row('  outcome', endWords(status, reason, message)),
    ...row('  time', `${duration(variation.running_ms)} working, ${duration(variation.queued_ms)} waiting`),
    ...row(
      '  used',
      `${plural(usage.calls, 'model call')}, ${count(allTokens(usage))} tokens, ${money(costOf(usage))}`,
    ),
    ...(variation.budget === null ? [] : row('  budget', budgetWords(variation.budget))),
    ...row(
      '  result',
      variation.files_changed === null
        ? 'none'
        : `${plural(variation.files_changed, 'file')} changed, ${lineChange(variation.additions, variation.deletions)}${resultOf(variation)}`,
    ),
    ...(variation.prompts_waiting === 0 ? [] : row('  waiting', plural(variation.prompts_waiting, 'prompt'))),
    ...variation.attempts.flatMap((attempt) => attemptRows(attempt, [message, told], row)),
  ];
}

/** `told`: what stands above already, and need not be said again. */
function attemptRows(attempt: AttemptView, told: readonly (string | null | undefined)[], row: Row): string[] {
  const { waiting, job, gaps, log_complete: complete, message, isolation } = attempt;
  const log = complete === null ? '' : complete ? '; log complete' : '; log has gaps';
  return [
    ...row(
      `  attempt ${attempt.attempt}`,
      `${endWords(attempt.status, attempt.end_reason, told.includes(message) ? null : message)}; ${plural(attempt.last_seq, 'line')}${log}`,
    ),
    ...(told.includes(isolation) ? [] : row('  isolation', isolation)),
    ...(attempt.continues === null ? [] : row('    goes on', `from ${lineageWords(attempt.continues)}`)),
    ...(job === null ? [] : row('    job', job)),
    ...(waiting === null ? [] : row('    waiting', `${waitingWords(waiting)}, since ${wallClock(waiting.since)}`)),
    ...gaps.flatMap((gap) => row('    missing', gapWords(gap))),
  ];
}

function lineageWords({ variation_id: variation, attempt }: Lineage): string {
  return `variation ${variation}, attempt ${attempt}`;
}

/** Which attempt left it, where there are several. */
function resultOf({ result_attempt: attempt, attempts }: VariationView): string {
  return attempt === null || attempts.length < 2 ? '' : ` (attempt ${attempt})`;
}

/** Lines of the log that never came, by name. */
function gapWords({ from_seq: from, to_seq: to, reason }: Gap): string {
  const which =
    to === null
      ? `all from line ${from} on`
      : from === to
        ? `line ${from}`
        : `lines ${from} to ${to} (${to - from + 1})`;
  return `${which}: ${reason}`;
}
