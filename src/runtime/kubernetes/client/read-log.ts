import { AppError } from '../../../errors.ts';
import { answeredWith } from './api-error.ts';
import type { KubernetesApi } from './api.ts';
import { createBackoff, pause } from './backoff.ts';
import { createLogLines, type LogSinks } from './log-lines.ts';
import { limitProblems } from './problem-limit.ts';

export interface ReadLogOptions extends LogSinks {
  api: { pods: Pick<KubernetesApi['pods'], 'log'> };
  pod: string;
  container: string;
  /** Where to begin; left out = as far back as the log goes. */
  since?: Date;
  signal?: AbortSignal;
  /** How often it is begun anew where a connection breaks; what was read by then comes again. */
  tries?: number;
  backoffMs?: readonly number[];
  idleMs?: number;
}

/**
 * Reads a container's log once, as far as it goes now. `gone`: there is no such pod, or its
 * container was removed with its log; `not_started`: there is no log yet.
 *
 * Errors: cluster_unreachable, where every try broke off; ApiError; the signal's reason.
 */
export async function readLog(options: ReadLogOptions): Promise<'whole' | 'gone' | 'not_started'> {
  const { api, pod, container, since, signal, tries = 4, idleMs = 45_000 } = options;
  const backoff = createBackoff(options.backoffMs ?? [0, 500, 2000]);
  const lines = createLogLines({ onLine: options.onLine, onProblem: limitProblems(options.onProblem) });
  let failure = new AppError('cluster_unreachable', `The log of ${pod} was not tried to be read`);
  for (let left = tries; left > 0; left -= 1) {
    lines.begin();
    try {
      const end = await api.pods.log(
        { pod, container, timestamps: true, ...(since === undefined ? {} : { sinceTime: since }) },
        { idleMs, onData: (chunk) => lines.push(chunk), ...(signal === undefined ? {} : { signal }) },
      );
      signal?.throwIfAborted();
      if (end.kind === 'end') {
        lines.end();
        return 'whole';
      }
      failure = new AppError('cluster_unreachable', `The log of ${pod} broke off: ${end.kind}`);
    } catch (error) {
      signal?.throwIfAborted();
      if (answeredWith(error, 404)) return 'gone';
      if (answeredWith(error, 400)) return error.message.includes('is terminated') ? 'gone' : 'not_started';
      if (!(error instanceof AppError) || error.code !== 'cluster_unreachable') throw error;
      failure = error;
    }
    if (left > 1) await pause(backoff.next(), signal);
  }
  throw failure;
}
