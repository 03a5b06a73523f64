import type { ForkRequest } from '../../contract/api-steering.ts';
import { findRunId, type Session, wholeNumber } from '../session.ts';
import { budgetOf, promptOf, type RunOptions } from './run.ts';

type SteerOptions = Pick<RunOptions, 'promptFile' | 'agent' | 'timeout' | 'budget' | 'budgetTokens'> & {
  /** Of the variation that is forked. */
  attempt?: number;
  /** One each: it is one variation. */
  model?: string;
  strategy?: string;
};

/** `aideator tell`: what a variation is to do next. */
export async function tell(
  session: Session,
  [given = '', variation = '', text]: string[],
  { promptFile }: SteerOptions,
): Promise<number> {
  const index = wholeNumber('The variation')(variation);
  const prompt = await promptOf(session, { prompt: text, promptFile }, `aideator tell ${given} ${index} "…"`);
  const client = await session.connectUpToDate();
  const runId = await findRunId(client, given);
  const told = await client.tell(runId, index, { prompt });
  if (session.json) {
    session.printJson(told);
    return 0;
  }
  const { becomes, waiting, notes = [] } = told;
  session.say(
    becomes === 'new_attempt'
      ? `Variation ${index} of run ${runId} goes on from where it ended, as a new attempt.`
      : `Variation ${index} of run ${runId} does that when its turn has ended${waiting > 1 ? `, after ${waiting - 1} more` : ''}; its attempt’s time goes on.`,
    ...notes,
    `Watch it: aideator watch ${runId} -v ${index}`,
  );
  return 0;
}

/** `aideator fork`: a new variation from another's work and conversation. */
export async function fork(
  session: Session,
  [given = '', variation = '', text]: string[],
  options: SteerOptions,
): Promise<number> {
  const from = wholeNumber('The variation')(variation);
  const prompt = await promptOf(session, { ...options, prompt: text }, `aideator fork ${given} ${from} "…"`);
  const { agent, model, strategy, timeout, attempt } = options;
  const body: ForkRequest = {
    from,
    prompt,
    ...(attempt === undefined ? {} : { attempt }),
    ...(agent === undefined ? {} : { agent }),
    ...(model === undefined ? {} : { model }),
    ...(strategy === undefined ? {} : { strategy }),
    ...(timeout === undefined ? {} : { limits: { timeout_seconds: timeout } }),
    ...budgetOf(options),
  };
  const client = await session.connectUpToDate();
  const runId = await findRunId(client, given);
  const forked = await client.fork(runId, body);
  if (session.json) {
    session.printJson(forked);
    return 0;
  }
  const { variation_id: made, forked_from: source, notes = [] } = forked;
  session.say(
    `Variation ${made} of run ${runId} starts from what attempt ${source.attempt} of variation ${source.variation_id} left.`,
    ...notes,
    `Watch it: aideator watch ${runId} -v ${made}`,
  );
  return 0;
}
