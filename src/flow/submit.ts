import {
  MAX_PROMPT_BYTES,
  MAX_VARIATIONS,
  type Submitted,
  type SubmitRequest,
  type VariationRequest,
} from '../contract/api.ts';
import type { Budget } from '../contract/budget.ts';
import type { Dialect } from '../contract/dialect.ts';
import { newRunId, now } from '../contract/ids.ts';
import { jobName } from '../contract/pod.ts';
import { defaultLimits, limits as limitsSchema, type Limits } from '../contract/run.ts';
import { AppError } from '../errors.ts';
import type { VariationsTable } from '../store/schema.ts';
import { checkAgentThere } from './agents.ts';
import type { Context, RunningContext } from './context.ts';
import { serverEvent } from './moves.ts';
import { isolationOf, withoutSandbox } from './sandbox.ts';
import { passwordIn } from './secrets.ts';
import { strategiesOf } from './strategies.ts';

/** Step 1: a request is checked whole, its commit pinned, and the run stored with its variations queued. */

export type PlannedVariation = Pick<
  VariationsTable,
  'agent' | 'model' | 'strategy' | 'instruction' | 'dialect' | 'budget'
> & {
  limits: Limits;
};

/**
 * Checks everything that can be known to be wrong before anything is stored.
 * Errors: invalid_prompt, invalid_variations, unknown_agent, agent_missing, unknown_model, unknown_strategy, provider_key_missing,
 * sandbox_unavailable, and those of the repository.
 */
export async function submitRun(context: RunningContext, request: SubmitRequest): Promise<Submitted> {
  for (const { value, what } of passwordIn(request.repository, 'password of the repository')) {
    context.secrets.learn(value, what);
  }
  checkPrompt(context, request.prompt);
  const variations = planVariations(context, request);
  checkImage(context, request.image);
  const unsandboxed = await withoutSandbox(context, request.sandbox);
  const budget = budgetOf(context.config.budget.run, request.budget);
  const notes = checkBudgets(context, budget, variations);
  const resolved = await context.mirrors.resolve(request.repository, request.ref);
  const limits = mergeLimits(context, request.limits);
  const runId = newRunId();
  const at = now();
  const { db } = context.store;
  await context.store.write({
    within: (tx, emit) => {
      const { lastInsertRowid: no } = tx.run(
        db.insertInto('runs').values({
          id: runId,
          repository: resolved.repository,
          mirror: resolved.mirror,
          ref: resolved.ref,
          base: resolved.base,
          prompt: request.prompt,
          max_parallel: request.max_parallel ?? MAX_VARIATIONS,
          retries: request.retries,
          limits: JSON.stringify(limits),
          status: 'queued',
          created_at: at,
          deadline_at: new Date(Date.parse(at) + limits.run_timeout_seconds * 1000).toISOString(),
          ended_at: null,
          cancelled_at: null,
          forget_at: null,
          image: request.image ?? null,
          unsandboxed,
          budget,
        }),
      );
      emit(
        serverEvent(no, null, 'run_status', {
          run_id: runId,
          timestamp: at,
          status: 'queued',
          previous: null,
          repository: resolved.repository,
          base: resolved.base,
          uncommitted: resolved.uncommitted,
          variations: variations.length,
        }),
      );
      variations.forEach((planned, index) => {
        const place = { run: no, idx: index, queued_at: at, retries_left: request.retries };
        tx.run(db.insertInto('variations').values(queuedVariation(planned, place)));
      });
    },
  });
  return {
    run_id: runId,
    status: 'queued',
    stream_url: `/api/v1/runs/${runId}/stream`,
    status_url: `/api/v1/runs/${runId}/status`,
    base: resolved.base,
    isolation: isolationOf(context, unsandboxed),
    ...(notes.length === 0 ? {} : { notes }),
    ...(context.config.runtime === 'kubernetes'
      ? { jobs: variations.map((_, index) => jobName(runId, index, 0)) }
      : {}),
  };
}

/** The row of a variation that waits for its first attempt. */
export function queuedVariation(
  { limits, ...planned }: PlannedVariation,
  place: Pick<VariationsTable, 'run' | 'idx' | 'queued_at' | 'retries_left'>,
) {
  return {
    ...planned,
    ...place,
    limits: JSON.stringify(limits),
    status: 'queued' as const,
    end_reason: null,
    message: null,
    started_at: null,
    ended_at: null,
    stop_reason: null,
    result_attempt: null,
  };
}

/**
 * What this server keeps from agents must not be told them by hand; a key that it does not know is the user's own business. Errors:
 * invalid_prompt.
 */
export function checkPrompt({ secrets }: Pick<Context, 'secrets'>, prompt: string): void {
  if (prompt.trim() === '')
    throw new AppError('invalid_prompt', 'The prompt is empty.', { hint: 'Say what is to be done.' });
  if (!prompt.isWellFormed())
    throw new AppError('invalid_prompt', 'The prompt holds half of a surrogate pair, which is no character.', {
      hint: 'Send it as UTF-8.',
    });
  const bytes = Buffer.byteLength(prompt);
  if (bytes > MAX_PROMPT_BYTES) {
    throw new AppError('invalid_prompt', `The prompt has ${bytes} bytes; at most ${MAX_PROMPT_BYTES} are taken.`, {
      hint: 'Put the long part into a file of the repository and name it in the prompt.',
    });
  }
  const [found] = secrets.finder().findKnown(prompt);
  if (found !== undefined) {
    throw new AppError('invalid_prompt', `The prompt holds a secret that agents are not given: ${found.what}.`, {
      hint: 'Take it out. Agents reach models through AIdeator, which adds the keys itself.',
    });
  }
}

/** Checks what each variation is to be. Errors: invalid_variations, unknown_agent, unknown_model, unknown_strategy, provider_key_missing. */
export function planVariations(
  context: Context,
  request: Pick<SubmitRequest, 'variations' | 'agent' | 'models' | 'strategies' | 'limits'>,
): PlannedVariation[] {
  const asked =
    typeof request.variations === 'number' ? countedVariations(request, request.variations) : request.variations;
  if (asked.length < 1 || asked.length > MAX_VARIATIONS) throw tooManyOrFew(asked.length);
  const strategies = strategiesOf(context.config);
  return asked.map((each) => {
    const agent = each.agent ?? request.agent ?? context.config.default_agent;
    const entry = context.agents.get(agent);
    if (entry === undefined) {
      throw new AppError('unknown_agent', `There is no agent ${JSON.stringify(agent)}.`, {
        hint: `Known: ${[...context.agents.keys()].join(', ')}. Add one under \`agents:\` in the configuration.`,
      });
    }
    checkAgentThere(context.config, entry);
    const strategy = each.strategy ?? null;
    const instruction = strategy === null ? null : strategies.get(strategy);
    if (instruction === undefined) {
      throw new AppError('unknown_strategy', `There is no strategy ${JSON.stringify(strategy)}.`, {
        hint: `Known: ${[...strategies.keys()].join(', ')}. Add one under \`strategies:\` in the configuration.`,
      });
    }
    const model = modelNamed(context, each.model ?? defaultModel(context));
    for (const helper of Object.values(context.agents.get(agent)?.models ?? {})) {
      if (helper !== 'same') context.gateway.check(helper);
    }
    return {
      agent,
      model,
      strategy,
      instruction,
      dialect: dialectOf(context, model, agent, each),
      limits: mergeLimits(context, request.limits, each.limits),
      budget: budgetOf(context.config.budget.variation, each.budget),
    };
  });
}

/** A name of the configuration's own, or `<provider>/<model>` as it is. */
function modelNamed(context: Context, model: string): string {
  return Object.hasOwn(context.config.models, model) ? (context.config.models[model] ?? model) : model;
}

/** A budget as it is stored: what is asked for over what is configured; null where neither limits anything. */
function budgetOf(configured: Budget | undefined, asked: Budget | undefined): string | null {
  const merged = {
    ...configured,
    ...Object.fromEntries(Object.entries(asked ?? {}).filter(([, value]) => value !== undefined)),
  };
  return Object.keys(merged).length === 0 ? null : JSON.stringify(merged);
}

/**
 * Whether the budgets can be kept. Errors: budget_exhausted where the day's is used up; price_unknown where money is limited and
 * nobody knows what a model costs.
 *
 * @returns what is worth knowing: which models are counted in tokens only
 */
export function checkBudgets(context: Context, run: string | null, variations: readonly PlannedVariation[]): string[] {
  const full = context.budgets.closedFor();
  if (full !== null) {
    throw new AppError('budget_exhausted', `Nothing new is started: ${full}`, {
      hint: 'Try again tomorrow (UTC), or raise `budget.day` in the configuration.',
    });
  }
  const limitsMoney = (text: string | null): boolean => text?.includes('max_cost_microdollars') ?? false;
  const always = limitsMoney(run) || context.config.budget.day?.max_cost_microdollars !== undefined;
  const unpriced = new Set<string>();
  for (const { agent, model, budget } of variations) {
    for (const each of [model, ...Object.values(context.agents.get(agent)?.models ?? {})]) {
      if (each === 'same' || context.gateway.hasPrice(each)) continue;
      if (always || limitsMoney(budget)) {
        throw new AppError(
          'price_unknown',
          `It is not known what ${each} costs, so a budget in money cannot be kept.`,
          {
            hint: 'Limit tokens instead (max_tokens), or give its price in a table of your own (`prices:`).',
          },
        );
      }
      unpriced.add(each);
    }
  }
  const isLimited = run !== null || variations.some(({ budget }) => budget !== null);
  return isLimited && unpriced.size > 0
    ? [`It is not known what ${[...unpriced].join(', ')} costs: only tokens are limited.`]
    : [];
}

/** An image is somebody's code with a way to our models: only those that the operator named are run. */
function checkImage(context: Context, image: string | undefined): void {
  if (image === undefined) return;
  const { runtime, kubernetes } = context.config;
  if (runtime !== 'kubernetes') {
    throw new AppError('unknown_image', 'Attempts are processes of this machine here, and run in no image.', {
      hint: 'Leave `image` out.',
    });
  }
  const allowed = [kubernetes.image, ...kubernetes.images];
  const fits = (each: string) => (each.endsWith('*') ? image.startsWith(each.slice(0, -1)) : image === each);
  if (!allowed.some(fits)) {
    throw new AppError('unknown_image', `Agents may not be run in the image ${JSON.stringify(image)}.`, {
      hint: `Allowed: ${allowed.join(', ')}. More can be named under \`kubernetes.images:\` in the configuration.`,
    });
  }
}

function countedVariations(request: Pick<SubmitRequest, 'models' | 'strategies'>, count: number): VariationRequest[] {
  if (count < 1 || count > MAX_VARIATIONS) throw tooManyOrFew(count);
  const turn = <Value>(values: readonly Value[] | undefined, index: number) => values?.[index % values.length];
  return Array.from({ length: count }, (_, index) => {
    const model = turn(request.models, index);
    const strategy = turn(request.strategies, index);
    return { ...(model === undefined ? {} : { model }), ...(strategy === undefined ? {} : { strategy }) };
  });
}

function tooManyOrFew(count: number): AppError {
  return new AppError('invalid_variations', `${count} variations were asked for; 1 to ${MAX_VARIATIONS} can be run.`, {
    hint: 'Three is a good start; submit a second run for more.',
  });
}

/** In which protocol a variation's agent and model are to speak: the first that both do. */
function dialectOf(context: Context, model: string, agent: string, asked: VariationRequest): Dialect {
  const spoken = context.gateway.check(model);
  if (asked.dialect !== undefined && !spoken.includes(asked.dialect)) {
    throw new AppError('invalid_variations', `${model} is asked in ${spoken.join(' or ')}, not in ${asked.dialect}.`, {
      hint: 'Leave `dialect` out.',
    });
  }
  // Of an agent of the configuration nobody knows what it speaks: it is told what to by its entry.
  const understood = context.agents.get(agent)?.dialects ?? spoken;
  const common = spoken.find((each) => understood.includes(each) && (asked.dialect ?? each) === each);
  if (common === undefined) {
    throw new AppError(
      'invalid_variations',
      `The agent ${agent} speaks ${understood.join(' and ')}; ${model} is asked in ${asked.dialect ?? spoken.join(' or ')}.`,
      { hint: 'Choose a model of another provider, or another agent.' },
    );
  }
  return common;
}

/** The model of a variation that names none: the configured one, else one of a provider whose key is there. */
export function defaultModel(context: Pick<Context, 'config'>): string {
  const { default_model: configured, keys } = context.config;
  if (configured !== null) return configured;
  if (keys['anthropic']?.key != null) return 'anthropic/claude-sonnet-4-5';
  if (keys['openai']?.key != null) return 'openai/gpt-5';
  throw new AppError('provider_key_missing', 'No model was named and no provider has a key.', {
    hint: 'Set ANTHROPIC_API_KEY or OPENAI_API_KEY where the server is started (export ANTHROPIC_API_KEY=…), or name a model of your own under `default_model:`. To see the whole loop without a key: `aideator demo`.',
  });
}

function mergeLimits(
  context: Context,
  ...layers: (Partial<Record<keyof Limits, number | undefined>> | undefined)[]
): Limits {
  const merged: Record<string, number> = { ...defaultLimits };
  for (const layer of [context.config.limits, ...layers]) {
    for (const [name, value] of Object.entries(layer ?? {})) if (value !== undefined) merged[name] = value;
  }
  return limitsSchema.parse(merged);
}
