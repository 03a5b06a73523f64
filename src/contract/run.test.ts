import { describe, expect, it } from 'vitest';
import { frameOf, parseFrame } from './event.ts';
import { newRunId, now, RUN_ID } from './ids.ts';
import {
  ATTEMPT_STATUSES,
  defaultLimits,
  deriveRunStatus,
  isTerminal,
  limits,
  mayMove,
  RUN_STATUSES,
  VARIATION_STATUSES,
} from './run.ts';

describe('a run’s status', () => {
  it.each([
    [['queued', 'queued'], false, 'queued'],
    [['queued', 'running'], false, 'running'],
    [['succeeded', 'queued'], false, 'running'],
    [['succeeded', 'failed'], false, 'completed'],
    [['failed', 'failed'], false, 'failed'],
    [['failed', 'cancelled'], false, 'failed'],
    [['cancelled', 'cancelled'], false, 'cancelled'],
    [['succeeded', 'cancelled'], false, 'completed'],
    [['succeeded', 'cancelled'], true, 'cancelled'],
    [['cancelled', 'finishing'], true, 'running'],
  ] as const)('of %j, cancelled: %s, is %s', (variations, cancelled, status) => {
    expect(deriveRunStatus(variations, cancelled)).toBe(status);
  });
});

describe('moves', () => {
  it('lead on from every state that is no end, and only a retry or a follow-up prompt leads back', () => {
    for (const from of VARIATION_STATUSES) {
      const onward = VARIATION_STATUSES.filter((to) => mayMove(from, to));
      if (isTerminal(from)) expect(onward).toEqual(['queued']);
      else expect(onward).toEqual(expect.arrayContaining(['failed', 'cancelled']));
      expect(onward).not.toContain(from);
    }
  });

  it('know an end in every list of states', () => {
    expect(RUN_STATUSES.filter(isTerminal)).toEqual(['completed', 'failed', 'cancelled']);
    expect(ATTEMPT_STATUSES.filter(isTerminal)).toEqual(['succeeded', 'failed', 'cancelled', 'lost']);
  });
});

describe('ids, times, limits and frames', () => {
  it('makes run ids that name Kubernetes objects and do not repeat', () => {
    const ids = new Set(Array.from({ length: 2000 }, newRunId));
    expect(ids.size).toBe(2000);
    for (const id of ids) expect(id).toMatch(RUN_ID);
  });

  it('tells time in UTC with milliseconds', () => {
    expect(now()).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });

  it('has defaults within its own limits, and no default where a part is given', () => {
    expect(limits.parse(defaultLimits)).toEqual(defaultLimits);
    expect(limits.partial().parse({ max_steps: 3 })).toEqual({ max_steps: 3 });
  });

  it('takes a frame apart as it was put together', () => {
    const data = JSON.stringify({ content: 'data: id: 5\n\nevent: run_complete ü' });
    expect(parseFrame(frameOf(12, 'agent_output', data))).toEqual({ id: 12, type: 'agent_output', data });
  });
});
