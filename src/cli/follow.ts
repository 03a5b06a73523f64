import type { Run } from '../contract/api.ts';
import { isTerminal } from '../contract/run.ts';
import type { Client } from './client.ts';
import { Interrupts } from './interrupts.ts';
import { choosePresentation } from './presentation.ts';
import type { Session } from './session.ts';

export interface FollowOptions {
  /** `events`: each event as a line of JSON; `silent`: nothing; `people`: a live view in a terminal, else plain lines. */
  show: 'people' | 'events' | 'silent';
  variation?: number | undefined;
  /** Plain lines also in a terminal. */
  plain?: boolean | undefined;
  /** Plain lines tell everything, not only the outline. */
  full?: boolean | undefined;
  /** What Ctrl-C does: leaves the run running, twice cancels it (`detach`, the default), or cancels it at once. */
  interrupt?: 'detach' | 'cancel' | undefined;
}

export type FollowEnd = { kind: 'over'; run: Run } | { kind: 'detached' } | { kind: 'cancelled' };

/** Shows a run until it is over, or until Ctrl-C: once leaves it running, twice cancels it. */
export async function followRun(
  session: Session,
  client: Client,
  run: Run,
  options: FollowOptions,
): Promise<FollowEnd> {
  const show = choosePresentation(session, run, options);
  const stop = new AbortController();
  const interrupts = new Interrupts(session.io, client, run.run_id, {
    leave: () => show.end(null),
    say: (text) => show.say(text),
    stop: () => stop.abort(),
    atOnce: options.interrupt === 'cancel',
  });
  let after = 0;
  try {
    for (;;) {
      for await (const item of client.stream(run.run_id, {
        after,
        variation: options.variation,
        signal: stop.signal,
      })) {
        if (item.kind === 'event') after = item.event.id;
        if (!interrupts.leaving) show.item(item);
      }
      if (stop.signal.aborted) break;
      const latest = await client.run(run.run_id);
      if (isTerminal(latest.status)) {
        show.end(latest);
        return interrupts.leaving ? await interrupts.end() : { kind: 'over', run: latest };
      }
    }
    return await interrupts.end();
  } finally {
    show.end(null);
    interrupts.close();
  }
}
