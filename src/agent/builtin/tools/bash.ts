import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { signalGroup } from '../../process-identity.ts';
import { createCappedOutput } from './capped-output.ts';
import { ToolFailure, type AgentTool, type ToolOutcome } from './tool.ts';

const KEPT_HALF = 16 * 1024;
const DEFAULT_SECONDS = 120;
const MOST_SECONDS = 1800;
/** How long what a command left in the background may hold its output open. */
const LINGER_MS = 200;

const input = z.object({
  command: z.string().min(1).describe('The command, as for `bash -c`.'),
  timeout_seconds: z
    .number()
    .positive()
    .max(MOST_SECONDS)
    .optional()
    .describe(`After so many seconds it is killed. Default ${DEFAULT_SECONDS}.`),
});

/** A shell command in a process group of its own. */
export const bash: AgentTool<z.infer<typeof input>> = {
  description: `Run a shell command in the workspace. Gives its output (stdout and stderr together; a long one without its middle) and exit code. There is no terminal and no input. The folder is the workspace again each time.`,
  schema: input,
  kind: 'execute',
  title: ({ command }) => firstLine(command),
  locations: () => [],
  run: ({ command, timeout_seconds: seconds = DEFAULT_SECONDS }, { cwd, signal }) =>
    runShell(command, { cwd, signal, seconds }),
};

async function runShell(
  command: string,
  { cwd, signal, seconds }: { cwd: string; signal: AbortSignal; seconds: number },
): Promise<ToolOutcome> {
  signal.throwIfAborted();
  const shell = existsSync('/bin/bash') ? '/bin/bash' : '/bin/sh';
  const child = spawn(shell, ['-c', command], { cwd, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = createCappedOutput(KEPT_HALF);
  child.stdout.on('data', output.push);
  child.stderr.on('data', output.push);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    signalGroup(child.pid, 'SIGKILL');
  }, seconds * 1000);
  const onAbort = (): void => signalGroup(child.pid, 'SIGKILL');
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
    const exit = await new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
      child.once('exit', (code, by) => resolve({ code, signal: by }));
      child.once('error', (error) =>
        reject(new ToolFailure(`The shell could not be started: ${error.message}`, { cause: error })),
      );
    });
    // A process in the background keeps the pipes: its output is not waited for.
    await Promise.race([closed, wait(LINGER_MS)]);
    signal.throwIfAborted();
    const text = output.text().trimEnd();
    const how = timedOut
      ? `[killed: it took longer than ${seconds} s]`
      : exit.signal === null
        ? `[exit code ${exit.code ?? 'unknown'}]`
        : `[ended by ${exit.signal}]`;
    return { text: text === '' ? how : `${text}\n${how}`, failed: timedOut || exit.code !== 0 };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
    child.stdout.destroy();
    child.stderr.destroy();
  }
}

function firstLine(command: string): string {
  const [line = ''] = command.trim().split('\n', 1);
  return line.length > 120 || line.length < command.trim().length ? `${line.slice(0, 120)} …` : line;
}
