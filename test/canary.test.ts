import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { loadConfig } from '../src/config.ts';
import type { Comparison, EventPage, Run } from '../src/contract/api.ts';
import type { CreatedKey, Problem } from '../src/contract/api-system.ts';
import { createDecoder } from '../src/contract/envelope-codec.ts';
import { kubernetesSettings } from '../src/contract/kubernetes.ts';
import { defaultLimits } from '../src/contract/run.ts';
import { createSecrets } from '../src/flow/secrets.ts';
import { specOf } from '../src/flow/start.ts';
import { jobOf, secretOf } from '../src/runtime/kubernetes/job-spec.ts';
import { gitServer } from './support/git-server.ts';
import { startServer } from './support/model-server.ts';
import { seeded } from './support/seeded.ts';
import { prepareServer, type ServerProcess } from './support/server-process.ts';
import { gitAs, sourceRepository } from './support/sources.ts';
import { tempDir } from './support/temp.ts';

/**
 * A whole run in which everybody says every secret, in every way; then all that is stored, streamed, logged or handed on is searched
 * for each of them. The values are the test's own, and so is the way it spells them.
 */

const random = seeded(20_261_128);
const LETTERS = 'ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789';
const letters = (count: number): string =>
  Array.from({ length: count }, () => LETTERS[Math.floor(random() * LETTERS.length)]).join('');
/** With what has to be escaped in a URL, and in base64 becomes + and /. */
const made = (name: string): string => `canary+${name}/${letters(30)}7`;

const canaries = {
  environment: made('environment'),
  keyFile: made('key-file'),
  header: made('header'),
  apiKey: made('api-key'),
  adminKey: made('admin-key'),
  gitPassword: `canary-git-${letters(24)}7`,
  ownEnvironment: made('own-environment'),
  // Nobody told the server of these: they are known by their shape.
  home: `ghp_${letters(36)}`,
  homeAws: `AKIA${letters(16).toUpperCase()}`,
};
/** A key that the user puts into the prompt: the agent's to have, nobody's to see. */
const pasted = `sk-proj-${letters(40)}7`;

/** All the ways to write a text that are promised, with the parts of its base64 that do not depend on what stands around it. */
function spell(text: string): string[] {
  const inBase64 = ['', 'x', 'xy'].map((before) => {
    const whole = Buffer.from(before + text).toString('base64');
    return whole.replaceAll('=', '').slice(4, -2);
  });
  return [
    text,
    encodeURIComponent(text),
    ...inBase64,
    ...inBase64.map((each) => each.replaceAll('+', '-').replaceAll('/', '_')),
  ];
}

/** What of the secrets stands in a text: their names. A long piece counts, and so does one that is broken into lines. */
function leaksIn(text: string, secrets: Record<string, string> = canaries): string[] {
  const flat = text.replaceAll(/\\n|[\r\n]/g, '');
  return Object.entries(secrets).flatMap(([name, value]) =>
    [...new Set(spell(value))]
      .filter((spelling) => flat.includes(spelling.slice(0, 24)) || flat.includes(spelling.slice(-24)))
      .map((spelling) => `${name} as ${spelling.slice(0, 12)}…`),
  );
}

/** Says them one after the other: letter by letter, and in larger pieces; plain, in base64 and URL-encoded. */
function recital(): object[] {
  const all = Object.values(canaries);
  return [
    ...all.map((value) => ({ text: `so: ${value} .`, delta_chars: 1 })),
    {
      text: all
        .map((value) => Buffer.from(`${value.length % 3 === 0 ? 'a' : ''}${value}`).toString('base64'))
        .join(' '),
      delta_chars: 1,
    },
    { text: all.map((value) => encodeURIComponent(value)).join('\n'), delta_chars: 7 },
    { text: `${JSON.stringify(Object.fromEntries(all.map((value, index) => [`k${index}`, value])))} ${all.join(' ')}` },
    { thinking: all.join(' and '), delta_chars: 3 },
  ].map((turn) => ({ ...turn, tools: [{ name: 'bash', input: { command: 'true' } }] }));
}

/** What of this machine an agent may come by: its environment, those of its parents and of all others, the user's files. */
const lookAround = (home: string): string =>
  [
    'env',
    "tr '\\0' '\\n' < /proc/self/environ",
    "for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ; done 2>/dev/null | grep -a canary",
    `cat ${home}/.netrc ${home}/config.yaml ${home}/key ${home}/admin-key`,
    `cat ${home}/.netrc ${home}/key | base64`,
    'true',
  ].join('; ');

/** A provider that puts the keys it was sent into whatever it answers, in pieces. */
async function echoing(): Promise<string> {
  const say = async (response: ServerResponse, text: string): Promise<void> => {
    for (let at = 0; at < text.length; at += 13) {
      response.write(text.slice(at, at + 13));
      if (at % 130 === 0) await wait(1);
    }
    response.end();
  };
  const { baseUrl } = await startServer((request, response) => {
    const sent = [request.headers['x-api-key'], request.headers['x-canary']].map(String);
    const words = sent.flatMap((each) => [each, Buffer.from(`:${each}`).toString('base64'), encodeURIComponent(each)]);
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { status, headers, text } = answerTo(Buffer.concat(chunks).toString(), words);
      response.writeHead(status, headers);
      say(response, text).catch(() => response.destroy());
    });
  });
  return baseUrl;
}

function answerTo(
  body: string,
  words: readonly string[],
): { status: number; headers: Record<string, string>; text: string } {
  const all = words.join(' ');
  if (body.includes('refuse it')) {
    const error = { type: 'authentication_error', message: `not you: ${all}` };
    return {
      status: 401,
      headers: { 'content-type': 'application/json' },
      text: JSON.stringify({ type: 'error', error }),
    };
  }
  if (body.includes('be strange')) {
    const headers = { 'content-type': 'text/html', 'x-request-id': words[0] ?? '', 'retry-after': '0' };
    return { status: 400, headers, text: `<html>${words.join('<br>')}` };
  }
  const event = (type: string, data: object): string =>
    `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
  const usage = { input_tokens: 1, output_tokens: 1 };
  const message = { id: 'm', type: 'message', role: 'assistant', model: 'm', content: [], usage };
  const text = [
    event('message_start', { message: { ...message, stop_reason: null, stop_sequence: null } }),
    event('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }),
    ...[...all].map((letter) =>
      event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: letter } }),
    ),
    event('content_block_stop', { index: 0 }),
    event('message_delta', { delta: { stop_reason: 'end_turn', stop_sequence: null }, usage }),
    event('message_stop', {}),
  ].join('');
  return { status: 200, headers: { 'content-type': 'text/event-stream' }, text };
}

interface Scene {
  server: ServerProcess;
  home: string;
  repository: string;
}

async function openScene(): Promise<Scene> {
  const home = tempDir();
  const write = (name: string, text: string): void => writeFileSync(join(home, name), text, { mode: 0o600 });
  write('key', `${canaries.keyFile}\n`);
  write('admin-key', canaries.adminKey);
  write('.netrc', `machine example.com login me password ${canaries.home}\naws_access_key_id = ${canaries.homeAws}\n`);
  write(
    'script.yaml',
    stringify({
      models: {
        m: {
          conversations: [
            {
              when: 'tell all',
              turns: [
                { text: 'I look around.', tools: [{ name: 'bash', input: { command: lookAround(home) } }] },
                ...recital(),
                { tools: [{ name: 'write', input: { path: 'a.txt', content: `key = "glpat-${letters(20)}"\n` } }] },
                { text: 'Done.' },
              ],
            },
            {
              when: 'write it down',
              turns: [
                {
                  tools: [
                    { name: 'write', input: { path: 'src/stolen.txt', content: `\nhere: ${canaries.keyFile}\n` } },
                  ],
                },
                { text: 'Done.' },
              ],
            },
          ],
        },
      },
    }),
  );
  const bare = join(home, 'forge');
  const repository = sourceRepository({ 'README.md': 'x\n' });
  gitAs(home, 'clone', '-q', '--bare', repository, join(bare, 'x.git'));
  const forge = await gitServer(bare);
  const echo = {
    kind: 'anthropic',
    base_url: await echoing(),
    key_env: 'ECHO_KEY',
    headers: { 'x-canary': canaries.header },
  };
  const server = prepareServer({
    home,
    settings: {
      default_model: 'scripted/m',
      keep_workspaces: true,
      log_level: 'debug',
      admin_key_file: join(home, 'admin-key'),
      providers: {
        scripted: { kind: 'scripted', script: join(home, 'script.yaml') },
        echo,
        // One that refuses a key is not asked with it again for a while.
        refusing: echo,
        filed: { kind: 'openai', base_url: 'http://127.0.0.1:1/v1', key_file: join(home, 'key') },
      },
      strategies: {
        all: { instruction: 'tell all' },
        down: { instruction: 'write it down' },
        refused: { instruction: 'refuse it' },
        strange: { instruction: 'be strange' },
      },
    },
    env: {
      ECHO_KEY: canaries.environment,
      AIDEATOR_API_KEY: canaries.apiKey,
      MY_OWN_SECRET: canaries.ownEnvironment,
    },
  });
  await server.start();
  return { server, home, repository: forge.replace('http://', `http://me:${canaries.gitPassword}@`) + '/x.git' };
}

/** All files in a folder, by path, but what only the agent wrote and nobody looked at. */
function* filesIn(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && !/\/attempts\/[^/]+\/(?:workspace|home|tmp|snapshot\.git|result\.patch)/.test(path))
      yield path;
  }
}

describe('canaries', () => {
  it('are in nothing that a whole run leaves, says or logs', async () => {
    const { server, home, repository } = await openScene();
    const { body: created } = await server.api<CreatedKey>('POST', '/api/v1/keys', { name: 'k', scope: 'run' });
    const secrets = { ...canaries, created: created.key };

    // A secret of the server's in a prompt is refused; another key is the agent's to have.
    const told = await server.api<Problem>('POST', '/api/v1/runs', { repository, prompt: `use ${canaries.keyFile}` });
    expect([told.status, told.body.code, leaksIn(told.text)]).toEqual([422, 'invalid_prompt', []]);
    const wrong = repository.replace('/x.git', '/y.git');
    const missing = await server.api<Problem>('POST', '/api/v1/runs', { repository: wrong, prompt: 'p' });
    expect([missing.status >= 400, leaksIn(missing.text)]).toEqual([true, []]);

    const runId = await server.submit({
      repository,
      prompt: `Work with ${pasted} and ${created.key}.`,
      variations: [
        { strategy: 'all' },
        { strategy: 'down' },
        { strategy: 'refused', model: 'refusing/m' },
        { strategy: 'strange', model: 'echo/m' },
        { model: 'echo/m' },
      ],
    });
    const run = await server.over(runId, 120_000);
    const reasons = run.variations.map((each) => each.end_reason);
    expect(reasons).toEqual(['end_turn', 'result_failed', 'provider_auth', 'provider_error', 'no_changes']);
    expect(run.variations.map((each) => each.attempts.every((attempt) => attempt.log_complete))).toEqual(
      run.variations.map(() => true),
    );
    expect(run.variations[1]?.message).toMatch(/holds a secret .*key of filed, in src\/stolen\.txt, line 2/);
    await server.api('POST', `/api/v1/runs/${runId}/select`, { winning_variation_id: 0, reason: canaries.keyFile });

    // What the API shows, texts joined as a reader joins them.
    const shown: string[] = [JSON.stringify((await server.api<Run>('GET', `/api/v1/runs/${runId}`)).body)];
    for (const path of ['', `/${runId}/compare`, `/${runId}/variations/1`, `/${runId}/variations/0/patch`]) {
      shown.push((await server.api('GET', `/api/v1/runs${path}`)).text);
    }
    const { body: compared } = await server.api<Comparison>('GET', `/api/v1/runs/${runId}/compare`);
    expect(compared.variations[0]?.key_lines).toEqual([{ path: 'a.txt', line: 1, what: 'gitlab token' }]);
    const events: EventPage['events'] = [];
    for (let after: number | null = 0; after !== null;) {
      const page: { body: EventPage; text: string } = await server.api(
        'GET',
        `/api/v1/runs/${runId}/outputs?after=${after}&limit=1000`,
      );
      events.push(...page.body.events);
      shown.push(page.text);
      after = page.body.next_after;
    }
    const said = new Map<string, string>();
    for (const { data } of events) {
      const key = `${String(data['variation_id'])} ${String(data['kind'])}`;
      if (typeof data['content'] === 'string') said.set(key, (said.get(key) ?? '') + data['content']);
    }
    shown.push(...said.values());
    const stream = await fetch(`${server.url}/api/v1/runs/${runId}/stream?after=0`);
    shown.push(await stream.text());
    expect(leaksIn(shown.join('\n'), { ...secrets, pasted })).toEqual([]);
    // They were said, by agent and model, in both runs that could.
    expect(
      [said.get('0 agent_message_chunk'), said.get('4 agent_message_chunk')].map(
        (text) => (text?.split('[redacted: ').length ?? 0) > 5,
      ),
    ).toEqual([true, true]);
    expect(said.get('0 agent_thought_chunk')).toMatch(/ and can[a-z+]*\[redacted: key of filed\] and /);

    // What lies in the data directory: database and its WAL, journals (texts joined), mirrors, patches, logs.
    await server.api('GET', '/metrics').then(({ text }) => expect(leaksIn(text)).toEqual([]));
    const leaks: Record<string, string[]> = {};
    let bytes = 0;
    for (const path of filesIn(server.dataDir)) {
      bytes += statSync(path).size;
      let text = readFileSync(path, 'latin1');
      const attempt = /attempts\/([^/]+)\/journal\.ndjson$/.exec(path)?.[1];
      if (attempt !== undefined) text += joined(readFileSync(path), attempt);
      // The prompt is the user's own, kept as it was given for the attempts that may still come.
      const isDatabase = path.includes('aideator.sqlite');
      const found = leaksIn(text, isDatabase ? canaries : { ...secrets, pasted });
      if (found.length > 0) leaks[path.slice(home.length)] = found;
    }
    expect(leaks).toEqual({});
    expect(bytes).toBeGreaterThan(100_000);
    expect(server.printed()).toContain('model call failed');
    expect(leaksIn(server.printed(), { ...secrets, pasted })).toEqual([]);
  }, 180_000);

  it('are not in what a recorder is told, nor in the objects of a Job', () => {
    const home = tempDir();
    writeFileSync(join(home, 'key'), canaries.keyFile);
    const { config } = loadConfig({
      cwd: home,
      env: { HOME: home, ECHO_KEY: canaries.environment, MY_OWN_SECRET: canaries.ownEnvironment },
      flags: {
        providers: {
          echo: {
            kind: 'anthropic',
            base_url: 'http://x',
            key_env: 'ECHO_KEY',
            headers: { 'x-canary': canaries.header },
          },
          filed: { kind: 'openai', base_url: 'http://127.0.0.1:1/v1', key_file: 'key' },
        },
      },
    });
    const context = { config, agents: new Map<string, never>(), secrets: createSecrets(config) };
    const spec = {
      ...specOf(
        context,
        { id: 'k3xyzabcde', image: null },
        { idx: 0, agent: 'a', model: 'echo/m', dialect: 'anthropic', limits: JSON.stringify(defaultLimits) },
        { id: '6a5ad21e-4f0c-4f0e-9d7c-000000000001', attempt: 0, task: { prompt: 'p', work: null } },
      ),
      agent: { image: null },
    };
    expect(spec.secrets.prints.length).toBeGreaterThanOrEqual(4 * 4);
    const plan = {
      spec,
      settings: kubernetesSettings.parse({ image: 'i:1' }),
      namespace: 'agents',
      doorUrl: 'http://d:1',
      instance: 'i',
      version: '0',
    };
    const all = JSON.stringify([spec, jobOf(plan), secretOf(plan, 'uid', 'at_token')]);
    expect(leaksIn(all)).toEqual([]);
    expect(Object.values(canaries).filter((value) => all.includes(value.slice(0, 20)))).toEqual([]);
  });
});

/** The texts of a journal, each kind joined. */
function joined(journal: Buffer, attempt: string): string {
  const said = new Map<string, string>();
  for (const { type, data } of createDecoder(attempt).push(journal).envelopes) {
    const message = JSON.parse(data) as {
      params?: { update?: { sessionUpdate?: string; content?: { text?: string } } };
    };
    const update = message.params?.update;
    const key = update?.sessionUpdate ?? type;
    said.set(key, (said.get(key) ?? '') + (update?.content?.text ?? data));
  }
  return [...said.values()].join('\n');
}
