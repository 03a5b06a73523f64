import { readdirSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { EventPage, Run } from '../src/contract/api.ts';
import { startTimeOf } from '../src/agent/process-identity.ts';
import { createDecoder } from '../src/contract/envelope-codec.ts';
import { isTerminal } from '../src/contract/run.ts';
import { prepareServer, type ServerProcess } from './support/server-process.ts';
import { noSandbox } from './support/sandbox.ts';
import { sourceRepository } from './support/sources.ts';
import { until } from './support/until.ts';

/** Death at any point: of the server, of a recorder. Nothing is lost, nothing is shown twice, and each attempt's fate is told. */

const script = `
models:
  talker:
    turns:
      - thinking: "thinking aloud, word by word, so that there is always something under way "
        delay_ms: 15
        delta_chars: 4
        tools: [{ name: write, input: { path: out.txt, content: "done\\n" } }]
      - { text: "and telling at length what was done, so that the end is a while away ", delta_chars: 3, delay_ms: 15 }
`;
// In the sandbox where one works: what outlives a server, and what dies with a recorder, is the same.
const sandbox = { mode: noSandbox === null ? 'auto' : 'off' };
const settings = { default_model: 'scripted/talker', keep_workspaces: true, log_level: 'info', sandbox };

describe('a server that is killed', () => {
  it('at random points, again and again: the stored log is the journal, and a reader that resumes has each event once', async () => {
    const server = prepareServer({ script, settings });
    const repository = sourceRepository();
    await server.start();
    const runId = await server.submit({ repository, prompt: 'Say it.', variations: 3 });
    const reader = follow(server, runId);
    // Seeded: the same points in every run of the test.
    for (const pause of [40, 350, 900, 120, 600]) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      await server.kill();
      await server.start();
    }
    const run = await server.over(runId);
    const seen = await reader.done;
    expect(run.variations.map((each) => [each.status, each.message])).toEqual(
      Array.from({ length: 3 }, () => ['succeeded', null]),
    );
    expect(run.variations.map((each) => each.attempts.at(-1)?.log_complete)).toEqual([true, true, true]);

    // Calls that were cut with a server: what they used is unknown, and no sum hides it.
    expect(run.variations.map((each) => each.usage.input_tokens)).toContain(null);
    expect(run.usage.cost_microdollars).toBeNull();

    const stored = await allEvents(server, runId);
    expect(seen).toEqual(stored.map((event) => event.id));
    expect(new Set(seen).size).toBe(seen.length);
    for (const each of run.variations) {
      for (const attempt of each.attempts) {
        if (attempt.status !== 'succeeded') continue;
        const journal = readFileSync(join(server.dataDir, 'attempts', attempt.attempt_id, 'journal.ndjson'));
        const decoded = createDecoder(attempt.attempt_id).push(journal);
        const ours = stored.filter(
          (event) => event.data['attempt_id'] === attempt.attempt_id && typeof event.data['seq'] === 'number',
        );
        expect(ours.map((event) => event.data['seq'])).toEqual(decoded.envelopes.map((envelope) => envelope.seq));
        for (const [index, envelope] of decoded.envelopes.entries()) {
          if (envelope.type !== 'eof')
            expect(JSON.stringify(ours[index]?.data['message'])).toBe(JSON.stringify(JSON.parse(envelope.data)));
        }
      }
    }
    const told = stored.filter(
      (event) => event.data['kind'] === 'note' && JSON.stringify(event.data['message']).includes('server_restarted'),
    );
    expect(told.length).toBeGreaterThan(0);
  }, 120_000);

  it('while attempts end without it: the next start says so and has their results', async () => {
    const server = prepareServer({ script, settings });
    await server.start();
    const runId = await server.submit({
      repository: sourceRepository(),
      prompt: 'Say it.',
      variations: [{ limits: { timeout_seconds: 5 } }],
    });
    await until(async () => (await status(server, runId))[0] === 'running');
    await server.kill();
    // The gateway is gone with the server: the agent waits for it until its time is up, and its recorder ends it alone.
    await until(() => journals(server).every((path) => readFileSync(path, 'utf8').includes('"type":"eof"')));
    await server.start();
    const run = await server.over(runId);
    expect(run.variations[0]).toMatchObject({ status: 'failed', end_reason: 'timeout' });
    expect(run.variations[0]?.attempts).toHaveLength(1);
    expect(
      (await allEvents(server, runId))
        .map((event) => event.data['content'])
        .filter((text) => String(text).includes('had ended meanwhile')),
    ).toHaveLength(1);
  }, 60_000);
});

describe('a recorder that is killed', () => {
  it('makes its attempt lost, named as such, with what it wrote kept and its agent stopped; the others go on', async () => {
    const server = prepareServer({ script, settings });
    await server.start();
    const runId = await server.submit({ repository: sourceRepository(), prompt: 'Say it.', variations: 2 });
    const thinks = (variation: number) => (event: EventPage['events'][number]) =>
      event.data['variation_id'] === variation && event.data['kind'] === 'agent_thought_chunk';
    await until(async () => (await allEvents(server, runId)).some(thinks(1)));
    const { body } = await server.api<Run>('GET', `/api/v1/runs/${runId}`);
    const lost = body.variations[1]?.attempts[0]?.attempt_id ?? '';
    const claim = JSON.parse(readFileSync(join(server.dataDir, 'attempts', lost, 'claim.json'), 'utf8')) as {
      pid: number;
    };
    process.kill(claim.pid, 'SIGKILL');
    const run = await server.over(runId);
    expect(run.variations.map((each) => [each.status, each.end_reason])).toEqual([
      ['succeeded', 'end_turn'],
      ['failed', 'lost'],
    ]);
    expect(run.variations[1]?.attempts[0]).toMatchObject({
      status: 'lost',
      log_complete: false,
      gaps: [{ to_seq: null }],
    });
    const events = await allEvents(server, runId);
    expect(
      events.some((event) => event.data['attempt_id'] === lost && event.data['kind'] === 'agent_thought_chunk'),
    ).toBe(true);
    await until(() => !processesOf(lost));
  }, 60_000);

  it('with the server, in the middle of a line: what was whole is stored, the rest is named as missing', async () => {
    const server = prepareServer({ script, settings });
    await server.start();
    const runId = await server.submit({ repository: sourceRepository(), prompt: 'Say it.', variations: 1 });
    await until(async () => (await status(server, runId))[0] === 'running');
    await server.kill();
    const [journal = ''] = journals(server);
    const claim = JSON.parse(readFileSync(join(journal, '..', 'claim.json'), 'utf8')) as { pid: number };
    process.kill(claim.pid, 'SIGKILL');
    await until(() => startTimeOf(claim.pid) === null);
    truncateSync(journal, statSync(journal).size - 7);
    await server.start();
    const run = await server.over(runId);
    expect(run.variations[0]).toMatchObject({ status: 'failed', end_reason: 'lost' });
    expect(run.variations[0]?.attempts[0]?.gaps.at(-1)).toMatchObject({ to_seq: null });
  }, 60_000);
});

function journals(server: ServerProcess): string[] {
  const attempts = join(server.dataDir, 'attempts');
  return readdirSync(attempts).map((name) => join(attempts, name, 'journal.ndjson'));
}

async function status(server: ServerProcess, runId: string): Promise<string[]> {
  const { body } = await server.api<Run>('GET', `/api/v1/runs/${runId}`);
  return body.variations.map((each) => each.status);
}

async function allEvents(server: ServerProcess, runId: string): Promise<EventPage['events']> {
  const events: EventPage['events'] = [];
  for (let after: number | null = 0; after !== null;) {
    const { body }: { body: EventPage } = await server.api<EventPage>(
      'GET',
      `/api/v1/runs/${runId}/outputs?limit=500&after=${after}`,
    );
    events.push(...body.events);
    after = body.next_after;
  }
  return events;
}

/** Reads the stream to its end, across every death of the server, and collects the ids in the order they came. */
function follow(server: ServerProcess, runId: string): { done: Promise<number[]> } {
  const ids: number[] = [];
  const read = async (): Promise<number[]> => {
    for (;;) {
      try {
        const response = await fetch(`${server.url}/api/v1/runs/${runId}/stream`, {
          headers: { 'last-event-id': String(ids.at(-1) ?? 0) },
        });
        if (response.status === 204) return ids;
        let text = '';
        for await (const chunk of response.body ?? []) {
          text += Buffer.from(chunk).toString('utf8');
          const frames = text.split('\n\n');
          text = frames.pop() ?? '';
          for (const frame of frames) {
            const id = /^id: (\d+)$/m.exec(frame)?.[1];
            if (id !== undefined) ids.push(Number(id));
          }
        }
        const { body } = await server.api<Run>('GET', `/api/v1/runs/${runId}`);
        if (isTerminal(body.status) && ids.at(-1) === body.last_event_id) return ids;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  };
  return { done: read() };
}

function processesOf(attemptId: string): boolean {
  return readdirSync('/proc').some((pid) => {
    try {
      return (
        /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`AIDEATOR_ATTEMPT=${attemptId}`)
      );
    } catch {
      return false;
    }
  });
}
