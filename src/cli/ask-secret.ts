import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';

/**
 * Asks for a secret on a terminal: nothing of what is typed is shown, line editing works. Null where the person gave up (Ctrl-C,
 * Ctrl-D).
 */
export async function askSecret(
  question: string,
  input: NodeJS.ReadStream,
  output: NodeJS.WritableStream,
): Promise<string | null> {
  output.write(question);
  // The line editor echoes into this.
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const line = createInterface({ input, output: nowhere, terminal: true });
  const gaveUp = new Promise<null>((resolve) =>
    line.once('close', () => resolve(null)).once('SIGINT', () => resolve(null)),
  );
  try {
    return await Promise.race([line.question(''), gaveUp]);
  } finally {
    line.close();
    output.write('\n');
  }
}
