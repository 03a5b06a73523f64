import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

/** A prompt that is to be the session's next turn. Numbers rise, and each is taken once. */
export interface NextPrompt {
  no: number;
  text: string;
}

/** Where a recorder looks for what its agent is to do next, whenever a turn ends. */
export interface PromptSource {
  /** The first prompt behind that number; null where none waits. The signal ends the asking. Errors are as good as null. */
  next(after: number, signal: AbortSignal): Promise<NextPrompt | null>;
}

const promptFile = z.object({ text: z.string() });
const NAME = /^(\d{1,15})\.json$/;

/** Puts a prompt where {@link promptsIn} finds it. False where the attempt's directory is not there (any more). */
export async function putPrompt(directory: string, { no, text }: NextPrompt): Promise<boolean> {
  const folder = join(directory, 'prompts');
  try {
    await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    });
    const part = join(folder, `${no}.part`);
    await writeFile(part, JSON.stringify({ text }), { mode: 0o600 });
    await rename(part, join(folder, `${no}.json`));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** The prompts in an attempt's directory: a file each, which is there before it is looked for, so that nobody has to be signalled. */
export function promptsIn(directory: string): PromptSource {
  const folder = join(directory, 'prompts');
  return {
    next: async (after) => {
      const names = await readdir(folder).catch(() => []);
      const numbers = names.flatMap((name) => NAME.exec(name)?.[1] ?? []).map(Number);
      const remove = (no: number): Promise<void> => rm(join(folder, `${no}.json`), { force: true });
      // Handed over once more, after it was taken.
      for (const no of numbers.filter((each) => each <= after)) await remove(no).catch(() => undefined);
      for (const no of numbers.filter((each) => each > after).toSorted((a, b) => a - b)) {
        try {
          const prompt = { no, ...promptFile.parse(JSON.parse(await readFile(join(folder, `${no}.json`), 'utf8'))) };
          // The store has it: what may hold a key of the user's is not left lying beside the agent.
          await remove(no);
          return prompt;
        } catch {
          // Not one of ours.
        }
      }
      return null;
    },
  };
}
