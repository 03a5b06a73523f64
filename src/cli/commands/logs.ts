import type { Client } from '../client.ts';
import { followRun } from '../follow.ts';
import { labelOf } from '../presentation.ts';
import { findRunId, type Session } from '../session.ts';
import { Transcript } from '../transcript.ts';

/** `aideator logs`: all that was thought, said and done, from the log. With `--json` the events, one a line. */
export async function logs(
  session: Session,
  [given = '']: string[],
  { variation, follow = false }: { variation?: number; follow?: boolean },
): Promise<number> {
  const client = await session.connect();
  const run = await client.run(await findRunId(client, given));
  if (follow) {
    const end = await followRun(session, client, run, {
      show: session.json ? 'events' : 'people',
      variation,
      plain: true,
      full: true,
    });
    return end.kind === 'over' ? 0 : 130;
  }
  const transcript = new Transcript({ label: labelOf(run), palette: session.palette, full: true });
  for await (const event of events(client, run.run_id, variation)) {
    if (session.json) session.print(JSON.stringify(event));
    else session.print(...transcript.push(event));
  }
  session.print(...transcript.flush());
  return 0;
}

const PAGE = 500;

async function* events(client: Client, runId: string, variation: number | undefined) {
  for (let after: number | null = 0; after !== null;) {
    const page = await client.outputs(runId, { after, limit: PAGE, variation_id: variation });
    yield* page.events;
    after = page.next_after;
  }
}
