import { z } from 'zod';
import { dialect } from './dialect.ts';
import { endReason, limits } from './run.ts';
import { NO_SANDBOX, sandboxSpec } from './sandbox.ts';
import { noPrints, secretPrints } from './secrets.ts';

/** Work that an attempt starts with: a patch of the base, made by another attempt. */
const earlierWork = z.strictObject({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  bytes: z.int().min(1),
  /** The tree that it makes of the base, to the byte. */
  tree: z.string().regex(/^[0-9a-f]{40,64}$/),
  /** Where it lies; null = it is fetched from the attempt door. */
  file: z.string().nullable(),
});
export type EarlierWork = z.infer<typeof earlierWork>;

/** What the recorder is told of the attempt it is to run. Plain data: a file locally, a Secret in a cluster. */
export const attemptSpec = z.strictObject({
  v: z.literal(1),
  run_id: z.string(),
  variation_id: z.int().min(0),
  /** 0 for the first, k for the k-th retry. */
  attempt: z.int().min(0),
  attempt_id: z.string(),
  /** The user's words with the strategy's instruction beneath, byte-exact as given. */
  prompt: z.string(),
  agent: z.strictObject({
    name: z.string(),
    /** The ACP command: program and arguments, no shell. `{node}` and `{builtin}` stand for the Node binary and the built-in agent's file. */
    command: z.array(z.string()).min(1),
    /** Added to the child's environment; `{base_url}`, `{model}`, `{home}` are replaced. */
    env: z.record(z.string(), z.string()),
    /** The ACP session mode to set, where the agent needs one. */
    mode: z.string().nullable(),
    /** The image it runs in, in a cluster; null = the configured one. */
    image: z.string().nullable().default(null),
    /** Files of settings it finds in its HOME: path within it -> text, with the same names replaced as in `env`. */
    files: z.record(z.string(), z.string()).default({}),
    /** Absolute paths where the agent itself lies, beside the system's own folders: a sandbox shows it these, read-only. */
    read_paths: z.array(z.string()).default([]),
  }),
  /** What keeps the agent in, on this machine. In a cluster the pod does, and this is `none`. */
  sandbox: sandboxSpec.default(NO_SANDBOX),
  /** Whether the door also connects to some hosts beside the models' (`sandbox.allow_hosts`): the agent is then told of the proxy. */
  egress: z.boolean().default(false),
  /** `<provider>/<model>`. */
  model: z.string(),
  /** Which protocol the agent is to speak with the gateway. */
  dialect,
  /** The attempt door: a Unix socket's path or an http(s) URL. Only the recorder is told of it, and only it has the token. */
  door: z.strictObject({ socket: z.string().optional(), url: z.string().optional(), token: z.string() }),
  repository: z.strictObject({
    /** What to clone from: the mirror's path locally, the attempt door's git route in a cluster. */
    source: z.string(),
    base: z.string().regex(/^[0-9a-f]{40,64}$/),
  }),
  /** What its work tree starts with, uncommitted; null = the base as it is. */
  work: earlierWork.nullable().default(null),
  /** By what the recorder knows the server's secrets, should the agent say one: it does not have them. */
  secrets: secretPrints.default(noPrints),
  limits,
});
export type AttemptSpec = z.infer<typeof attemptSpec>;

/** A path as text: UTF-8 as it is, else git's C quoting in double quotes; `path_base64` then has the bytes. */
export const fileChange = z.object({
  path: z.string(),
  path_base64: z.string().optional(),
  /** Where it was, for a rename or copy. */
  old_path: z.string().optional(),
  status: z.enum(['added', 'modified', 'deleted', 'renamed', 'copied', 'type_changed']),
  /** null for a binary file. */
  additions: z.int().nullable(),
  deletions: z.int().nullable(),
  binary: z.boolean(),
  /** Git modes, e.g. 100644 -> 100755. */
  old_mode: z.string(),
  new_mode: z.string(),
  /** Whether its path looks like a test's. */
  test: z.boolean(),
});
export type FileChange = z.infer<typeof fileChange>;

/** A line of a patch that looks like a key: where it is in the new file, and what it looks like. Never the line. */
export const keyLine = z.object({ path: z.string(), line: z.int(), what: z.string() });

/** What an attempt left: its whole work tree against the base. */
export const attemptResult = z.object({
  base: z.string(),
  /** The tree object's id of the work tree. */
  tree: z.string(),
  patch_sha256: z.string(),
  patch_bytes: z.int(),
  files: z.array(fileChange),
  /** Totals over text files. */
  additions: z.int(),
  deletions: z.int(),
  /** Things in the work tree that a patch cannot carry, by name: nested repositories, submodules, sockets … Never silently lost. */
  not_carried: z.array(z.object({ path: z.string(), what: z.string() })),
  /** Lines that it adds and that look like a key, as the server found them when it took the result in. */
  key_lines: z.array(keyLine).optional(),
});
export type AttemptResult = z.infer<typeof attemptResult>;

/** The recorder's last word on an attempt. */
export const eof = z.object({
  /** The seq of the eof line itself. */
  lastSeq: z.int().min(1),
  /** SHA-256 (hex) over all numbered lines before this one, line breaks included, in order. */
  sha256: z.string(),
  reason: endReason,
  /** In words, for people; null where the reason says it all. */
  message: z.string().nullable(),
  /** The agent process's exit, where it ended by itself. */
  exit: z.object({ code: z.int().nullable(), signal: z.string().nullable() }).nullable(),
  /** Milliseconds from the recorder's start: workspace ready, first message from the agent, end. null = never came. */
  timings: z.object({
    workspace_ms: z.number().nullable(),
    first_message_ms: z.number().nullable(),
    total_ms: z.number(),
  }),
});
export type Eof = z.infer<typeof eof>;
