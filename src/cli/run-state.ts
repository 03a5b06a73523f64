import type { Event, Run, VariationView } from '../contract/api.ts';
import { isTerminal, type RunStatus, type VariationStatus, VARIATION_STATUSES } from '../contract/run.ts';
import { plainLine } from './display.ts';
import { field, text, waitingOf, waitingWords, type Words, wordsOf } from './event-words.ts';

/** What is known of a run while its events come in: the state that the live view draws. */
export interface RunState {
  runId: string;
  status: RunStatus;
  /** Milliseconds since the epoch; null while it is not over. */
  startedAt: number;
  endedAt: number | null;
  variations: VariationState[];
}

export interface VariationState {
  index: number;
  agent: string;
  model: string;
  strategy: string | null;
  status: VariationStatus;
  endReason: string | null;
  message: string | null;
  /** What its pod waits for before it can start, in words; null where nothing is known to be in its way. */
  waiting: string | null;
  startedAt: number | null;
  endedAt: number | null;
  calls: number;
  /** null as soon as one call's tokens are unknown. */
  tokens: number | null;
  /** Micro-dollars; null as soon as one call's price is unknown. */
  cost: number | null;
  files: number | null;
  additions: number | null;
  deletions: number | null;
  /** What it said last, oldest first: at most {@link RECENT}. */
  recent: { kind: Words['kind']; text: string }[];
}

const RECENT = 2;
/** Of one thought only the end can be shown: what is before it is let go. */
const RECENT_CHARACTERS = 400;

/** The state before the first event of a run. */
export function beginState(run: Run): RunState {
  return {
    runId: run.run_id,
    status: 'queued',
    startedAt: Date.parse(run.created_at),
    endedAt: null,
    variations: run.variations.map(beginVariation),
  };
}

function beginVariation(view: VariationView): VariationState {
  const { variation_id: index, agent, model, strategy } = view;
  return newVariation({ index, agent, model, strategy });
}

function newVariation(named: Pick<VariationState, 'index' | 'agent' | 'model' | 'strategy'>): VariationState {
  const nothing = {
    endReason: null,
    message: null,
    waiting: null,
    startedAt: null,
    endedAt: null,
    files: null,
    additions: null,
    deletions: null,
  };
  return { ...named, status: 'queued', ...nothing, calls: 0, tokens: 0, cost: 0, recent: [] };
}

/** Takes over what the server says of the run now: after events were lost, and at the end. */
export function adoptRun(state: RunState, run: Run): void {
  state.status = run.status;
  state.endedAt = run.ended_at === null ? null : Date.parse(run.ended_at);
  for (const view of run.variations) {
    const variation = state.variations[view.variation_id];
    if (variation === undefined) continue;
    const { usage } = view;
    Object.assign(variation, {
      status: view.status,
      endReason: view.end_reason,
      message: view.message,
      waiting: waitingWords(view.attempts.at(-1)?.waiting ?? null),
      startedAt: view.started_at === null ? null : Date.parse(view.started_at),
      endedAt: view.ended_at === null ? null : Date.parse(view.ended_at),
      calls: usage.calls,
      tokens: sum([
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens ?? 0,
        usage.cache_write_tokens ?? 0,
      ]),
      cost: usage.cost_microdollars,
      files: view.files_changed,
      additions: view.additions,
      deletions: view.deletions,
    });
  }
}

/** Moves the state on by one event. */
export function applyEvent(state: RunState, event: Event): void {
  const { data } = event;
  if (event.type === 'run_status' || event.type === 'run_complete') {
    const status = text(data['status']);
    if (status !== null) state.status = status as RunStatus;
    state.endedAt = isTerminal(state.status) ? timeOf(data) : null;
    return;
  }
  const index = data['variation_id'];
  if (event.type === 'variation_status' && index === state.variations.length) addForked(state, index, data);
  const variation = typeof index === 'number' ? state.variations[index] : undefined;
  if (variation === undefined) return;
  switch (event.type) {
    case 'variation_status':
      return moveVariation(variation, text(data['status']), timeOf(data));
    case 'agent_complete':
      variation.endReason = text(data['end_reason']);
      variation.message = text(data['content']);
      variation.endedAt = timeOf(data);
      return;
    case 'model_usage':
      return addUsage(variation, data);
    default:
  }
  if (event.type === 'agent_output' && data['kind'] === 'result') takeResult(variation, data['message']);
  const waiting = waitingOf(event);
  if (waiting !== null) {
    // Two clocks: waiting for a place is not working.
    Object.assign(variation, { waiting, startedAt: null });
    return;
  }
  const words = wordsOf(event);
  if (words !== null && (!words.detail || words.kind === 'output')) remember(variation, words);
}

/** A variation that was made while the run went on. */
function addForked({ variations }: RunState, index: number, data: Event['data']): void {
  const [agent, model] = [text(data['agent']), text(data['model'])];
  if (agent === null || model === null) return;
  variations.push(newVariation({ index, agent, model, strategy: text(data['strategy']) }));
}

function moveVariation(variation: VariationState, next: string | null, at: number): void {
  const status = VARIATION_STATUSES.find((known) => known === next);
  if (status === undefined) return;
  variation.status = status;
  variation.waiting = null;
  if (status === 'queued')
    Object.assign(variation, {
      startedAt: null,
      endedAt: null,
      endReason: null,
      message: null,
      files: null,
      additions: null,
      deletions: null,
      recent: [],
    });
  else if (status === 'starting') variation.startedAt = at;
  else if (status === 'running' || status === 'finishing') variation.startedAt ??= at;
  else if (isTerminal(status)) variation.endedAt ??= at;
}

function addUsage(variation: VariationState, data: Event['data']): void {
  const numeric = (name: string): number | null => (typeof data[name] === 'number' ? data[name] : null);
  variation.calls += 1;
  variation.tokens = sum([
    variation.tokens,
    numeric('input_tokens'),
    numeric('output_tokens'),
    numeric('cache_read_tokens') ?? 0,
    numeric('cache_write_tokens') ?? 0,
  ]);
  variation.cost = sum([variation.cost, numeric('cost_microdollars')]);
}

function takeResult(variation: VariationState, result: unknown): void {
  const files = field(result, 'files');
  const additions = field(result, 'additions');
  const deletions = field(result, 'deletions');
  variation.files = Array.isArray(files) ? files.length : null;
  variation.additions = typeof additions === 'number' ? additions : null;
  variation.deletions = typeof deletions === 'number' ? deletions : null;
}

function remember(variation: VariationState, words: Words): void {
  const last = variation.recent.at(-1);
  if (words.chunk && last?.kind === words.kind) {
    // Chunks are cut anywhere, also within a word: they are joined as they are, and made plain when they are drawn.
    last.text = (last.text + words.text).slice(-RECENT_CHARACTERS);
    return;
  }
  if (plainLine(words.text) === '') return;
  variation.recent = [...variation.recent, { kind: words.kind, text: words.text.slice(0, RECENT_CHARACTERS) }].slice(
    -RECENT,
  );
}

/** null as soon as one part is unknown. */
export function sum(parts: readonly (number | null)[]): number | null {
  let total = 0;
  for (const part of parts) {
    if (part === null) return null;
    total += part;
  }
  return total;
}

function timeOf(data: Event['data']): number {
  return Date.parse(text(data['timestamp']) ?? '') || 0;
}
