import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { JournalOptions } from '../journal.ts';
import type { Place } from '../place.ts';
import type { PromptSource } from '../prompts.ts';
import type { Delivery } from './delivery.ts';
import type { DoorClient } from './door-client.ts';
import { fetchWork } from './fetch-work.ts';
import type { LauncherLink } from './launcher-link.ts';
import type { PodPaths } from './pod-paths.ts';
import type { Printer } from './printer.ts';
import { uploadResult } from './result-upload.ts';

export interface PodPlaceOptions {
  paths: PodPaths;
  link: LauncherLink;
  door: DoorClient;
  /** Brings the base here, see `fetchBase`. */
  fetch(signal: AbortSignal): Promise<void>;
  delivery: Delivery;
  prompts: PromptSource;
  printer: Printer;
  /** What was found of the journal. */
  resume: JournalOptions['resume'];
  /** Aborted when a patch is not to be waited for any longer; its time begins when this is first asked for. */
  patience(): AbortSignal;
  log(words: string): void;
}

/** The recorder in a pod: the agent is in the container beside it, what it needs comes from the attempt door, and what it leaves goes there. */
export function podPlace(options: PodPlaceOptions): Place {
  const { paths, link, door, delivery, printer, log } = options;
  return {
    paths,
    // The agent's container has an environment of its own; the launcher starts from that.
    agentEnv: {},
    linked: false,
    journal: {
      resume: options.resume,
      onAppend: delivery.onAppend,
      onWritten: (batch, seq, bytes) => {
        printer.print(batch);
        delivery.onWritten(seq, bytes);
      },
    },
    prepare: async () => {
      for (const folder of [paths.home, paths.tmp, paths.ownTmp]) await mkdir(folder, { recursive: true, mode: 0o700 });
    },
    source: async (signal) => {
      await options.fetch(signal);
      return paths.repository;
    },
    earlierWork: (work, signal) => fetchWork({ door, work, file: join(paths.ownTmp, 'earlier.patch'), log, signal }),
    prompts: options.prompts,
    ready: () => link.ready,
    start: link.start,
    killRest: link.kill,
    deliver: ({ patch_sha256, patch_bytes }) =>
      uploadResult({
        door,
        file: paths.patch,
        sha256: patch_sha256,
        bytes: patch_bytes,
        log,
        signal: options.patience(),
      }),
  };
}
