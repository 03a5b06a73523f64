import { z } from 'zod';

/** What keeps an agent in on one machine, as server and recorder speak of it. In a cluster the pod does. */

/** `none` = a process with the rights of the user who runs the server. */
export const SANDBOX_KINDS = ['none', 'bubblewrap', 'sandbox-exec'] as const;
export type SandboxKind = (typeof SANDBOX_KINDS)[number];

const MIB = 1024 * 1024;

/** What one attempt may take of the machine, in its sandbox. Sizes in bytes. */
export const sandboxLimits = z.strictObject({
  max_memory_bytes: z
    .int()
    .min(256 * MIB)
    .max(2 ** 50)
    .default(4096 * MIB)
    .meta({
      description:
        'Memory of all its processes together, /tmp and /dev/shm included; without a cgroup: of each process for itself.',
    }),
  max_processes: z.int().min(64).max(1_000_000).default(1024).meta({ description: 'Processes and threads at once.' }),
  max_open_files: z.int().min(256).max(1_000_000).default(8192).meta({ description: 'Open files of one process.' }),
  max_file_bytes: z
    .int()
    .min(MIB)
    .max(2 ** 50)
    .default(2048 * MIB)
    .meta({ description: 'Size of one file.' }),
  max_tmp_bytes: z
    .int()
    .min(MIB)
    .max(2 ** 50)
    .default(512 * MIB)
    .meta({ description: 'Size of /tmp, and of /dev/shm; both are memory.' }),
});
export type SandboxLimits = z.infer<typeof sandboxLimits>;

/** What the recorder is told of its agent's sandbox. */
export const sandboxSpec = z.strictObject({
  kind: z.enum(SANDBOX_KINDS),
  /** The program that makes it, as the server found it on its own PATH; null = it was not found. */
  program: z.string().nullable().default(null),
  /** More absolute paths that it may read, by configuration. */
  read_paths: z.array(z.string()).default([]),
  /** Absolute paths that it must not see even where they lie in a folder that it is shown: the data directory. */
  hidden: z.array(z.string()).default([]),
  limits: sandboxLimits.prefault({}),
});
export type SandboxSpec = z.infer<typeof sandboxSpec>;

/** A sandbox that is none. */
export const NO_SANDBOX: SandboxSpec = sandboxSpec.parse({ kind: 'none' });
