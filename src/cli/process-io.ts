import { readFileSync } from 'node:fs';
import { processEnvironment } from '../config.ts';
import { askSecret } from './ask-secret.ts';
import type { Io, Output } from './io.ts';

/** This process as the CLI's world. `flushed` resolves when all output is out of our hands. */
export function processIo(given: Pick<Io, 'version' | 'program' | 'startHouse'>): Io & { flushed(): Promise<void> } {
  const [stdout, stderr] = [outputOf(process.stdout), outputOf(process.stderr)];
  return {
    ...given,
    env: processEnvironment(),
    stdout,
    stderr,
    cwd: process.cwd(),
    now: () => Date.now(),
    async readStdin() {
      const chunks: Buffer[] = [];
      for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk as Uint8Array));
      return Buffer.concat(chunks);
    },
    askSecret: (question) => (process.stdin.isTTY ? askSecret(question, process.stdin, process.stderr) : null),
    onSignal(listener) {
      const interrupt = (): void => listener('interrupt');
      const terminate = (): void => listener('terminate');
      process.on('SIGINT', interrupt).on('SIGTERM', terminate).on('SIGHUP', terminate);
      return () => {
        process.off('SIGINT', interrupt).off('SIGTERM', terminate).off('SIGHUP', terminate);
      };
    },
    onExit(listener) {
      process.once('exit', listener);
      return () => void process.off('exit', listener);
    },
    rawArguments,
    async flushed() {
      await Promise.all(
        [process.stdout, process.stderr].map(
          (stream) => new Promise((resolve) => (stream.writable ? stream.write('', resolve) : resolve(null))),
        ),
      );
    },
  };
}

function outputOf(stream: NodeJS.WriteStream): Output {
  // Whoever reads may have had enough (`aideator logs last | head`): that is no error of ours.
  let open = true;
  stream.on('error', () => {
    open = false;
  });
  return {
    write(text) {
      if (open) stream.write(text);
    },
    isTTY: stream.isTTY,
    get columns() {
      return stream.columns || 80;
    },
    get rows() {
      return stream.rows || 24;
    },
  };
}

/** The arguments as the bytes they are, where the system tells (Linux): Node has replaced what is not UTF-8. */
function rawArguments(): Buffer | null {
  try {
    return readFileSync('/proc/self/cmdline');
  } catch {
    return null;
  }
}
