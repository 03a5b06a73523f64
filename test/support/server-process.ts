import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { stringify } from 'yaml';
import { talkTo, testEnv, testSettings, type TestHouse, type TestHouseOptions } from './house.ts';
import { tempDir } from './temp.ts';

/** A server as users start it, in a process of its own that can be killed. */
export interface ServerProcess extends Pick<TestHouse, 'api' | 'submit' | 'over'> {
  readonly url: string;
  readonly home: string;
  readonly dataDir: string;
  /** SIGKILL, and wait until it is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same folder; resolves when it answers. */
  start(): Promise<void>;
  /** What it printed. */
  printed(): string;
}

/** @returns a server that was not started yet. */
export function prepareServer(options: TestHouseOptions = {}): ServerProcess {
  const home = options.home ?? tempDir();
  const settings = testSettings(home, options);
  const config = join(home, 'config.yaml');
  writeFileSync(config, stringify(settings));
  const dataDir = join(home, 'data');
  let child: ChildProcess | null = null;
  let url = '';
  let printed = '';

  const kill = async () => {
    const dying = child;
    if (dying === null || dying.exitCode !== null || dying.signalCode !== null) return;
    await new Promise<void>((resolve) => {
      dying.once('exit', () => resolve());
      dying.kill('SIGKILL');
    });
  };
  onTestFinished(kill);

  return {
    home,
    dataDir,
    get url() {
      return url;
    },
    printed: () => printed,
    kill,
    start: async () => {
      const main = join(import.meta.dirname, '..', '..', 'src', 'main.ts');
      const started = spawn(process.execPath, [main, 'serve', '--port', '0'], {
        cwd: home,
        env: { ...testEnv(home), AIDEATOR_CONFIG: config, ...options.env },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      child = started;
      const note = (chunk: Buffer) => {
        printed += chunk.toString('utf8');
      };
      started.stdout.on('data', note);
      started.stderr.on('data', note);
      for (;;) {
        if (started.exitCode !== null) throw new Error(`the server ended: ${printed}`);
        const facts = readServerFile(dataDir);
        if (facts?.pid === started.pid && facts !== null) {
          url = facts.url;
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    ...talkTo(() => url),
  };
}

function readServerFile(dataDir: string): { url: string; pid: number } | null {
  try {
    return JSON.parse(readFileSync(join(dataDir, 'server.json'), 'utf8')) as { url: string; pid: number };
  } catch {
    return null;
  }
}
