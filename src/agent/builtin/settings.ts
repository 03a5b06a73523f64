import { z } from 'zod';

/** What the built-in agent is told by its environment. The key is a dummy: the gateway behind the base URL has the real one. */
export interface Settings {
  /** Of the model gateway, without /v1. */
  baseUrl: string;
  /** The provider's own name for the model. */
  model: string;
  dialect: 'anthropic' | 'openai';
  /** Model calls in one turn. */
  maxSteps: number;
  /** From about so many tokens on the conversation is made shorter. */
  contextTokens: number;
  thinking: boolean;
  /** The first wait before a failed model call is repeated (ms). */
  retryMs: number;
  /** How long a model's answer may say nothing at all (ms). */
  stallMs: number;
}

const environment = z.object({
  AIDEATOR_BASE_URL: z.url({ protocol: /^https?$/ }),
  AIDEATOR_MODEL: z.string().min(1),
  AIDEATOR_DIALECT: z.enum(['anthropic', 'openai']),
  AIDEATOR_MAX_STEPS: z.coerce.number().int().min(1).default(100),
  AIDEATOR_CONTEXT_TOKENS: z.coerce.number().int().min(1000).default(150_000),
  AIDEATOR_THINKING: z.enum(['on', 'off']).default('on'),
});

/** Errors: a list of the names that are missing or wrong. */
export function readSettings(env: Record<string, string | undefined>): Settings {
  const parsed = environment.safeParse(env);
  if (!parsed.success) {
    throw new Error(
      `The built-in agent's environment is not valid: ${parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')}`,
    );
  }
  const values = parsed.data;
  return {
    baseUrl: values.AIDEATOR_BASE_URL.replace(/\/+$/, ''),
    model: values.AIDEATOR_MODEL,
    dialect: values.AIDEATOR_DIALECT,
    maxSteps: values.AIDEATOR_MAX_STEPS,
    contextTokens: values.AIDEATOR_CONTEXT_TOKENS,
    thinking: values.AIDEATOR_THINKING === 'on',
    retryMs: 1000,
    stallMs: 300_000,
  };
}
