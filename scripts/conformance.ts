import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { startHouse, type House } from '../src/compose.ts';
import { loadConfig } from '../src/config.ts';

/**
 * `npm run conformance`: schemathesis (Python, made for this) against a running server that holds a finished run, so that every
 * operation answers with real data too. Needs `python3` with `venv`; installs schemathesis into a folder of its own.
 * Fails on any 5xx, any answer that its OpenAPI document does not describe, and any wrong request that is accepted.
 */

const VERSION = '4.32.5';
/** Requests per operation and phase. */
const EXAMPLES = 30;

const script = `
models:
  worker:
    turns:
      - tools: [{ name: write, input: { path: a.txt, content: "a\\n" } }]
      - text: Done.
`;

const folder = mkdtempSync(join(tmpdir(), 'aideator-conformance-'));
try {
  process.exitCode = await run();
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function run(): Promise<number> {
  const python = join(folder, 'venv', 'bin');
  execFileSync('python3', ['-m', 'venv', join(folder, 'venv')], { stdio: 'inherit' });
  execFileSync(join(python, 'pip'), ['install', '--quiet', `schemathesis==${VERSION}`], { stdio: 'inherit' });

  const repository = join(folder, 'repository');
  mkdirSync(repository);
  for (const args of [
    ['init', '-q'],
    ['commit', '-q', '--allow-empty', '-m', 'base'],
  ]) {
    execFileSync('git', ['-c', 'user.name=c', '-c', 'user.email=c@example.invalid', ...args], { cwd: repository });
  }
  writeFileSync(join(folder, 'script.yaml'), script);
  const { config } = loadConfig({
    // Nothing is really installed: there is no registry there.
    env: {
      PATH: process.env['PATH'],
      HOME: folder,
      npm_config_registry: 'http://127.0.0.1:9',
      npm_config_fetch_retries: '0',
    },
    cwd: folder,
    flags: {
      port: 0,
      log_level: 'error',
      // Runs on machines without bubblewrap as well.
      sandbox: { mode: 'off' },
      data_dir: join(folder, 'data'),
      default_model: 'scripted/worker',
      providers: { scripted: { kind: 'scripted', script: join(folder, 'script.yaml') } },
    },
  });
  const house = await startHouse(config, { version: 'conformance' });
  try {
    const [runId, toForget] = [await finishedRun(house, repository), await finishedRun(house, repository)];
    writeFileSync(
      join(folder, 'schemathesis.toml'),
      `[parameters]
"path.id" = "${runId}"
"path.v" = 1

[[operations]]
include-name = "DELETE /api/v1/runs/{id}"
parameters = { "path.id" = "${toForget}" }
`,
    );
    // A request that fits the schema may still name a repository that does not exist: that check cannot hold here.
    const args = [
      '--phases',
      'examples,coverage,fuzzing',
      '--exclude-checks',
      'positive_data_acceptance',
      '--max-examples',
      String(EXAMPLES),
      '--seed',
      '1',
    ];
    const tested = spawn(
      join(python, 'schemathesis'),
      ['run', `${house.url}/openapi.json`, '--request-timeout', '10', '--continue-on-failure', ...args],
      { cwd: folder, stdio: 'inherit', timeout: 600_000 },
    );
    const [status] = (await once(tested, 'exit')) as [number | null];
    return status ?? 1;
  } finally {
    await house.close();
  }
}

async function finishedRun({ flow }: House, repository: string): Promise<string> {
  const { run_id: runId } = await flow.submit({ repository, prompt: 'Do it.', variations: 2, retries: 0 });
  while ((await flow.status(runId)).status !== 'completed') await new Promise((resolve) => setTimeout(resolve, 100));
  return runId;
}
