import { now } from '../contract/ids.ts';
import type { Context, LiveAttempt } from './context.ts';
import { serverEvent } from './moves.ts';

/** What became of a wish to be connected to a host. `target` is `host:port`; null where it was none. */
export type EgressFact =
  | { kind: 'refused'; target: string | null; code: string; why: string }
  | { kind: 'opened'; target: string }
  /** Bytes from the agent, and to it. */
  | { kind: 'closed'; target: string; sent: number; received: number };

/** So many hosts of an attempt are told, and so many refusals; an agent that tries all there are fills no log. */
const MOST_NOTES = 20;

/** Writes down where an attempt's agent went and where it was not let, each host once. */
export function createEgressNotes(context: Pick<Context, 'store' | 'telemetry' | 'secrets'>) {
  const { store, telemetry, secrets } = context;
  const told = new WeakMap<LiveAttempt, Record<'refused' | 'opened', Set<string>>>();

  function isNews(attempt: LiveAttempt, kind: 'refused' | 'opened', what: string): boolean {
    const sets = told.get(attempt) ?? { refused: new Set(), opened: new Set() };
    told.set(attempt, sets);
    const known = sets[kind];
    if (known.has(what) || known.size >= MOST_NOTES) return false;
    known.add(what);
    return true;
  }

  function note(attempt: LiveAttempt, type: 'agent_output' | 'agent_error', content: string, message: object): void {
    const { runNo, runId, variation, attemptId } = attempt;
    const whose = { run_id: runId, variation_id: variation, attempt: attempt.attempt, attempt_id: attemptId };
    const data = { ...whose, timestamp: now(), seq: null, kind: 'note', content, message };
    const event = serverEvent(runNo, variation, type, data);
    const kept = store
      // A host's name is the agent's own words: a key may stand in it.
      .write({ events: [{ ...event, data: secrets.json(event.data) }] })
      .then(
        () => undefined,
        (error: unknown) => telemetry.log.error({ err: error, attempt: attemptId }, 'a connection could not be noted'),
      )
      .finally(() => attempt.bookings.delete(kept));
    // The attempt's end waits for it.
    attempt.bookings.add(kept);
  }

  return (attempt: LiveAttempt, fact: EgressFact): void => {
    telemetry.metrics.egress(fact);
    if (fact.kind === 'closed') return;
    const { kind, target } = fact;
    if (kind === 'opened') {
      if (!isNews(attempt, kind, target)) return;
      note(attempt, 'agent_output', `The agent was connected to ${target}.`, { code: 'host_reached', target });
      return;
    }
    if (!isNews(attempt, kind, `${fact.code} ${target}`)) return;
    note(attempt, 'agent_error', `A connection was refused: ${fact.why}`, { code: fact.code, target });
  };
}
