import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EventPage, Run } from '../../src/contract/api.ts';
import type { Problem } from '../../src/contract/api-system.ts';
import type { Forked, Prompted } from '../../src/contract/api-steering.ts';
import type { TestHouse } from './house.ts';
import { ACP_AGENT } from './recorded.ts';
import { sourceRepository } from './sources.ts';
import { tempDir } from './temp.ts';
import { until } from './until.ts';

/** Two agents that do what their prompts say, see the behaviour `steer`. They ask no model. */
export const steered = {
  script: 'models: { free: { turns: [{ text: Done. }] } }',
  settings: {
    default_model: 'scripted/free',
    default_agent: 'steered',
    agents: {
      steered: { description: 'does as it is told', command: ['{node}', ACP_AGENT, 'steer'] },
      other: { description: 'does as it is told', command: ['{node}', ACP_AGENT, 'steer', 'other'] },
    },
  },
};

/** What tests of steering do with a server. */
export function steer(house: Pick<TestHouse, 'api' | 'submit' | 'over'>) {
  const path = (runId: string, v: number) => `/api/v1/runs/${runId}/variations/${v}`;
  const run = async (runId: string) => (await house.api<Run>('GET', `/api/v1/runs/${runId}`)).body;
  const events = async (runId: string) =>
    (await house.api<EventPage>('GET', `/api/v1/runs/${runId}/outputs?limit=1000`)).body.events;
  return {
    run,
    events,
    submit: (prompt: string, more: object = {}) =>
      house.submit({ repository: sourceRepository(), prompt, variations: 1, ...more }),
    over: house.over,
    tell: (runId: string, v: number, prompt: unknown) =>
      house.api<Prompted & Problem>('POST', `${path(runId, v)}/prompts`, { prompt }),
    fork: (runId: string, body: object) =>
      house.api<Forked & Problem>('POST', `/api/v1/runs/${runId}/variations`, body),
    retry: (runId: string, v: number) => house.api<Run & Problem>('POST', `${path(runId, v)}/retry`),
    cancel: (runId: string, v: number) => house.api<Run & Problem>('POST', `${path(runId, v)}/cancel`),
    patch: async (runId: string, v: number) => (await house.api('GET', `${path(runId, v)}/patch`)).text,
    running: (runId: string, v = 0) => until(async () => (await run(runId)).variations[v]?.status === 'running'),
    /** What an attempt's agent said, turn by turn put together. */
    said: async (runId: string, v: number, attempt: number) =>
      (await events(runId))
        .filter(({ data }) => data['variation_id'] === v && data['attempt'] === attempt)
        .filter(({ data }) => data['kind'] === 'agent_message_chunk')
        .map(({ data }) => String(data['content'])),
  };
}

/** A file that an agent waits for. */
export function makeGate(): { path: string; open(): void } {
  const path = join(tempDir(), 'open');
  return { path, open: () => writeFileSync(path, '') };
}
