import { z } from 'zod';
import { dialect } from './dialect.ts';

/** An agent as the catalogue and the configuration describe it: data, no code. */

/** A file in an agent's HOME, by its path within it: no way leads out of there. */
export const homePath = z
  .string()
  .max(200)
  .refine(
    (path) => !/[\\\0]/.test(path) && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..'),
    'must be a path within HOME: no leading slash, no `.` and no `..` in it',
  );

const argv = z.array(z.string()).min(1);
const variables = z.record(z.string(), z.string());

/** A package of npm's registry that holds an agent, by its exact version: nothing else is installed for it. */
export const npmPackage = z.strictObject({
  package: z.string().regex(/^(@[a-z0-9][a-z0-9._-]*\/)?[a-z0-9][a-z0-9._-]*$/, 'must be the name of a package'),
  version: z.string().regex(/^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/, 'must be one exact version'),
  command: argv.meta({ description: 'Its ACP command where it was installed so; {install} is its folder.' }),
  env: variables
    .default({})
    .meta({ description: 'Added to `env` where it was installed so; {install} is its folder.' }),
  probe: argv.optional().meta({
    description: 'Has to end with 0 after an installation: whether the binary it brought runs on this machine.',
  }),
});

export const agentEntry = z.strictObject({
  description: z.string().default(''),
  command: argv.meta({
    description:
      'The ACP command: program and arguments; no shell. {node}, {builtin}, {model}, {dialect} and {base_url} are replaced.',
  }),
  env: variables.default({}).meta({
    description: 'Added to its environment; {base_url}, {model}, {dialect}, {max_steps} and {home} are replaced.',
  }),
  files: z
    .record(homePath, z.string())
    .refine(
      (files) =>
        Object.keys(files).every(
          (path, _, all) => !all.some((other) => other !== path && other.startsWith(`${path}/`)),
        ),
      'names a file that is also a folder',
    )
    .default({})
    .meta({
      description:
        'Settings files that it finds in its HOME: path within it -> text. The same names are replaced, as within double quotes.',
    }),
  mode: z.string().nullable().default(null).meta({ description: 'ACP session mode to set.' }),
  models: z.record(z.string().min(1), z.string().min(1)).optional().meta({
    description:
      'Models it asks for by itself (a `*` at the end stands for any rest), and what it gets: <provider>/<model>, or `same` as its variation’s.',
  }),
  dialects: z
    .array(dialect)
    .min(1)
    .optional()
    .meta({ description: 'The protocols it can speak with models; left out = whichever its model is asked in.' }),
  npm: npmPackage.optional().meta({
    description:
      '`aideator agents install` installs it from npm; where it is not installed so, `command` is looked for.',
  }),
  read_paths: z
    .array(z.string().regex(/^\//, 'must be an absolute path'))
    .default([])
    .meta({ description: 'Where it lies beside the system’s own folders: a sandbox shows it these, read-only.' }),
  version: argv.optional().meta({ description: 'A command that prints its version.' }),
  platforms: z
    .array(z.string().regex(/^[a-z0-9]+-[a-z0-9]+$/, 'must be <system>-<processor>, e.g. linux-x64'))
    .min(1)
    .optional()
    .meta({ description: 'Where it runs, in Node’s words (linux-x64, darwin-arm64 …); left out = anywhere.' }),
  licence: z.string().optional().meta({ description: 'What is to be known before it is installed.' }),
});
export type AgentSettings = z.infer<typeof agentEntry>;
/** The same as it is written down, with what may be left out left out. */
export type AgentInput = z.input<typeof agentEntry>;
