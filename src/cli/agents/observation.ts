import type { Event } from '../../contract/api.ts';

/** What a variation's events tell of its agent. Times in milliseconds. */
export interface Observation {
  /** Pieces of thoughts that held any text, and from the recorder's start to the first of them; null = none came. */
  thoughts: number;
  firstThoughtMs: number | null;
  /** From the first piece to the last: 0 where all came at once. */
  thoughtsForMs: number;
  /** Kinds of the tools that it called, as ACP has them; null where it said none. */
  toolKinds: (string | null)[];
  /** Calls that ended well. */
  toolsCompleted: number;
  /** ACP's stop reason, as the agent answered its prompt. */
  stopReason: string | null;
  /** From ACP's cancel to the agent's answer; null where it was not cancelled, or did not answer. */
  cancelMs: number | null;
  /** Model calls that were refused or failed: which, and why. */
  refused: { model: string; error: string }[];
  /** What it said of errors, the recorder's words included. */
  errors: string[];
}

/** Reads a variation's events, in their order. */
export function observe(events: readonly Event[], variation: number): Observation {
  const seen: Observation = {
    thoughts: 0,
    firstThoughtMs: null,
    thoughtsForMs: 0,
    toolKinds: [],
    toolsCompleted: 0,
    stopReason: null,
    cancelMs: null,
    refused: [],
    errors: [],
  };
  let started: number | null = null;
  let firstThought: number | null = null;
  let cancelled: number | null = null;
  for (const { type, data } of events) {
    if (data['variation_id'] !== variation) continue;
    const at = Date.parse(String(data['timestamp']));
    if (type === 'model_usage' && typeof data['error'] === 'string')
      seen.refused.push({ model: String(data['model']), error: data['error'] });
    if (type === 'agent_error' && typeof data['content'] === 'string') seen.errors.push(data['content']);
    if (type !== 'agent_output' && type !== 'agent_error') continue;
    const { kind, content, message } = data;
    if (kind === 'note' && started === null) started = at;
    if (kind === 'acp_sent' && field(message, 'method') === 'session/cancel') cancelled ??= at;
    const update = field(field(message, 'params'), 'update');
    const stopReason = field(field(message, 'result'), 'stopReason');
    if (kind === 'acp' && typeof stopReason === 'string') {
      seen.stopReason = stopReason;
      if (cancelled !== null) seen.cancelMs = at - cancelled;
    }
    if (kind === 'agent_thought_chunk' && typeof content === 'string' && content.trim() !== '') {
      seen.thoughts += 1;
      firstThought ??= at;
      seen.firstThoughtMs ??= started === null ? null : at - started;
      seen.thoughtsForMs = at - firstThought;
    }
    if (kind === 'tool_call') {
      const toolKind = field(update, 'kind');
      seen.toolKinds.push(typeof toolKind === 'string' ? toolKind : null);
    }
    if ((kind === 'tool_call' || kind === 'tool_call_update') && field(update, 'status') === 'completed')
      seen.toolsCompleted += 1;
  }
  return seen;
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && name in value ? Reflect.get(value, name) : undefined;
}
