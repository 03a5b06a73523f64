import type { Dialect } from '../contract/dialect.ts';

/** An agent that attempts can be run with. Configuration can add entries of the same shape. */
export interface AgentEntry {
  name: string;
  description: string;
  /** Its ACP command: program and arguments, no shell. `{node}` is the Node binary, `{builtin}` the built-in agent's file. */
  command: readonly string[];
  /**
   * Added to its environment, beside PATH, the locale, HOME, TMPDIR and XDG_*. Replaced in values: `{base_url}` (of the model
   * gateway, without /v1), `{model}` (the provider's own name for it), `{dialect}`, `{max_steps}`, `{home}`.
   */
  env: Readonly<Record<string, string>>;
  /** ACP session mode to set, where it needs one to work unattended. */
  mode: string | null;
  /**
   * Models that it asks for by itself, for a title or a summary, by the name it says (a `*` at the end stands for any rest), and what
   * it gets: `<provider>/<model>`, or `same` = the model of its variation. Any other model is refused.
   */
  models?: Readonly<Record<string, string>> | undefined;
  /** The protocols it can speak with models; left out = whatever its entry tells it to. */
  dialects?: readonly Dialect[];
}

/** The agents that need no configuration. */
export const knownAgents: readonly AgentEntry[] = [
  {
    name: 'builtin',
    description: 'AIdeator’s own agent: bash, read, write, edit and search, with any model of either protocol.',
    command: ['{node}', '{builtin}'],
    env: {
      AIDEATOR_BASE_URL: '{base_url}',
      AIDEATOR_MODEL: '{model}',
      AIDEATOR_DIALECT: '{dialect}',
      AIDEATOR_MAX_STEPS: '{max_steps}',
    },
    mode: null,
    dialects: ['anthropic', 'openai'],
  },
];
