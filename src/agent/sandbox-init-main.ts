import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, createServer, Socket } from 'node:net';

/**
 * What runs in a sandbox beside the agent: `node sandbox-init-main.ts <port> <socket> <program> …`. It listens on a port of the
 * sandbox's own loopback and passes bytes on to the one socket that leads out, the recorder's proxy; starts the agent on its own
 * stdin, stdout and stderr; and ends when the agent has, which ends everything that is left in the sandbox.
 *
 * Descriptor 3 is a socket to the recorder (see `sandbox/report.ts`): a signal's name a line in, one line of JSON a fact out. An
 * agent can kill this process, or write lines of its own there: it then ends itself, and nothing else.
 *
 * Imports nothing of ours: only this file is there inside.
 */
const [port = '0', socket = '', program = '', ...args] = process.argv.slice(2);
const recorder = new Socket({ fd: 3, readable: true, writable: true });
// Its end is our end, in any case.
recorder.on('error', () => undefined);
/** @param exit ends this process with that code once it is told */
const tell = (fact: object, exit?: number): void =>
  void recorder.write(`${JSON.stringify(fact)}\n`, () => (exit === undefined ? undefined : process.exit(exit)));

const server = createServer({ allowHalfOpen: true, noDelay: true }, (inside) => {
  const outside = connect({ path: socket, allowHalfOpen: true });
  for (const [from, to] of [
    [inside, outside],
    [outside, inside],
  ] as const) {
    from.pipe(to);
    from.on('error', () => to.destroy());
    from.on('close', () => (from.readableEnded ? undefined : to.destroy()));
  }
});
server.on('error', (error) => tell({ failed: error.message }, 125));
server.listen(Number(port), '127.0.0.1', () => {
  const agent = spawn(program, args, { stdio: 'inherit', detached: true });
  const group = (signal: NodeJS.Signals): void => {
    try {
      process.kill(-(agent.pid ?? 0), signal);
    } catch {
      // Nobody is left in it.
    }
  };
  agent.once('spawn', () => tell({ started: true }));
  agent.once('error', ({ code = 'unknown' }: NodeJS.ErrnoException) => tell({ missing: code }, 127));
  agent.once('exit', (code, signal) => {
    end(code, signal).catch(() => process.exit(125));
  });
  let rest = '';
  recorder.setEncoding('latin1');
  recorder.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) group(line as NodeJS.Signals);
  });
  recorder.on('end', () => process.exit(125));

  async function end(code: number | null, signal: NodeJS.Signals | null): Promise<void> {
    group('SIGKILL');
    const members = (): { pid: number; group: number }[] => others().filter((each) => each.group === agent.pid);
    for (let tries = 0; tries < 20 && members().length > 0; tries += 1)
      await new Promise((next) => setTimeout(next, 5));
    tell({ code, signal, left: others().filter((each) => each.group !== agent.pid).length }, code ?? 128);
  }
});

/** Processes of this sandbox beside its first and this one; what is dead and not yet buried is none. */
function others(): { pid: number; group: number }[] {
  return readdirSync('/proc').flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === 1 || pid === process.pid) return [];
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      const [state = 'X', , group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return state === 'Z' || state === 'X' ? [] : [{ pid, group: Number(group) }];
    } catch {
      return [];
    }
  });
}
