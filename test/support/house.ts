import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { startHouse, type House } from '../../src/compose.ts';
import { loadConfig } from '../../src/config.ts';
import type { Run, SubmitInput } from '../../src/contract/api.ts';
import { isTerminal } from '../../src/contract/run.ts';
import { tempDir } from './temp.ts';

/** A whole house in this process, on a free port, in a folder of its own. */
export interface TestHouse extends House {
  home: string;
  dataDir: string;
  /** A request to the public door; the body as JSON. */
  api<Answer = unknown>(
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ status: number; body: Answer; text: string }>;
  submit(request: SubmitInput): Promise<string>;
  /** The run once it is over. */
  over(runId: string, withinMs?: number): Promise<Run>;
}

export interface TestHouseOptions {
  /** Laid over: any free port, quiet logs, a scripted provider where `script` is given. */
  settings?: Record<string, unknown>;
  /** Text of a script for the provider `scripted`. */
  script?: string;
  /** A folder of an earlier house, to start on what it left. */
  home?: string;
  env?: Record<string, string>;
}

/** The environment of a test's server: its own HOME, and nothing of ours but PATH. */
export function testEnv(home: string): Record<string, string> {
  return { HOME: home, PATH: process.env['PATH'] ?? '' };
}

/** Settings that a test's server starts with. */
export function testSettings(home: string, options: TestHouseOptions): Record<string, unknown> {
  const script = join(home, 'script.yaml');
  if (options.script !== undefined) writeFileSync(script, options.script);
  return {
    port: 0,
    log_level: 'silent',
    data_dir: join(home, 'data'),
    ...(options.script === undefined ? {} : { providers: { scripted: { kind: 'scripted', script } } }),
    ...options.settings,
    // Most tests are of other things; those of the sandbox say so.
    sandbox: { mode: 'off', ...(options.settings?.['sandbox'] as object | undefined) },
  };
}

export async function startTestHouse(options: TestHouseOptions = {}): Promise<TestHouse> {
  const home = options.home ?? tempDir();
  const { config } = loadConfig({
    env: { ...testEnv(home), ...options.env },
    cwd: home,
    flags: testSettings(home, options),
  });
  const house = await startHouse(config, { version: '0.0.0-test' });
  onTestFinished(() => house.close());
  return { ...house, home, dataDir: config.data_dir, ...talkTo(() => house.url) };
}

/** The API of a server, as tests speak it; with a key where it wants one. */
export function talkTo(url: () => string, key?: () => string): Pick<TestHouse, 'api' | 'submit' | 'over'> {
  const api = async <Answer>(method: string, path: string, body?: unknown) => {
    const response = await fetch(`${url()}${path}`, {
      method,
      headers: {
        ...(key === undefined ? {} : { authorization: `Bearer ${key()}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, text, body: (text.startsWith('{') ? JSON.parse(text) : null) as Answer };
  };
  return {
    api,
    submit: async (request) => {
      const { status, body, text } = await api<{ run_id: string }>('POST', '/api/v1/runs', request);
      if (status !== 202) throw new Error(`submission was answered ${status}: ${text}`);
      return body.run_id;
    },
    over: async (runId, withinMs = 60_000) => {
      const until = Date.now() + withinMs;
      for (;;) {
        const { body } = await api<Run>('GET', `/api/v1/runs/${runId}`);
        if (isTerminal(body.status)) return body;
        if (Date.now() > until) throw new Error(`not over: ${JSON.stringify(body, null, 1)}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
  };
}
