import { readFileSync, statSync } from 'node:fs';

/**
 * A key in a file, read again whenever the file changes: so it is rotated without a restart, also where a Secret is mounted
 * (its files are links that move). A file that is away or empty, as in the middle of being written, leaves the key as it was.
 *
 * @param initial what was read from it at the start
 * @param onTrouble called once whenever the file begins to be unreadable
 */
export function watchKeyFile(
  path: string,
  initial: string | null,
  onTrouble: (error: unknown) => void,
): () => string | null {
  let key = initial;
  let seen: string | null = null;
  let troubled = false;
  return () => {
    try {
      const { ino, size, mtimeMs } = statSync(path);
      const now = `${ino} ${size} ${mtimeMs}`;
      if (now !== seen) {
        const text = readFileSync(path, 'utf8').trim();
        if (text !== '') {
          key = text;
          seen = now;
        }
      }
      troubled = false;
    } catch (error) {
      if (!troubled) onTrouble(error);
      troubled = true;
    }
    return key;
  };
}
