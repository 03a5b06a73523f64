import { spawnSync } from 'node:child_process';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { EventPage, Run } from '../src/contract/api.ts';
import { prepareServer, seenBy } from './support/server-process.ts';
import { sourceRepository } from './support/sources.ts';
import { until } from './support/until.ts';

/** A data directory that gets full in the middle of a run: nothing is lost, nothing dies of it, and it goes on with space. */

const script = `
models:
  talker:
    turns:
      - thinking: "thinking aloud, word by word, so that there is always something under way "
        delay_ms: 30
        delta_chars: 2
        tools: [{ name: bash, input: { command: "echo done > /tmp/nowhere 2>/dev/null; echo done > out.txt" } }]
      - { text: "Done." }
  quick:
    turns:
      - { tools: [{ name: write, input: { path: out.txt, content: "done\\n" } }] }
      - { text: Done. }
`;

const possible =
  spawnSync('unshare', ['--map-root-user', '--mount', 'sh', '-c', 'mount -t tmpfs tmpfs /tmp']).status === 0;

it.skipIf(!possible)(
  'a full disk is waited for: what the attempt said is whole, and runs go on when there is room',
  async () => {
    const server = prepareServer({ script, settings: { default_model: 'scripted/quick' }, volume: '48m' });
    await server.start();
    const repository = sourceRepository();
    const runId = await server.submit({
      repository,
      prompt: 'Say it.',
      variations: [{ model: 'scripted/talker' }, { model: 'scripted/talker' }],
    });
    const thoughts = async () =>
      (await server.api<EventPage>('GET', `/api/v1/runs/${runId}/outputs?limit=1000`)).body.events.filter(
        (event) => event.data['kind'] === 'agent_thought_chunk',
      ).length;
    await until(async () => (await thoughts()) > 4);

    const filler = seenBy(server.pid, join(server.dataDir, 'filler'));
    fill(filler);
    await new Promise((resolve) => setTimeout(resolve, 2500));
    // It still answers, and says why it takes nothing new.
    const refused = await server.api<{ code: string }>('POST', '/api/v1/runs', {
      repository,
      prompt: 'Do it.',
      variations: 1,
    });
    expect(refused.status).toBeGreaterThanOrEqual(400);
    const { body: meanwhile } = await server.api<Run>('GET', `/api/v1/runs/${runId}`);
    expect(meanwhile.variations.map((each) => each.end_reason)).not.toContain('lost');
    rmSync(filler);

    const run = await server.over(runId);
    for (const each of run.variations) {
      expect(['end_turn', 'disk_limit', 'provider_error']).toContain(each.end_reason);
      expect(each.attempts.map((attempt) => [attempt.log_complete, attempt.gaps])).toEqual([[true, []]]);
    }
    const next = await server.over(await server.submit({ repository, prompt: 'Do it.', variations: 1 }));
    expect(next.status).toBe('completed');
  },
  90_000,
);

/** Writes until nothing more fits. */
function fill(path: string): void {
  const file = openSync(path, 'w');
  try {
    for (const size of [1 << 20, 1 << 12, 1]) {
      const block = Buffer.alloc(size, 'x');
      try {
        for (;;) writeSync(file, block);
      } catch {
        // That size fits no more; a smaller one may.
      }
    }
  } finally {
    closeSync(file);
  }
}
