/**
 * Events: the entries of the log, and the frames they are stored and sent as.
 *
 * | type             | from     | data beyond run_id, variation_id, attempt, attempt_id, seq, timestamp |
 * |------------------|----------|------------------------------------------------------------------------|
 * | agent_output     | recorder | `kind` (ACP update kind, or `acp`, `acp_sent`, `stderr`, `unparsed`, `note`, `result`), `content` (text or null), `message` (the ACP message, verbatim; else the payload) |
 * | agent_error      | recorder | as agent_output: an ACP error, or a note of the recorder that is one |
 * | agent_complete   | server   | `status`, `end_reason`, `content`, `log_complete`, `gaps`, `result` summary: the end of an attempt |
 * | model_usage      | gateway  | `model`, tokens, `cost_microdollars` (null = unknown); `assumed`: what it counts with was not measured |
 * | budget           | server   | `scope`, `level` (80, 100 per cent), what is used and allowed |
 * | variation_status | server   | `status`, `previous` |
 * | prompt_queued    | server   | `prompt_id`, `becomes` (`next_turn`, `new_attempt`), `content`: its beginning; `continues`, `forked_from` where it begins an attempt |
 * | prompt_dropped   | server   | `prompt_id`, `content`: why it was not given to anybody |
 * | run_status       | server   | `status` |
 * | run_choice       | server   | `winning_variation_id`, `reason` |
 * | run_complete     | server   | `status`, `succeeded`, `failed`, `cancelled`, `variations` |
 *
 * Only on a stream, without an id: `heartbeat`, `reset`.
 */
export const EVENT_TYPES = [
  'agent_output',
  'agent_error',
  'agent_complete',
  'model_usage',
  'budget',
  'variation_status',
  'prompt_queued',
  'prompt_dropped',
  'run_status',
  'run_choice',
  'run_complete',
] as const;
export type EventType = (typeof EVENT_TYPES)[number];

/** The SSE frame of an event, stored as it is sent. `data` is JSON text of one line. */
export function frameOf(id: number, type: EventType, data: string): string {
  return `id: ${id}\nevent: ${type}\ndata: ${data}\n\n`;
}

/** A frame taken apart again. Frames hold exactly three lines, so this is exact, not a parser of SSE. */
export function parseFrame(frame: string): { id: number; type: EventType; data: string } {
  const afterId = frame.indexOf('\n');
  const afterType = frame.indexOf('\n', afterId + 1);
  return {
    id: Number(frame.slice(4, afterId)),
    type: frame.slice(afterId + 8, afterType) as EventType,
    data: frame.slice(afterType + 7, -2),
  };
}
