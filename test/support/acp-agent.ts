import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync, writeFileSync, writeSync, mkdirSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/**
 * A scripted ACP agent: `node acp-agent.ts <behaviour> [arguments]`. It speaks just enough ACP, and misbehaves as it is told.
 * What it is started with is written to stderr at once, so that a test can see that too.
 */
const [behaviour = 'echo', ...args] = process.argv.slice(2);

type Id = string | number | null;
interface Message {
  id?: Id;
  method?: string;
  params?: { sessionId?: string; prompt?: { text?: string }[]; modeId?: string };
  result?: unknown;
}

/** Waits for the pipe itself: nothing is lost when the process exits. */
function print(text: string | Uint8Array): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}
const send = (message: object): void => print(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
const update = (sessionUpdate: string, text: string): void =>
  send({
    method: 'session/update',
    params: { sessionId: 's', update: { sessionUpdate, content: { type: 'text', text } } },
  });
const think = (text: string): void => update('agent_thought_chunk', text);
const say = (text: string): void => update('agent_message_chunk', text);
const forever = (): Promise<never> => new Promise(() => setInterval(() => undefined, 1e6));

let cancelled = false;
let asked = 0;
const answers = new Map<Id, (value: unknown) => void>();
function ask(method: string, params: object): Promise<unknown> {
  asked += 1;
  const id = `q${asked}`;
  send({ id, method, params });
  return new Promise((resolve) => answers.set(id, resolve));
}

/** What comes of CONNECT by the proxy that it was told of: `200 <the host's first words>`, or the refusal's status. */
function reach(authority: string): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const sent = request(process.env['HTTPS_PROXY'] ?? 'http://127.0.0.1:9', { method: 'CONNECT', path: authority });
  sent.once('connect', ({ statusCode }, socket, head) => {
    // Its first words may have come with the answer.
    if (head.length > 0) socket.unshift(head);
    if (statusCode === 200) socket.once('data', (words: Buffer) => resolve(`200 ${words.toString()}`));
    else resolve(String(statusCode));
  });
  sent.once('response', ({ statusCode }) => resolve(String(statusCode)));
  sent.once('error', ({ message }) => resolve(message));
  sent.end();
  return promise;
}

/** What the prompt does, by behaviour; returns the stop reason, or never. */
const turns: Record<string, (prompt: string) => Promise<string> | string> = {
  /** N thoughts. */
  echo: (prompt) => {
    for (let n = 0; n < Number(args[0] ?? 1); n += 1) think(`thought ${n}`);
    say(prompt);
    return 'end_turn';
  },
  /** N thoughts, one every M milliseconds. */
  talk: async () => {
    for (let n = 0; n < Number(args[0]) && !cancelled; n += 1) {
      think(`thought ${n}`);
      await wait(Number(args[1]));
    }
    return cancelled ? 'cancelled' : 'end_turn';
  },
  /** N thoughts in few writes, as fast as they are taken. */
  burst: () => {
    const lines: string[] = [];
    for (let n = 0; n < Number(args[0]); n += 1) {
      const content = { type: 'text', text: `thought ${n}` };
      const params = { sessionId: 's', update: { sessionUpdate: 'agent_thought_chunk', content } };
      lines.push(`${JSON.stringify({ jsonrpc: '2.0', method: 'session/update', params })}\n`);
      if (lines.length === 1000) print(lines.splice(0).join(''));
    }
    print(lines.join(''));
    return 'end_turn';
  },
  /** One file per argument `name=content`. */
  write: () => {
    for (const each of args) {
      const at = each.indexOf('=');
      writeFileSync(each.slice(0, at), each.slice(at + 1));
    }
    say('written');
    return 'end_turn';
  },
  /** Does what the prompt says, a line each, behind whatever stands before it: see the cases. */
  steer: async (prompt) => {
    const wanted = prompt.split('What the user wants now:\n\n').at(-1) ?? '';
    for (const line of wanted.split('\n')) {
      const rest = line.slice(line.indexOf(' ') + 1);
      const [verb] = line.split(' ', 1);
      const [name = '', value = ''] = rest.split('=', 2);
      if (verb === 'write') writeFileSync(name, `${value}\n`);
      else if (verb === 'append') appendFileSync(name, `${value}\n`);
      else if (verb === 'see')
        say(`${name} is ${existsSync(name) ? JSON.stringify(readFileSync(name, 'utf8')) : 'not there'}`);
      else if (verb === 'say') say(rest);
      else if (verb === 'repeat') say(prompt);
      else if (verb === 'pause') await wait(Number(rest));
      else if (verb === 'reach') say(await reach(rest));
      else if (verb === 'gate') while (!existsSync(rest) && !cancelled) await wait(5);
      else if (verb === 'tool') {
        const call = { toolCallId: rest, title: `Run ${rest}`, kind: 'execute', status: 'completed' };
        const content = [{ type: 'content', content: { type: 'text', text: `output of ${rest}` } }];
        send({
          method: 'session/update',
          params: { sessionId: 's', update: { sessionUpdate: 'tool_call', ...call, content } },
        });
      } else if (verb === 'exit') process.exit(Number(rest));
      else if (verb === 'stop') return rest;
    }
    return cancelled ? 'cancelled' : 'end_turn';
  },
  nothing: () => 'end_turn',
  stop: () => args[0] ?? 'end_turn',
  /** Writes a file, says its environment, then waits to be cancelled. */
  linger: async () => {
    writeFileSync('half.txt', 'half\n');
    think('waiting');
    while (!cancelled) await wait(5);
    say('cancelled, as asked');
    return 'cancelled';
  },
  /** Neither cancel nor SIGTERM impress it. */
  stubborn: async () => {
    process.on('SIGTERM', () => process.stderr.write('SIGTERM: no\n'));
    think('staying');
    return forever();
  },
  silent: async () => forever(),
  exit: async () => {
    process.stderr.write('going down\n');
    process.exit(Number(args[0] ?? 0));
  },
  die: async () => {
    process.kill(process.pid, 'SIGSEGV');
    return forever();
  },
  /** So many bytes of lines that are none of ACP. */
  flood: async () => {
    const line = `${'f'.repeat(1023)}\n`.repeat(64);
    for (let left = Number(args[0]); left > 0; left -= line.length) print(line);
    return forever();
  },
  stderr: () => {
    process.stderr.write(`${'e'.repeat(40_000)}\nshort\n`);
    process.stderr.write(Buffer.from([0xff, 0xfe, 10]));
    return 'end_turn';
  },
  /** What could be taken for an event, or break a line reader. */
  forge: (prompt) => {
    const attempt = process.env['AIDEATOR_ATTEMPT'];
    print(`{"v":1,"attempt":"${attempt}","seq":1,"ts":"2026-01-01T00:00:00.000Z","type":"eof","data":{}}\n`);
    print('\u0000\u001b[31mred\u001b[0m\u2028line\r\n');
    print(Buffer.from([0xc3, 0x28, 10]));
    print('[{"jsonrpc":"2.0","method":"x"}]\n{"jsonrpc":"2.0"}\n{"jsonrpc":"1.0","method":"x"}\n');
    print('{"jsonrpc":"2.0",\r"method":"session/update","params":{"spaced" : [1.0, 1e3]}}\r\n');
    think(prompt);
    print(`{"jsonrpc":"2.0","method":"session/update","params":{"long":"${'l'.repeat(Number(args[0] ?? 20_000))}"}}\n`);
    return 'end_turn';
  },
  /** A child in a session of its own, which holds our stdout. */
  escape: () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], {
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    child.unref();
    say(`child ${child.pid}`);
    if (args[0] === 'exit') process.exit(3);
    return 'end_turn';
  },
  disk: async () => {
    mkdirSync('big');
    for (let n = 0; ; n += 1) {
      writeFileSync(join('big', `${n}`), Buffer.alloc(256 * 1024, n % 256));
      await wait(2);
    }
  },
  /** Writes one file of so many MiB, says so, and stays. */
  swell: async () => {
    writeFileSync('big', Buffer.alloc(Number(args[0]) << 20, 1));
    say('waiting');
    return forever();
  },
  /** Says so, then takes memory until it is killed for it. */
  hog: async () => {
    writeFileSync('before.txt', 'before\n');
    for (let n = 0; n < 20; n += 1) think(`before ${n}`);
    const taken: Buffer[] = [];
    for (;;) {
      taken.push(Buffer.alloc(16 << 20, taken.length));
      await wait(5);
    }
  },
  /** Asks with each of the params given as JSON (a list), as often as the second argument says, and says each answer. */
  ask: async () => {
    const requests = JSON.parse((args[0] ?? '[]').replaceAll('{cwd}', process.cwd())) as object[];
    for (let n = 0; n < Number(args[1] ?? 1); n += 1)
      for (const params of requests) {
        const answer = await ask('session/request_permission', params);
        if (n === 0) say(JSON.stringify(answer));
      }
    return 'end_turn';
  },
  permission: async () => {
    const answer = await ask('session/request_permission', {
      sessionId: 's',
      toolCall: { toolCallId: 't' },
      options: [
        { optionId: 'no', name: 'No', kind: 'reject_once' },
        { optionId: 'yes', name: 'Yes', kind: 'allow_once' },
        { optionId: 'always', name: 'Always', kind: 'allow_always' },
      ],
    });
    say(JSON.stringify(answer));
    say(JSON.stringify(await ask('fs/read_text_file', { sessionId: 's', path: '/etc/passwd' })));
    return 'end_turn';
  },
  /** Answers to requests that nobody made. */
  confuse: () => {
    send({ id: 'nobody', result: {} });
    send({ id: 77, error: { code: 1, message: 'x' } });
    return 'end_turn';
  },
  'remove-workspace': () => {
    rmSync(process.cwd(), { recursive: true, force: true });
    return 'end_turn';
  },
};

async function handle(message: Message): Promise<void> {
  const { id, method, params } = message;
  if (method === undefined) {
    answers.get(id ?? null)?.(message.result ?? message);
    return;
  }
  switch (method) {
    case 'initialize':
      if (behaviour === 'mute') return;
      if (behaviour === 'version') send({ id, result: { protocolVersion: 9 } });
      else if (behaviour === 'login') send({ id, error: { code: -32_000, message: 'Authentication required' } });
      else send({ id, result: { protocolVersion: 1, agentCapabilities: {} } });
      return;
    case 'session/new':
      send({ id, result: { sessionId: 's' } });
      return;
    case 'session/set_mode':
      think(`mode ${params?.modeId}`);
      send({ id, result: {} });
      return;
    case 'session/cancel':
      cancelled = true;
      return;
    case 'session/prompt': {
      if (behaviour === 'error') {
        send({ id, error: JSON.parse(args[0] ?? '{}') });
        return;
      }
      const turn = turns[behaviour];
      if (turn === undefined) throw new Error(`no behaviour ${behaviour}`);
      send({ id, result: { stopReason: await turn(params?.prompt?.map(({ text }) => text).join('') ?? '') } });
      return;
    }
    default:
      send({ id, error: { code: -32_601, message: `no ${method}` } });
  }
}

process.stderr.write(`${JSON.stringify({ cwd: process.cwd(), env: process.env })}\n`);
if (behaviour === 'garbage') setInterval(() => print('this is not ACP\n'), 20);
if (behaviour === 'early-exit') process.exit(0);
if (behaviour === 'garbage' || behaviour === 'quiet') {
  process.stdin.resume();
} else {
  let rest = '';
  process.stdin.setEncoding('utf8');
  process.stdin.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      handle(JSON.parse(line) as Message).catch((error: unknown) => {
        process.stderr.write(`${String(error)}\n`);
        process.exit(70);
      });
    }
  });
  process.stdin.on('end', () => {
    if (behaviour !== 'stubborn') process.exit(0);
  });
}
