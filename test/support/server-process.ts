import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { stringify } from 'yaml';
import { talkTo, testEnv, testSettings, type TestHouse, type TestHouseOptions } from './house.ts';
import { tempDir } from './temp.ts';

/** A server as users start it, in a process of its own that can be killed. */
export interface ServerProcess extends Pick<TestHouse, 'api' | 'submit' | 'over'> {
  readonly url: string;
  readonly pid: number;
  readonly home: string;
  readonly dataDir: string;
  /** SIGKILL, and wait until it is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same folder; resolves when it answers. */
  start(): Promise<void>;
  /** What it printed. */
  printed(): string;
}

/**
 * @param options.volume the size of a volume of its own for its data directory (tmpfs in a mount namespace), like `24m`
 * @returns a server that was not started yet
 */
export function prepareServer(options: TestHouseOptions & { volume?: string } = {}): ServerProcess {
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
    get pid() {
      return child?.pid ?? 0;
    },
    get url() {
      return url;
    },
    printed: () => printed,
    kill,
    start: async () => {
      const main = join(import.meta.dirname, '..', '..', 'src', 'main.ts');
      const command = [process.execPath, main, 'serve', '--port', '0'];
      const [program = '', ...args] =
        options.volume === undefined ? command : [...onVolume(options.volume, dataDir), ...command];
      const started = spawn(program, args, {
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
        const facts = readServerFile(started.pid ?? 0, dataDir);
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

function onVolume(size: string, dataDir: string): string[] {
  mkdirSync(dataDir, { recursive: true });
  const script = `mount -t tmpfs -o size=${size} tmpfs "$0" && exec "$@"`;
  return ['unshare', '--map-root-user', '--mount', 'sh', '-c', script, dataDir];
}

/** A path as a process sees it, also on volumes that only it has. */
export function seenBy(pid: number, path: string): string {
  return join('/proc', String(pid), 'root', path);
}

function readServerFile(pid: number, dataDir: string): { url: string; pid: number } | null {
  try {
    return JSON.parse(readFileSync(seenBy(pid, join(dataDir, 'server.json')), 'utf8')) as { url: string; pid: number };
  } catch {
    return null;
  }
}
