import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { EventPage } from '../src/contract/api.ts';
import { findStragglers } from '../src/agent/process-identity.ts';
import { prepareServer } from './support/server-process.ts';
import { sourceRepository } from './support/sources.ts';
import { tempDir } from './support/temp.ts';
import { until } from './support/until.ts';

/**
 * Agents that turn on what serves them, by the one way they have: the model's address. A real server and real recorders, whose
 * memory is looked at; the agent is a program of its own, without a model.
 */

const AGENT = `
const http = require('node:http');
const send = (message) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\\n');
const say = (text) => send({ method: 'session/update', params: { sessionId: 's', update: { sessionUpdate: 'agent_message_chunk', content: { type: 'text', text } } } });
const base = process.env.BASE;
const call = (path, write, headers = {}) => new Promise((done) => {
  const request = http.request(base + path, { method: 'POST', agent: false, headers: { 'content-type': 'application/json', ...headers } });
  request.once('response', (response) => { response.resume(); response.once('close', () => done(response.statusCode)); });
  request.once('error', (error) => done(error.code));
  write(request);
});
const ask = (model, headers) => call('/v1/chat/completions', (request) => request.end(JSON.stringify({ model, messages: [{ role: 'user', content: 'x' }], max_tokens: 5 })), headers);
const large = (megabytes) => call('/v1/chat/completions', (request) => {
  const piece = Buffer.alloc(1024 * 1024, 'x');
  let left = megabytes;
  request.write('{"model":"m","messages":[{"role":"user","content":"');
  const more = () => {
    while (left > 0) { left -= 1; if (!request.write(piece)) return request.once('drain', more); }
    request.end('"}]}');
  };
  more();
});
const attacks = {
  models: async () => ({ own: await ask('m'), other: await ask('other/m'), again: await ask('other/m'), token: await ask('m', { authorization: 'Bearer at_' + 'A'.repeat(43) }) }),
  large: async () => ({ alone: await large(100), many: await Promise.all(Array.from({ length: 12 }, (_, n) => large(n % 2 === 0 ? 60 : 30))), after: await ask('m') }),
  hold: async () => {
    for (let n = 0; n < 20; n += 1) {
      const request = http.request(base + '/v1/chat/completions', { method: 'POST', agent: false });
      request.on('response', (response) => response.pause());
      request.on('error', () => {});
      request.end(JSON.stringify({ model: 'hold', stream: true, messages: [{ role: 'user', content: 'x' }], max_tokens: 5 }));
    }
    // It ends its turn while something that it has started goes on holding.
    require('node:child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { detached: true, stdio: 'ignore' }).unref();
    await new Promise((done) => setTimeout(done, 500));
    return {};
  },
};
require('node:readline').createInterface({ input: process.stdin }).on('line', async (line) => {
  const { id, method } = JSON.parse(line);
  if (method === 'initialize') send({ id, result: { protocolVersion: 1, agentCapabilities: {} } });
  else if (method === 'session/new') send({ id, result: { sessionId: 's' } });
  else if (method === 'session/prompt') {
    say(JSON.stringify(await attacks[process.argv[2]]()));
    require('node:fs').writeFileSync('attacked.txt', 'yes\\n');
    send({ id, result: { stopReason: 'end_turn' } });
  }
});
`;

/** The most that a process has used since it was started, in MiB. */
function peakOf(pid: number): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

/** A provider that keeps nothing of what it is asked. Whether each of its answers was whole. */
async function startProvider(holds: boolean) {
  const answers: Promise<boolean>[] = [];
  const server = createServer((request, response) => {
    answers.push(new Promise((resolve) => response.once('close', () => resolve(response.writableFinished))));
    request.resume().once('end', () => {
      if (holds) {
        response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: {"choices":[]}\n\n');
        return;
      }
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { answers, baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1` };
}

async function attack(name: 'models' | 'large' | 'hold') {
  const home = tempDir();
  const path = join(home, 'agent.cjs');
  writeFileSync(path, AGENT);
  const upstream = await startProvider(name === 'hold');
  const server = prepareServer({
    home,
    settings: {
      providers: {
        p: { kind: 'openai', base_url: upstream.baseUrl },
        other: { kind: 'openai', base_url: upstream.baseUrl },
      },
      default_model: name === 'hold' ? 'p/hold' : 'p/m',
      agents: { attacker: { command: ['{node}', path, name], env: { BASE: '{base_url}' } } },
    },
  });
  await server.start();
  const runId = await server.submit({ repository: sourceRepository(), prompt: 'x', agent: 'attacker', variations: 1 });
  const read = async () => (await server.api<EventPage>('GET', `/api/v1/runs/${runId}/outputs?limit=1000`)).body.events;
  let recorder = 0;
  await until(async () => {
    const started = (await read()).find(({ data }) =>
      JSON.stringify(data['message'] ?? '').includes('recorder_started'),
    );
    recorder = (started?.data['message'] as { pid?: number } | undefined)?.pid ?? 0;
    return recorder > 0;
  });
  let recorderPeak = 0;
  const watching = setInterval(() => (recorderPeak = Math.max(recorderPeak, peakOf(recorder))), 50);
  const run = await server.over(runId, 120_000);
  clearInterval(watching);
  const body = { events: await read() };
  const said = body.events.find(({ data }) => data['kind'] === 'agent_message_chunk')?.data['content'];
  const peaks = { server: peakOf(server.pid), recorder: recorderPeak };
  return { peaks, upstream, run, events: body.events, seen: JSON.parse(String(said)) as Record<string, unknown> };
}

test('a model that is not its own: 403, told once, and the provider never hears of it; no token of the agent’s goes on', async () => {
  const { run, events, seen, upstream } = await attack('models');
  expect(run.variations[0]).toMatchObject({ status: 'succeeded' });
  expect(seen).toEqual({ own: 200, other: 403, again: 403, token: 200 });
  expect(upstream.answers).toHaveLength(2);
  const refused = events.filter(({ type, data }) => type === 'agent_error' && data['kind'] === 'note');
  expect(refused.map(({ data }) => data['content'])).toEqual([expect.stringContaining('other/m')]);
});

test('prompts of 100 MB, and many of 30 and 60 MB at once: nobody’s memory is filled, and the next call is answered', async () => {
  const { run, seen, peaks } = await attack('large');
  expect(run.variations[0]).toMatchObject({ status: 'succeeded' });
  const many = Array.from({ length: 12 }, (_, n) => (n % 2 === 0 ? 413 : 200));
  expect(seen).toEqual({ alone: 413, many, after: 200 });
  // Without a bound both grow with what is sent: with twenty calls they were 920 and 1450.
  expect(peaks.server).toBeLessThan(450);
  expect(peaks.recorder).toBeLessThan(384);
}, 180_000);

test('streams that are held open for ever end with the attempt, also where something of the agent is left', async () => {
  const { run, upstream } = await attack('hold');
  expect(run.variations[0]).toMatchObject({ status: 'succeeded' });
  expect(await Promise.all(upstream.answers)).toEqual(Array.from({ length: 20 }, () => false));
  const [attempt] = run.variations[0]?.attempts ?? [];
  await until(() => findStragglers(attempt?.attempt_id ?? '').length === 0);
});
