import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Shipped } from '../contract/api.ts';
import { isTerminal, defaultLimits, type RunStatus } from '../contract/run.ts';
import { AppError } from '../errors.ts';
import { diffTrees, treeOf } from '../git/diff.ts';
import type { AgentInstalls } from './agent-installs.ts';
import { accountView } from './budget/view.ts';
import { chooseVariation } from './choose.ts';
import { compareRun } from './compare.ts';
import type { RunningContext } from './context.ts';
import type { Flow } from './flow.ts';
import { cancelRun, forgetRun } from './forget.ts';
import { listRuns } from './list.ts';
import { moveVariation } from './moves.ts';
import { findRun, runNotFound, findVariation, findVariations, readResults, readRun } from './rows.ts';
import type { Conductor } from './run.ts';
import { shippable, shipVariation } from './ship.ts';
import { sandboxInfo } from './sandbox.ts';
import { followUp } from './steering/follow-up.ts';
import { forkVariation } from './steering/fork.ts';
import { strategiesOf } from './strategies.ts';
import { defaultModel, submitRun } from './submit.ts';
import { runView, statusView, variationView } from './views.ts';

/** The house's spine as a value: each step's function behind the seam that the public door knows. */
export function createFlow(context: RunningContext, conductor: Conductor, installs: AgentInstalls): Flow {
  const { store, config } = context;
  const { db } = store;

  const shipping = new Map<string, Promise<Shipped>>();

  /** A run as people see it: a key that somebody put into the prompt is for its agents only. */
  const view = async (runId: string) => {
    const run = await findRun(store, runId);
    return runView(await readRun(store, { ...run, prompt: context.secrets.text(run.prompt) }));
  };

  const countByStatus = async (table: 'runs' | 'variations') => {
    const rows = await db
      .selectFrom(table)
      .select((e) => ['status', e.fn.countAll<number>().as('count')])
      .groupBy('status')
      .execute();
    return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
  };

  return {
    submit: async (request) => {
      const submitted = await submitRun(context, request);
      conductor.kick();
      return submitted;
    },
    list: (query) => listRuns(context, query),
    run: view,
    status: async (runId) => {
      const run = await findRun(store, runId);
      return statusView(run, await findVariations(store, run.no));
    },
    variation: async (runId, index) => {
      const run = await findRun(store, runId);
      return variationView(await readRun(store, run), await findVariation(store, run, index));
    },
    outputs: async (runId, query) => {
      const run = await findRun(store, runId);
      if (query.variation !== undefined) await findVariation(store, run, query.variation);
      const rows = store.readRows(run.no, {
        after: query.after,
        limit: query.limit,
        ...(query.variation === undefined ? {} : { variation: query.variation }),
      });
      const last = rows.at(-1)?.id;
      return {
        events: rows.map((row) => ({
          id: row.id,
          type: row.type,
          data: JSON.parse(row.data) as Record<string, unknown>,
        })),
        // A page may be short because its events are large: it is the last where nothing stands behind it.
        next_after: last === undefined || last >= (store.range(run.no)?.last ?? 0) ? null : last,
      };
    },
    compare: async (runId) => {
      const run = await findRun(store, runId);
      return compareRun(await readRun(store, run), await readResults(store, run.no));
    },
    patch: async (runId, index) => readFile((await shippable(context, await findRun(store, runId), index)).patchFile),
    diff: async (runId, a, b) => {
      const run = await findRun(store, runId);
      const source = context.mirrors.path(run.mirror);
      const folder = await mkdtemp(join(tmpdir(), 'aideator-diff-'));
      try {
        const gitDir = join(folder, 'trees.git');
        const trees: string[] = [];
        for (const index of [a, b]) {
          const { patchFile } = await shippable(context, run, index);
          trees.push(await treeOf(context.git, { source, base: run.base, patchFile, gitDir }));
        }
        return await diffTrees(context.git, { gitDir, a: trees[0] ?? '', b: trees[1] ?? '' });
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
    select: async (runId, request) => {
      await chooseVariation(context, conductor, runId, request);
      return view(runId);
    },
    ship: (runId, request) => {
      // One after the other: the second of two that are the same finds the first's commit, and is no conflict.
      const shipped = (shipping.get(runId) ?? Promise.resolve())
        .catch(() => undefined)
        .then(() => shipVariation(context, runId, request));
      shipping.set(runId, shipped);
      return shipped.finally(() => {
        if (shipping.get(runId) === shipped) shipping.delete(runId);
      });
    },
    cancel: async (runId, index) => {
      const run = await findRun(store, runId);
      if (index === undefined) {
        await cancelRun(context, conductor, run);
      } else {
        await findVariation(store, run, index);
        await conductor.stop(run.no, 'cancelled', { which: (variation) => variation === index });
      }
      return view(runId);
    },
    retry: async (runId, index) => {
      const run = await findRun(store, runId);
      const variation = await findVariation(store, run, index);
      const full = context.budgets.closedFor(run.no, index);
      if (full !== null) {
        throw new AppError('budget_exhausted', `Nothing new is started: ${full}`, {
          hint: 'Submit a new run, with a larger budget.',
        });
      }
      await store.write({
        within: (tx, emit) => {
          const [still] = tx.all(db.selectFrom('runs').select('forget_at').where('no', '=', run.no));
          if (still === undefined || still.forget_at !== null) throw runNotFound(runId);
          // A new life: the run's own clock is over, the attempt's own limit bounds it.
          tx.run(db.updateTable('runs').set({ cancelled_at: null, deadline_at: null }).where('no', '=', run.no));
          tx.run(
            db
              .updateTable('variations')
              .set({ retries_left: run.retries })
              .where('run', '=', run.no)
              .where('idx', '=', index),
          );
          moveVariation(db, tx, emit, run.no, index, (moves) => {
            const [now] = tx.all(
              db.selectFrom('variations').select('status').where('run', '=', run.no).where('idx', '=', index),
            );
            if (now?.status !== 'succeeded' && moves.variation('queued')) return;
            throw new AppError('not_retryable', `Variation ${index} is ${now?.status ?? variation.status}.`, {
              hint:
                now?.status === 'succeeded'
                  ? `Only one that failed or was cancelled can be tried again; tell this one what to do next: aideator tell ${runId} ${index} "…"`
                  : 'Wait for its end, or cancel it first.',
            });
          });
        },
      });
      conductor.kick();
      return view(runId);
    },
    prompt: async (runId, index, request) => {
      const { run, ...prompted } = await followUp(context, runId, index, request);
      conductor.kick();
      // Answered when its recorder has it: it is the next turn then, unless the agent ends otherwise.
      await conductor.prompted(run, index);
      return prompted;
    },
    fork: async (runId, request) => {
      const forked = await forkVariation(context, runId, request);
      conductor.kick();
      return forked;
    },
    forget: (runId) => forgetRun(context, conductor, runId),
    agents: installs,
    doctor: async (options) => ({ findings: await context.runtime.preflight(options) }),
    info: async () => ({
      version: context.version,
      runtime: context.runtime.name,
      ...(await sandboxInfo(context)),
      data_dir: config.data_dir,
      agents: [...context.agents.values()].map(({ name, description }) => ({ name, description })),
      strategies: [...strategiesOf(config)].map(([name, instruction]) => ({ name, instruction })),
      providers: Object.entries(context.providers).map(([name, provider]) => ({
        name,
        kind: provider.kind,
        base_url: withoutPassword(provider.baseUrl),
        key:
          provider.key !== null
            ? ('present' as const)
            : provider.keyNeeded
              ? ('missing' as const)
              : ('not_needed' as const),
        key_from: provider.keyFrom,
      })),
      default_model: defaultModelOrNull(context),
      limits: { ...defaultLimits, ...(config.limits as Partial<typeof defaultLimits>) },
      budget_day: dayView(context),
      max_parallel: config.max_parallel,
      active_runs: (await db.selectFrom('runs').select('no').where('status', 'in', ['queued', 'running']).execute())
        .length,
    }),
    states: async () => ({
      runs: await countByStatus('runs'),
      variations: await countByStatus('variations'),
    }),
    streamSource: async (runId, variation) => {
      const run = await findRun(store, runId);
      if (variation !== undefined) await findVariation(store, run, variation);
      const query = db.selectFrom('runs').select('status').where('no', '=', run.no);
      return {
        run: run.no,
        isOver: () => {
          const [row] = store.query(query);
          return row === undefined || isTerminal(row.status as RunStatus);
        },
      };
    },
  };
}

function dayView({ budgets }: RunningContext) {
  const account = budgets.today();
  return account === null ? null : accountView(account);
}

function withoutPassword(url: string): string {
  return url.replace(/^([a-z]+:\/\/)[^/@]*@/i, '$1');
}

function defaultModelOrNull(context: RunningContext): string | null {
  try {
    return defaultModel(context);
  } catch {
    return null;
  }
}
