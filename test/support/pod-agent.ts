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
  const { id, method } = JSON.parse(line);
  if (method === 'initialize') send({ id, result: { protocolVersion: 1, agentCapabilities: {} } });
  else if (method === 'session/new') send({ id, result: { sessionId: 's' } });
  else if (method === 'session/cancel') cancelled = true;
  else if (method === 'session/prompt') {
    await work();
    send({ id, result: { stopReason: cancelled ? 'cancelled' : 'end_turn' } });
  }
});
`;

/** Says `count` numbered thoughts of so many bytes, one every so many ms; leaves a file and ends its turn. */
export function talker({ count, everyMs, bytes = 0 }: { count: number; everyMs: number; bytes?: number }): string[] {
  const work = `
async function work() {
  const [count, everyMs, bytes] = args;
  const started = Date.now();
  for (let each = 1; each <= count && !cancelled; each += 1) {
    say('#' + each + ' ' + 'x'.repeat(bytes));
    const ahead = started + each * everyMs - Date.now();
    if (ahead > 0) await pause(ahead);
  }
  require('node:fs').writeFileSync('said.txt', count + '\\n');
}`;
  return ['{node}', '-e', SPEAKS + work, String(count), String(everyMs), String(bytes)];
}

/** The numbers that a {@link talker} was heard to say, in the order of the events. */
export function heard(events: readonly { data: Record<string, unknown> }[]): number[] {
  return events
    .filter((event) => event.data['kind'] === 'agent_thought_chunk')
    .map((event) => Number(/^#(\d+) /.exec(String(event.data['content']))?.[1]));
}
