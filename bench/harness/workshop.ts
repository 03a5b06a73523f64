import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What runs need: a repository, agents, a model that nobody asks. */

const ECHO = fileURLToPath(new URL('../agents/echo.sh', import.meta.url));

export interface Workshop {
  repository: string;
  /** Settings of the server: the agents `echo` and, with a file of lines, `flood`. */
  settings: Record<string, unknown>;
}

/** @param flood a file of lines that the agent `flood` prints as fast as it is read. */
export function makeWorkshop(folder: string, flood?: string): Workshop {
  const repository = join(folder, 'repository');
  mkdirSync(join(repository, 'src'), { recursive: true });
  for (let file = 0; file < 20; file += 1) {
    writeFileSync(join(repository, 'src', `part-${file}.ts`), `export const part = ${file};\n`.repeat(50));
  }
  writeFileSync(join(repository, 'README.md'), '# A small repository\n');
  const git = (...args: string[]) =>
    execFileSync('git', args, {
      cwd: repository,
      stdio: 'ignore',
      env: {
        PATH: process.env['PATH'],
        HOME: folder,
        GIT_CONFIG_NOSYSTEM: '1',
        GIT_AUTHOR_NAME: 'Bench',
        GIT_AUTHOR_EMAIL: 'bench@example.com',
        GIT_COMMITTER_NAME: 'Bench',
        GIT_COMMITTER_EMAIL: 'bench@example.com',
      },
    });
  git('init', '-q', '-b', 'main');
  git('add', '-A');
  git('commit', '-q', '-m', 'First');
  const script = join(folder, 'script.yaml');
  writeFileSync(script, 'models:\n  none:\n    turns:\n      - { text: Nobody asks. }\n');
  return {
    repository,
    settings: {
      data_dir: join(folder, 'data'),
      max_parallel: 32,
      default_model: 'scripted/none',
      providers: { scripted: { kind: 'scripted', script } },
      limits: { max_output_bytes: 1024 * 1024 * 1024 },
      agents: {
        echo: { command: ['sh', ECHO] },
        ...(flood === undefined ? {} : { flood: { command: ['sh', ECHO], env: { FLOOD: flood } } }),
      },
    },
  };
}

/** An ACP message of 200 bytes, line break included, as agents stream their thoughts. */
export function sampleLine(): string {
  const head =
    '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"bench","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"';
  const tail = '"}}}}\n';
  return `${head}${'a thought in words '.repeat(10).slice(0, 200 - head.length - tail.length)}${tail}`;
}
