import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { startTestHouse } from './support/house.ts';
import { sourceRepository } from './support/sources.ts';

/** The stream as `curl -N` sees it: cut, resumed, and the same as the stored log to the byte. */

const script = `
models:
  talker:
    turns:
      - thinking: "one thought after the other, in small pieces, so that a cut falls between two of them "
        delta_chars: 3
        delay_ms: 20
        tools: [{ name: write, input: { path: out.txt, content: "done\\n" } }]
      - { text: "and that is all there is to say about this, at some length ", delta_chars: 3, delay_ms: 20 }
`;

describe('curl -N', () => {
  it('cut five times and resumed with Last-Event-ID has the stored log, byte for byte', async () => {
    const house = await startTestHouse({ script, settings: { default_model: 'scripted/talker' } });
    const runId = await house.submit({ repository: sourceRepository(), prompt: 'Say it.', variations: 2 });
    const url = `${house.url}/api/v1/runs/${runId}/stream`;
    let received = '';
    for (let cut = 0; cut < 5; cut += 1) {
      const piece = await curl(url, received, 10 + cut * 7);
      received += piece;
    }
    await house.over(runId);
    received += await curl(url, received, Number.POSITIVE_INFINITY);
    expect(received).toBe(storedLog(house.dataDir));
    expect(received).toContain('event: run_complete');
    // Nothing is left: a stream that is over and read to its end answers 204.
    const again = await fetch(url, { headers: { 'last-event-id': lastId(received) } });
    expect(again.status).toBe(204);
  });
});

/** Reads events with curl, and kills it when it has so many; what it printed of a frame that was not whole is dropped. */
async function curl(url: string, received: string, frames: number): Promise<string> {
  const child = spawn('curl', ['-sN', '-H', `Last-Event-ID: ${lastId(received)}`, url], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    printed += chunk;
    if (printed.split('\n\n').length > frames) child.kill('SIGKILL');
  });
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => resolve());
  });
  return printed
    .slice(0, printed.lastIndexOf('\n\n') + 2)
    .split(/(?<=\n\n)/)
    .filter((frame) => frame.startsWith('id: '))
    .join('');
}

function lastId(received: string): string {
  return /.*^id: (\d+)$/ms.exec(received)?.[1] ?? '0';
}

function storedLog(dataDir: string): string {
  const database = new DatabaseSync(join(dataDir, 'aideator.sqlite'), { readOnly: true });
  const rows = database.prepare('SELECT frame FROM events ORDER BY key').all();
  database.close();
  return rows.map((row) => Buffer.from(row['frame'] as Uint8Array).toString('utf8')).join('');
}
