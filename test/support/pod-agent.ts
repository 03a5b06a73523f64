/**
 * ACP agents for pods, where only what is in the image can be started: a few lines for `node -e`, given as a command of the
 * configuration. They need no model.
 */

const SPEAKS = `
const send = (message) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\\n');
const say = (text, kind = 'agent_thought_chunk') =>
  send({ method: 'session/update', params: { sessionId: 's', update: { sessionUpdate: kind, content: { type: 'text', text } } } });
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const args = process.argv.slice(1).map(Number);
let cancelled = false;
require('node:readline').createInterface({ input: process.stdin }).on('line', async (line) => {
  const { id, method, params } = JSON.parse(line);
  if (method === 'initialize') send({ id, result: { protocolVersion: 1, agentCapabilities: {} } });
  else if (method === 'session/new') send({ id, result: { sessionId: 's' } });
  else if (method === 'session/cancel') cancelled = true;
  else if (method === 'session/prompt') {
    await work(params);
    send({ id, result: { stopReason: cancelled ? 'cancelled' : 'end_turn' } });
  }
});
`;

/** While it is not there, a {@link talker} goes on. */
export const ENOUGH = '/tmp/enough';

/** Says `count` numbered thoughts of so many bytes, one every so many ms, or until {@link ENOUGH}; leaves a file and ends its turn. */
export function talker({ count, everyMs, bytes = 0 }: { count: number; everyMs: number; bytes?: number }): string[] {
  const work = `
async function work() {
  const [count, everyMs, bytes] = args;
  const { existsSync, writeFileSync } = require('node:fs');
  const started = Date.now();
  let each = 0;
  while (each < count && !cancelled && !existsSync('${ENOUGH}')) {
    each += 1;
    say('#' + each + ' ' + 'x'.repeat(bytes));
    const ahead = started + each * everyMs - Date.now();
    if (ahead > 0) await pause(ahead);
  }
  writeFileSync('said.txt', each + '\\n');
}`;
  return ['{node}', '-e', SPEAKS + work, String(count), String(everyMs), String(bytes)];
}

/** The numbers that a {@link talker} was heard to say, in the order of the events. */
export function heard(events: readonly { data: Record<string, unknown> }[]): number[] {
  return events
    .filter((event) => event.data['kind'] === 'agent_thought_chunk')
    .map((event) => Number(/^#(\d+) /.exec(String(event.data['content']))?.[1]));
}

/** What somebody tries to reach, and what is to come of it. */
export interface Target {
  name: string;
  host: string;
  port: number;
  /** Asked for over HTTP, once there is a connection; the status is then what is seen. */
  path?: string;
  headers?: Record<string, string>;
  /** `open`, `closed`, or an HTTP status. */
  expected: string;
}

export interface Seen {
  name: string;
  /** What was seen last: as expected, or still not after 25 s. */
  seen: string;
  /** Why it is closed, in the words of Node. */
  why?: string;
}

/**
 * A connection of its own for each try, as rules hold for new ones. They follow a new pod after some seconds: so each is tried until
 * it is as it should be.
 */
const PROBES = `
const connected = ({ host, port }) => new Promise((done) => {
  const socket = require('node:net').connect({ host, port, timeout: 2000 });
  const end = (seen, why) => { socket.destroy(); done({ seen, why }); };
  socket.once('connect', () => end('open'));
  socket.once('timeout', () => end('closed', 'timeout'));
  socket.once('error', ({ code }) => end('closed', code));
});
const asked = ({ host, port, path, headers }) => new Promise((done) => {
  const request = require('node:http').get({ host, port, path, headers, agent: false, timeout: 2000 });
  request.once('response', (response) => { response.destroy(); done({ seen: String(response.statusCode) }); });
  request.once('timeout', () => request.destroy(new Error('timeout')));
  request.once('error', (error) => done({ seen: 'closed', why: error.code ?? error.message }));
});
const probe = async (target) => {
  for (const until = Date.now() + 25_000; ;) {
    const found = await (target.path === undefined ? connected(target) : asked(target));
    if (found.seen === target.expected || Date.now() > until) return { name: target.name, ...found };
    await new Promise((done) => setTimeout(done, 500));
  }
};
const probeAll = (targets) => Promise.all(targets.map(probe));
`;

/** The port that a {@link prober} listens on. */
export const PROBER_PORT = 9999;

/**
 * Tries the {@link Target}s that are in its prompt as a JSON array, and itself at its own address; says what it has {@link Seen}, as
 * JSON. Then it listens until it is cancelled.
 */
export function prober(): string[] {
  const work = `
async function work({ prompt }) {
  const text = prompt.map((block) => block.text ?? '').join('');
  const targets = JSON.parse(text.slice(text.indexOf('['), text.lastIndexOf(']') + 1));
  const server = require('node:net').createServer((socket) => socket.end()).listen(${PROBER_PORT});
  const [own] = Object.values(require('node:os').networkInterfaces()).flat().filter(({ internal }) => !internal);
  const itself = { name: 'itself', host: own.address, port: ${PROBER_PORT}, expected: 'open' };
  say(JSON.stringify(await probeAll([itself, ...targets])), 'agent_message_chunk');
  while (!cancelled) await pause(50);
  server.close();
}`;
  return ['{node}', '-e', SPEAKS + PROBES + work];
}

/** The same from any container with Node: arguments of `node`; prints what was {@link Seen}. */
export function probeOnce(targets: readonly Target[]): string[] {
  return ['-e', `${PROBES}probeAll(${JSON.stringify(targets)}).then((all) => console.log(JSON.stringify(all)))`];
}
