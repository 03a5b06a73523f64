import { describe, expect, test } from 'vitest';
import type { Event } from '../contract/api.ts';
import { adoptRun, applyEvent, beginState } from './run-state.ts';
import { sampleEvents, sampleRun } from '../../test/support/sample-run.ts';

const AT = '2026-11-23T12:00:00.000Z';
function event(type: string, data: Record<string, unknown>): Event {
  return { id: 1, type, data: { timestamp: AT, ...data } };
}

function after(...events: Event[]) {
  const state = beginState(sampleRun());
  for (const each of events) applyEvent(state, each);
  return state;
}

describe('a run from its events', () => {
  test('moves, usage, result and end', () => {
    const { variations, status } = after(...sampleEvents());
    expect(status).toBe('completed');
    expect(variations[0]).toMatchObject({
      status: 'succeeded',
      endReason: 'end_turn',
      calls: 2,
      tokens: 3249,
      cost: 12_300,
      files: 1,
      additions: 2,
      deletions: 1,
    });
    expect(variations[1]).toMatchObject({
      status: 'failed',
      endReason: 'provider_auth',
      message: 'The provider refused the key.',
      tokens: null,
      cost: null,
    });
  });

  test('pieces of a thought are one; the last two things are kept', () => {
    const say = (kind: string, content: string): Event => event('agent_output', { variation_id: 0, kind, content });
    const { variations } = after(
      say('agent_thought_chunk', 'Let me '),
      say('agent_thought_chunk', 'see.'),
      say('agent_message_chunk', 'Now '),
      say('agent_message_chunk', 'the tests.'),
      say('agent_thought_chunk', 'x'.repeat(1000)),
    );
    expect(variations[0]?.recent).toEqual(
      [
        { kind: 'says', text: 'Now the tests.' },
        { kind: 'thinking', text: 'x'.repeat(1000) },
      ].map((each) => (each.text.length === 1000 ? { ...each, text: 'x'.repeat(400) } : each)),
    );
  });

  test('an unknown cost stays unknown, whatever comes after', () => {
    const used = (cost: number | null): Event =>
      event('model_usage', {
        variation_id: 0,
        input_tokens: 5,
        output_tokens: 1,
        cache_read_tokens: 2,
        cache_write_tokens: null,
        cost_microdollars: cost,
      });
    expect(after(used(3), used(null), used(4)).variations[0]).toMatchObject({ calls: 3, tokens: 24, cost: null });
  });

  test('a retry begins anew, and keeps what was spent', () => {
    const state = after(
      ...sampleEvents(),
      event('variation_status', { variation_id: 1, status: 'queued' }),
      event('run_status', { status: 'running' }),
    );
    expect(state).toMatchObject({ status: 'running', endedAt: null });
    expect(state.variations[1]).toMatchObject({
      status: 'queued',
      endReason: null,
      message: null,
      startedAt: null,
      endedAt: null,
      calls: 1,
      recent: [],
    });
  });

  test('waiting for a place is not working: the clock stands still until it runs', () => {
    const moved = (status: string, at: number): Event =>
      event('variation_status', { variation_id: 0, status, timestamp: new Date(at).toISOString() });
    const note = event('agent_output', {
      variation_id: 0,
      kind: 'note',
      content: 'Waiting to start: no room',
      message: { code: 'waiting', reason: 'Unschedulable' },
    });
    const waits = after(moved('starting', 1000), note).variations[0];
    expect(waits).toMatchObject({ status: 'starting', waiting: 'Unschedulable: no room', startedAt: null });
    const runs = after(moved('starting', 1000), note, moved('running', 9000)).variations[0];
    expect(runs).toMatchObject({ status: 'running', waiting: null, startedAt: 9000 });
    expect(after(moved('starting', 1000), moved('running', 9000)).variations[0]).toMatchObject({ startedAt: 1000 });
  });

  test('what is not understood changes nothing', () => {
    const before = after();
    expect(
      after(
        event('agent_output', { variation_id: 99 }),
        event('variation_status', { variation_id: 0, status: 'dancing' }),
        event('new_type', { variation_id: 0 }),
        event('agent_output', { variation_id: 0, kind: 'tool_call', message: 7 }),
        event('agent_output', { variation_id: 'x' }),
      ),
    ).toEqual({
      ...before,
      variations: before.variations.map((each, index) =>
        index === 0 ? { ...each, recent: [{ kind: 'tool', text: 'a tool' }] } : each,
      ),
    });
  });

  test("the server's word at the end stands", () => {
    const state = after();
    const run = sampleRun();
    adoptRun(state, run);
    expect(state).toMatchObject({ status: 'completed', endedAt: Date.parse(run.ended_at ?? '') });
    expect(state.variations[0]).toMatchObject({ status: 'succeeded', tokens: 3249, cost: 12_300, files: 1 });
    expect(state.variations[1]).toMatchObject({ tokens: null, cost: null });
  });
});
