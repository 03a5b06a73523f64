import { z } from 'zod';
import { allowedHost } from './contract/allowed-host.ts';
import { PROVIDER_KINDS } from './contract/dialect.ts';
import { sandboxLimits } from './contract/sandbox.ts';

export { agentEntry } from './contract/agent-entry.ts';

/** The entries of the configuration that people name themselves, and what keeps agents in. */

/** A provider of models. */
export const provider = z.strictObject({
  kind: z.enum(PROVIDER_KINDS).meta({ description: 'The protocol it speaks; openai = any compatible server.' }),
  base_url: z
    .url({ protocol: /^https?$/ })
    .optional()
    .meta({ description: 'Without a trailing slash; for openai with its /v1, for the others without.' }),
  key_env: z.string().min(1).optional().meta({ description: 'Name of the environment variable that holds the key.' }),
  key_file: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'File that holds the key; read again whenever it changes.' }),
  key_needed: z.boolean().optional(),
  headers: z
    .record(z.string().regex(/^(?!content-|host$|connection$|transfer-)[a-z0-9-]+$/), z.string())
    .optional()
    .meta({ description: 'More headers for its requests; names in lower case.' }),
  script: z.string().optional().meta({ description: 'kind scripted: the script file.' }),
});

/** What keeps agents in, and what is open to them all the same. A list here opens something, and what is shown of isolation names it. */
export const sandbox = z.strictObject({
  mode: z.enum(['auto', 'required', 'off']).default('auto').meta({
    description:
      'On one machine: auto = agents run in a sandbox unless a request says that it can do without; required = always; off = never.',
  }),
  read_paths: z
    .array(z.string().regex(/^(\/|~\/.)/, 'must be absolute, or begin with ~/'))
    .default([])
    .meta({ description: 'What agents may read beside the system’s folders, e.g. `~/.cargo/bin`.' }),
  allow_hosts: z.array(allowedHost).default([]).meta({
    description: 'What agents may connect to beside their models: `host`, `host:port`, `*.domain` (443 unless named).',
  }),
  limits: sandboxLimits.prefault({}),
});

/** How what is configured may be called. */
export const name = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'lower-case letters, digits, dots, dashes; at most 63');
