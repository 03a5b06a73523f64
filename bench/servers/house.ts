import { startHouse, type House } from '../../src/compose.ts';
import { loadConfig } from '../../src/config.ts';
import { serve } from '../harness/serve.ts';
import { startMeter, watchLoop } from '../harness/source.ts';

/** The whole product, as `aideator serve` starts it. */
let house: House | null = null;
let meter = startMeter();
const loop = watchLoop();

const handlers = {
  open: async ({ home, settings }: { home: string; settings: Record<string, unknown> }) => {
    const { config } = loadConfig({
      env: { HOME: home, PATH: process.env['PATH'] },
      cwd: home,
      // What is measured is ours, and is the same where no sandbox works.
      flags: { port: 0, log_level: 'error', sandbox: { mode: 'off' }, ...settings },
    });
    house = await startHouse(config, { version: '0.0.0-bench' });
    return house.url;
  },
  /** Ends the server as a stop does; its data stays. */
  stop: () => house?.close(),
  /** From here on CPU and the loop's blocks are counted. */
  mark: () => {
    meter = startMeter();
    loop();
  },
  used: () => ({ ...meter.stop(), blockedMs: loop(), rss: process.memoryUsage.rss() }),
};
export type HouseServer = typeof handlers;

serve(handlers, () => house?.close());
