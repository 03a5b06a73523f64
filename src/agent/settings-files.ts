import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { homePath } from '../contract/agent-entry.ts';
import { replaceWords } from './child-env.ts';

/**
 * Writes an agent's settings files into its HOME, which is empty: nothing that is there is written over or followed. Errors: what
 * the file system has to say; a path that leads out of HOME.
 *
 * @param words what stands for what; a value is put in as it has to be spelt within double quotes, in JSON, TOML and YAML alike
 */
export async function writeSettings(
  home: string,
  files: Readonly<Record<string, string>>,
  words: Readonly<Record<string, string>>,
): Promise<void> {
  const spelt = Object.fromEntries(
    Object.entries(words).map(([name, value]) => [name, JSON.stringify(value).slice(1, -1)]),
  );
  for (const [path, text] of Object.entries(files)) {
    // Configuration was checked already; who writes files as somebody told it looks for itself.
    const file = join(home, homePath.parse(path));
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await writeFile(file, replaceWords(text, spelt), { flag: 'wx', mode: 0o600 });
  }
}
