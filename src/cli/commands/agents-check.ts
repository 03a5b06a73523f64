import { DIALECTS } from '../../contract/dialect.ts';
import { AppError } from '../../errors.ts';
import { CHECKED_FILE, checkAgent, type CheckedAgent } from '../agents/check-run.ts';
import type { Observation } from '../agents/observation.ts';
import { pad, plainLine, wrap } from '../display.ts';
import type { Session } from '../session.ts';

interface Finding {
  name: string;
  state: 'ok' | 'warn' | 'fail';
  text: string;
}

const NAME_WIDTH = 12;

/** `aideator agents check`: a real run against the scripted model, and what was seen of it. 0 only if all of it was as it should be. */
export async function checkOne(
  session: Session,
  [name = '']: string[],
  options: { dialect?: string },
): Promise<number> {
  const { config } = session;
  if (config.url !== null || config.runtime === 'kubernetes')
    throw new AppError('invalid_request', 'An agent is checked on the machine where it is installed.', {
      hint: 'Run the same command there, without --url (and without AIDEATOR_URL or a login).',
    });
  const stop = new AbortController();
  const off = session.io.onSignal(() => stop.abort());
  try {
    if (!session.json) session.remark(`Two short runs of ${name} against the scripted model…`);
    const checked = await checkAgent(session.io, {
      agent: name,
      config,
      dialect: DIALECTS.find((known) => known === options.dialect),
      signal: stop.signal,
    });
    const findings = findingsOf(checked);
    if (session.json) session.printJson({ agent: name, isolation: checked.isolation, findings });
    else session.print(...findings.flatMap((finding) => lines(finding, session)));
    return findings.some(({ state }) => state === 'fail') ? 5 : 0;
  } catch (error) {
    if (stop.signal.aborted) return 130;
    throw error;
  } finally {
    off();
  }
}

/** What was seen, in the order in which it happens. */
export function findingsOf({ isolation, run, write, patch, cancel }: CheckedAgent): Finding[] {
  const [first, second] = run.variations;
  const started = write.stopReason !== null || write.thoughts > 0 || write.toolKinds.length > 0;
  const kinds = write.toolKinds.map((kind) => kind ?? 'no kind');
  const wrote = patch?.includes(`+${CHECKED_FILE.text}`) === true && patch.includes(`b/${CHECKED_FILE.path}`);
  const finding = (name: string, good: boolean, yes: string, no: string): Finding =>
    good ? { name, state: 'ok', text: yes } : { name, state: 'fail', text: no };
  const findings: Finding[] = [
    { name: 'isolation', state: 'ok', text: isolation },
    finding('starts', started, 'speaks ACP', `did not start: ${ending(first, write.errors)}`),
  ];
  if (!started) return findings;
  findings.push(
    finding(
      'thinks',
      write.thoughts > 1 && write.thoughtsForMs > 0,
      `${write.thoughts} pieces of thoughts as they came, the first after ${seconds(write.firstThoughtMs ?? 0)}`,
      write.thoughts === 0 ? 'no thought was shown' : 'its thoughts came all at once',
    ),
    finding(
      'calls tools',
      kinds.length > 0 && write.toolsCompleted > 0 && write.toolKinds.every((kind) => kind !== null),
      `typed: ${kinds.join(', ')}`,
      kinds.length === 0 ? 'called no tool' : `${kinds.join(', ')}; ${write.toolsCompleted} ended well`,
    ),
    finding(
      'writes',
      wrote,
      `${CHECKED_FILE.path} is as it should be`,
      `no ${CHECKED_FILE.path}: ${ending(first, write.errors)}`,
    ),
    finding(
      'ends',
      write.stopReason === 'end_turn',
      'its turn, by itself',
      `${write.stopReason ?? 'no answer'}: ${ending(first, write.errors)}`,
    ),
    cancelling(cancel, ending(second, cancel.errors)),
  );
  const [refused] = [
    ...write.refused,
    ...cancel.refused.filter(({ error }) => !/abort|cancel|closed|gone/i.test(error)),
  ];
  if (refused !== undefined)
    findings.push({ name: 'models', state: 'warn', text: `a model call failed: ${refused.model}: ${refused.error}` });
  return findings;
}

/** An agent that is told to stop answers its prompt with `cancelled` (ACP v1); one that answers otherwise has stopped as well. */
function cancelling({ cancelMs, stopReason }: Observation, ended: string): Finding {
  const name = 'cancels';
  if (cancelMs === null) return { name, state: 'fail', text: `gave no answer in time and was killed: ${ended}` };
  const text = `answered after ${seconds(cancelMs)}`;
  if (stopReason === 'cancelled') return { name, state: 'ok', text };
  return { name, state: 'warn', text: `${text}, but with ${stopReason ?? 'nothing'}` };
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function ending(
  variation: { end_reason: string | null; message: string | null } | undefined,
  errors: readonly string[],
): string {
  return [variation?.end_reason ?? 'no end', variation?.message ?? errors.at(-1)]
    .filter((part) => part != null)
    .join(': ');
}

function lines({ name, state, text }: Finding, { palette, columns }: Session): string[] {
  const paint = state === 'ok' ? palette.good : state === 'warn' ? palette.warn : palette.bad;
  const indent = ' '.repeat(NAME_WIDTH + 8);
  return wrap(plainLine(text), Math.max(20, columns - indent.length)).map((line, place) =>
    place === 0 ? `${paint(state.padEnd(4))}  ${pad(name, NAME_WIDTH)}  ${line}` : indent + line,
  );
}
