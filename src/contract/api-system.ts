import { z } from 'zod';
import { budgetView } from './budget.ts';
import { dialect } from './dialect.ts';
import { limits } from './run.ts';
import { SANDBOX_KINDS } from './sandbox.ts';

/** The public API's bodies that are of the server itself: keys, info, problems. The rest is in api.ts. */

export const KEY_SCOPES = ['read', 'run', 'admin'] as const;
export const keyView = z
  .object({
    id: z.string(),
    name: z.string(),
    scope: z.enum(KEY_SCOPES),
    created_at: z.string(),
    last_used_at: z.string().nullable(),
  })
  .meta({ id: 'ApiKey' });
export type KeyView = z.infer<typeof keyView>;
export const keyList = z.object({ keys: z.array(keyView) }).meta({ id: 'ApiKeyList' });
export const createKey = z
  .strictObject({ name: z.string().min(1).max(100), scope: z.enum(KEY_SCOPES) })
  .meta({ id: 'CreateApiKey' });
export const createdKey = keyView
  .extend({ key: z.string().meta({ description: 'Shown once; only its hash is stored.' }) })
  .meta({ id: 'CreatedApiKey' });
export type CreatedKey = z.infer<typeof createdKey>;

export const info = z
  .object({
    version: z.string(),
    runtime: z.string(),
    /** What keeps attempts apart here, in words: shown wherever a run is started. */
    isolation: z.string(),
    sandbox: z
      .object({
        kind: z.enum([...SANDBOX_KINDS, 'pod']),
        problem: z.string().nullable(),
        hint: z.string().nullable(),
      })
      .meta({
        description:
          'What keeps an agent in where a run says nothing of it. `problem`: why none does, and such a run is refused.',
      }),
    data_dir: z.string(),
    agents: z.array(z.object({ name: z.string(), description: z.string() })),
    strategies: z.array(z.object({ name: z.string(), instruction: z.string() })),
    providers: z.array(
      z.object({
        name: z.string(),
        kind: z.string(),
        base_url: z.string(),
        key: z.enum(['present', 'missing', 'not_needed']),
        key_from: z.string().nullable(),
      }),
    ),
    default_model: z.string().nullable(),
    limits,
    budget_day: budgetView.nullable(),
    max_parallel: z.int(),
    active_runs: z.int(),
  })
  .meta({ id: 'Info' });
export type Info = z.infer<typeof info>;

/** An agent, and whether it can be run where this server runs attempts. */
export const agentView = z
  .object({
    name: z.string(),
    description: z.string(),
    licence: z.string().nullable(),
    dialects: z.array(dialect).nullable().meta({ description: 'The protocols it speaks with models; null = unknown.' }),
    helper_models: z
      .record(z.string(), z.string())
      .nullable()
      .meta({ description: 'Models that it asks for by itself, and what it gets for them.' }),
    package: z.string().nullable().meta({ description: 'What is installed for it: npm’s `<package>@<version>`.' }),
    state: z.enum(['ready', 'installing', 'missing', 'other_version', 'unsupported', 'failed']),
    from: z.enum(['builtin', 'installed', 'path', 'configuration', 'image']).nullable(),
    version: z.string().nullable(),
    message: z.string().nullable().meta({ description: 'What is missing, or went wrong.' }),
    hint: z.string().nullable(),
  })
  .meta({ id: 'Agent' });
export type AgentView = z.infer<typeof agentView>;
export const agentList = z.object({ agents: z.array(agentView) }).meta({ id: 'AgentList' });
export const installRequest = z
  .strictObject({
    force: z.boolean().default(false).meta({ description: 'Also where it is there already.' }),
  })
  .meta({ id: 'InstallAgent' });

/** One thing that was looked at: whether it is there, in words, and what to do where it is not. */
export const finding = z
  .object({
    check: z
      .string()
      .meta({ description: 'What was looked at, a word or two, e.g. `jobs: create`, `quota`, `image`.' }),
    state: z.enum(['ok', 'warn', 'fail']),
    text: z.string(),
    hint: z.string().optional(),
  })
  .meta({ id: 'Finding' });
export type Finding = z.infer<typeof finding>;
/** What the server finds when it looks whether attempts can run where it runs them. */
export const doctorReport = z.object({ findings: z.array(finding) }).meta({ id: 'DoctorReport' });
export type DoctorReport = z.infer<typeof doctorReport>;

/** RFC 9457. `type` is `about:blank`-free: /problems/<code>. */
export const problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.string(),
    hint: z.string().optional(),
    instance: z.string().optional(),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .loose()
  .meta({ id: 'Problem' });
export type Problem = z.infer<typeof problem>;
