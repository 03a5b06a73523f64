import { Agent, request } from 'node:http';
import type { BenchCase } from '../bench-case.ts';
import { median } from '../bench-case.ts';
import type { GatewayServer } from '../servers/gateway.ts';
import type { ProviderServer } from '../servers/provider.ts';

/** A conversation of some length, as harnesses send it with every call (50 kB). */
const BODY = JSON.stringify({
  model: 'm',
  stream: true,
  max_tokens: 1000,
  messages: [{ role: 'user', content: 'word '.repeat(10_000) }],
});

/** Milliseconds from the request to the first byte of the answer's body, on a connection that is kept. */
function firstByte(agent: Agent, url: string): Promise<number> {
  const from = performance.now();
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/v1/chat/completions`, { method: 'POST', agent }, (response) => {
      let first = 0;
      response.on('data', () => (first ||= performance.now() - from));
      response.on('end', () => (response.statusCode === 200 ? resolve(first) : reject(new Error('it was refused'))));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(BODY);
  });
}

/** What the gateway adds to the time until an agent hears the first byte: the check, the reservation on disk, the way. */
export const firstByteCase: BenchCase = {
  name: 'first-byte',
  row: 'G1',
  run: async (context) => {
    const provider = await context.start<ProviderServer>(new URL('../servers/provider.ts', import.meta.url), {
      core: 1,
    });
    const direct = await provider.call('open');
    const gateway = await context.start<GatewayServer>(new URL('../servers/gateway.ts', import.meta.url), { core: 0 });
    const through = await gateway.call('open', { folder: context.folder(), provider: direct });
    const calls = context.pick({ tiny: 5, quick: 300, full: 1000 });
    const agent = new Agent({ keepAlive: true });
    const added: number[] = [];
    const ways: Record<'direct' | 'through', number[]> = { direct: [], through: [] };
    for (let round = 0; round < context.pick({ tiny: 1, quick: 4, full: 6 }); round++) {
      const times: typeof ways = { direct: [], through: [] };
      // In turn: whatever else the machine does disturbs both.
      for (let call = 0; call < calls; call++) {
        times.direct.push(await firstByte(agent, direct));
        times.through.push(await firstByte(agent, through));
      }
      // The first warms both up.
      if (round === 0 && context.effort !== 'tiny') continue;
      ways.direct.push(median(times.direct));
      ways.through.push(median(times.through));
      added.push(median(times.through) - median(times.direct));
    }
    agent.destroy();
    return [
      {
        what: '50 kB request, time to first byte added by the gateway, p50',
        unit: 'ms',
        rounds: added,
        goal: { atMost: 2 },
      },
      {
        what: '50 kB request, time to first byte through the gateway, p50',
        unit: 'ms',
        rounds: ways.through,
        beside: { name: 'straight to the provider', rounds: ways.direct },
      },
    ];
  },
};
