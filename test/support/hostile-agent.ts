import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/**
 * A hostile ACP agent: `node hostile-agent.ts <JSON: name of an attack -> its argument>`. In its one turn it tries each, and says what
 * came of it as one message, JSON: name -> `reached …` or `refused …`.
 */
type Outcome = string | number | boolean | void | undefined;
const attacks: Record<string, (target: string) => Outcome | Promise<Outcome>> = {
  read: (path) => readFileSync(path, 'latin1').length,
  list: (path) => readdirSync(path).length,
  make: (path) => writeFileSync(path, 'x'),
  /** Writes back what is there: harmless where it can be done. */
  rewrite: (path) => writeFileSync(path, readFileSync(path)),
  'open-to-write': (path) => closeSync(openSync(path, 'r+')),
  signal: (pid) => process.kill(Number(pid), 'SIGCONT'),
  connect: (target) =>
    new Promise((resolve, reject) => {
      const [host = '', port] = target.split(':');
      const socket = connect(port === undefined ? { path: host } : { host, port: Number(port) });
      socket.setTimeout(3000, () => reject(new Error('no answer')));
      socket.once('error', reject).once('connect', () => {
        socket.destroy();
        resolve('connected');
      });
    }),
  fetch: async (url) => (await fetch(url)).status,
  /** A shell's command; its last line. */
  shell: (command) => {
    const { status, signal, stdout, stderr } = spawnSync('/bin/sh', ['-c', command], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${signal ?? status}: ${stderr.trim().split('\n').at(-1)}`);
    return stdout.trim().split('\n').at(-1);
  },
  /** Bytes that a folder takes. */
  fill: (folder) => {
    const chunk = Buffer.alloc(1 << 20, 1);
    let n = 0;
    try {
      for (; n < 200; n += 1) writeFileSync(join(folder, `fill-${n}`), chunk);
    } catch (error) {
      throw new Error(`${(error as NodeJS.ErrnoException).code} after ${n} MiB`, { cause: error });
    }
    return `${n} MiB`;
  },
  'open-many': (count) => {
    const open: number[] = [];
    try {
      while (open.length < Number(count)) open.push(openSync('/dev/null', 'r'));
      return open.length;
    } catch (error) {
      throw new Error(`${(error as NodeJS.ErrnoException).code} after ${open.length}`, { cause: error });
    } finally {
      for (const each of open) closeSync(each);
    }
  },
  /** So many processes that sleep for so long. */
  'fork-bomb': async (target) => {
    const [count, seconds = '60'] = target.split(':');
    let failed = '';
    for (let n = 0; n < Number(count) && failed === ''; n += 1) {
      try {
        const child = spawn('sleep', [seconds], { stdio: 'ignore' });
        await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
      } catch (error) {
        failed = `${(error as NodeJS.ErrnoException).code} after ${n}`;
      }
    }
    if (failed !== '') throw new Error(failed);
  },
  /** A grandchild in a session of its own, of another parent and with no environment. */
  'double-fork': (seconds) => {
    execFileSync('/bin/sh', ['-c', `env -i setsid sleep ${seconds} <&- >/dev/null 2>&1 &`]);
    return 'started';
  },
  symlink: (target) => symlinkSync(target, 'link'),
  /** Everything that git could be made to run in this repository. */
  'git-traps': (command) => {
    mkdirSync('.git/hooks', { recursive: true });
    for (const hook of ['post-checkout', 'pre-commit', 'post-index-change', 'reference-transaction'])
      writeFileSync(join('.git/hooks', hook), `#!/bin/sh\n${command}\n`, { mode: 0o755 });
    appendFileSync('.git/config', `[core]\n\tfsmonitor = "${command}"\n[filter "x"]\n\tclean = "${command}; cat"\n`);
    writeFileSync('.gitattributes', '* filter=x\n');
    writeFileSync('new.txt', 'new\n');
  },
  'kill-parent': async (signal) => {
    process.kill(process.ppid, signal);
    if (signal === 'SIGKILL') await wait(60_000);
    return 'sent';
  },
  forge: () => {
    const attempt = process.env['AIDEATOR_ATTEMPT'];
    for (const type of ['eof', 'result'])
      writeSync(
        1,
        `{"v":1,"attempt":"${attempt}","seq":1,"ts":"2026-01-01T00:00:00.000Z","type":"${type}","data":{}}\n`,
      );
    return 'printed';
  },
};

const wanted = JSON.parse(process.argv[2] ?? '{}') as Record<string, string>;
const send = (message: object): void => void writeSync(1, `${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);

async function turn(): Promise<void> {
  const said: Record<string, string> = {};
  for (const [name, target] of Object.entries(wanted)) {
    // `read own journal` is the attack `read`.
    const attack = attacks[name.split(' ')[0] ?? ''];
    if (attack === undefined) throw new Error(`no attack ${name}`);
    try {
      said[name] = `reached ${(await attack(target)) ?? ''}`.trim();
    } catch (error) {
      const { code, message, cause } = error as NodeJS.ErrnoException;
      said[name] =
        `refused ${code ?? message} ${cause instanceof Error ? (cause as NodeJS.ErrnoException).code : ''}`.trim();
    }
  }
  const content = { type: 'text', text: JSON.stringify(said) };
  const update = { sessionUpdate: 'agent_message_chunk', content };
  send({ method: 'session/update', params: { sessionId: 's', update } });
}

let rest = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (chunk: string) => {
  const lines = (rest + chunk).split('\n');
  rest = lines.pop() ?? '';
  for (const line of lines) {
    const { id, method } = JSON.parse(line) as { id?: number; method?: string };
    if (method === 'initialize') send({ id, result: { protocolVersion: 1, agentCapabilities: {} } });
    else if (method === 'session/new') send({ id, result: { sessionId: 's' } });
    else if (method === 'session/prompt') {
      turn().then(
        () => send({ id, result: { stopReason: 'end_turn' } }),
        (error: unknown) => send({ id, error: { code: 1, message: String(error) } }),
      );
    }
  }
});
process.stdin.on('end', () => process.exit(0));
