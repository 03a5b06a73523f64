import type { Event, Run, VariationView } from '../../src/contract/api.ts';
import { defaultLimits } from '../../src/contract/run.ts';

/** A run of two variations that is over, and its events: the first succeeded, the provider refused the second one's key. */

const AT = '2026-11-23T12:00:00.000Z';
const noUsage = {
  calls: 0,
  input_tokens: null,
  output_tokens: null,
  cache_read_tokens: null,
  cache_write_tokens: null,
  cost_microdollars: null,
};

export function sampleVariation(index: number, more: Partial<VariationView> = {}): VariationView {
  return {
    variation_id: index,
    agent: 'builtin',
    model: 'scripted/demo',
    strategy: ['smallest-change', 'test-first'][index] ?? null,
    forked_from: null,
    status: 'succeeded',
    end_reason: 'end_turn',
    message: null,
    queued_at: AT,
    started_at: AT,
    ended_at: '2026-11-23T12:00:12.000Z',
    queued_ms: 0,
    running_ms: 12_000,
    usage: {
      calls: 2,
      input_tokens: 2900,
      output_tokens: 349,
      cache_read_tokens: null,
      cache_write_tokens: null,
      cost_microdollars: 12_300,
    },
    files_changed: 1,
    additions: 2,
    deletions: 1,
    patch_url: `/api/v1/runs/k3xyzabcde/variations/${index}/patch`,
    result_attempt: 0,
    prompts_waiting: 0,
    limits: defaultLimits,
    budget: null,
    attempts: [
      {
        attempt: 0,
        continues: null,
        attempt_id: `00000000-0000-4000-8000-00000000000${index}`,
        status: 'succeeded',
        end_reason: 'end_turn',
        message: null,
        started_at: AT,
        ended_at: '2026-11-23T12:00:12.000Z',
        last_seq: 42,
        log_complete: true,
        waiting: null,
        job: null,
        gaps: [],
        isolation: 'process: the rights of the user who runs the server',
      },
    ],
    ...more,
  };
}

export function sampleRun(more: Partial<Run> = {}): Run {
  return {
    run_id: 'k3xyzabcde',
    status: 'completed',
    summary: '1 of 2 variations succeeded',
    repository: '/home/me/duration',
    ref: null,
    base: 'a'.repeat(40),
    prompt: 'Fix the test.',
    counts: { total: 2, queued: 0, running: 0, succeeded: 1, failed: 1, cancelled: 0 },
    created_at: AT,
    ended_at: '2026-11-23T12:00:13.000Z',
    choice: null,
    max_parallel: 2,
    retries: 0,
    image: null,
    budget: null,
    usage: { ...noUsage, calls: 3 },
    variations: [
      sampleVariation(0),
      sampleVariation(1, {
        status: 'failed',
        end_reason: 'provider_auth',
        message: 'The provider refused the key.',
        usage: { ...noUsage, calls: 1 },
        files_changed: null,
        additions: null,
        deletions: null,
        patch_url: null,
      }),
    ],
    last_event_id: 20,
    ...more,
  };
}

/** ACP updates as the recorder hands them on. */
export function output(
  variation: number,
  update: Record<string, unknown>,
  content: string | null,
): Record<string, unknown> {
  return {
    variation_id: variation,
    kind: update['sessionUpdate'],
    content,
    message: { jsonrpc: '2.0', method: 'session/update', params: { sessionId: 's', update } },
  };
}

export function sampleEvents(): Event[] {
  const usage = {
    input_tokens: 1450,
    output_tokens: 174,
    cache_read_tokens: null,
    cache_write_tokens: null,
    cost_microdollars: 6150,
  };
  const entries: [string, Record<string, unknown>][] = [
    ['run_status', { status: 'queued', uncommitted: 2 }],
    ['variation_status', { variation_id: 0, status: 'starting', previous: 'queued' }],
    ['run_status', { status: 'running' }],
    ['variation_status', { variation_id: 1, status: 'starting', previous: 'queued' }],
    [
      'agent_output',
      {
        variation_id: 0,
        kind: 'note',
        content: 'The workspace is ready.',
        message: { code: 'workspace_ready', message: 'The workspace is ready.' },
      },
    ],
    ['variation_status', { variation_id: 0, status: 'running' }],
    [
      'agent_output',
      output(
        0,
        { sessionUpdate: 'agent_thought_chunk', content: { type: 'text', text: 'Only the first ' } },
        'Only the first ',
      ),
    ],
    [
      'agent_output',
      output(
        0,
        { sessionUpdate: 'agent_thought_chunk', content: { type: 'text', text: 'part is read.\nI see.' } },
        'part is read.\nI see.',
      ),
    ],
    [
      'agent_output',
      output(
        0,
        {
          sessionUpdate: 'tool_call',
          toolCallId: 't',
          title: 'bash',
          rawInput: { command: 'npm test' },
          status: 'pending',
        },
        'bash',
      ),
    ],
    [
      'agent_output',
      output(
        0,
        {
          sessionUpdate: 'tool_call_update',
          toolCallId: 't',
          status: 'completed',
          content: [{ type: 'content', content: { type: 'text', text: 'ok 1\nok 2' } }],
        },
        null,
      ),
    ],
    ['model_usage', { variation_id: 0, ...usage }],
    ['model_usage', { variation_id: 0, ...usage, input_tokens: 1450, output_tokens: 175 }],
    ['agent_error', { variation_id: 1, kind: 'acp', content: 'invalid x-api-key' }],
    ['model_usage', { variation_id: 1, input_tokens: null, output_tokens: null, cost_microdollars: null }],
    [
      'agent_complete',
      { variation_id: 1, status: 'failed', end_reason: 'provider_auth', content: 'The provider refused the key.' },
    ],
    ['variation_status', { variation_id: 1, status: 'failed' }],
    [
      'agent_output',
      { variation_id: 0, kind: 'result', content: null, message: { files: [{}], additions: 2, deletions: 1 } },
    ],
    ['agent_complete', { variation_id: 0, status: 'succeeded', end_reason: 'end_turn', content: null }],
    ['variation_status', { variation_id: 0, status: 'succeeded' }],
    ['run_complete', { status: 'completed', succeeded: 1, failed: 1, cancelled: 0 }],
  ];
  return entries.map(([type, data], at) => ({
    id: at + 1,
    type,
    data: { run_id: 'k3xyzabcde', timestamp: new Date(Date.parse(AT) + at * 500).toISOString(), ...data },
  }));
}
