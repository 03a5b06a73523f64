import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';

/** What the model is told before anything else: who it is, and what the project wants of it. */

const OWN = `You are a coding agent. You work alone in a copy of a repository, and nobody can answer a question: where something is unclear, decide what the person who asked most likely wants, and say so at the end.

How you work
- First look: read what the task is about (search, read) before you change anything.
- Change as little as the task needs, in the style of the code around it. Do not touch what has nothing to do with it.
- Then prove it: run the project's own tests or checks where there are any, and mend what you broke.
- Your work is the state of the files when you stop. You need not commit; do not push.
- Never make up results. If something could not be done or checked, say so.
- When the task is done, stop calling tools and answer with a short summary: what was changed and how it was checked.`;

/** Most bytes of one instruction file, and of all of them. */
const MOST_OF_ONE = 32 * 1024;
const MOST_OF_ALL = 64 * 1024;

/** The instructions for a session in a folder. */
export async function instructionsFor(cwd: string): Promise<string> {
  const parts = [
    OWN,
    `The workspace is ${cwd}. Platform: ${process.platform}. Today is ${new Date().toISOString().slice(0, 10)}.`,
  ];
  let left = MOST_OF_ALL;
  for (const folder of foldersFromTop(cwd)) {
    const found = await readProjectFile(folder);
    if (found === null || left <= 0) continue;
    const text = cut(found.text, Math.min(left, MOST_OF_ONE));
    left -= Buffer.byteLength(text);
    parts.push(`Instructions of the project, from ${relative(cwd, found.path) || found.name}:\n\n${text}`);
  }
  return parts.join('\n\n');
}

/** AGENTS.md of a folder; CLAUDE.md where there is none. */
async function readProjectFile(folder: string): Promise<{ name: string; path: string; text: string } | null> {
  for (const name of ['AGENTS.md', 'CLAUDE.md']) {
    const path = join(folder, name);
    try {
      const text = (await readFile(path, 'utf8')).trim();
      if (text !== '') return { name, path, text };
    } catch {
      // Not there, or a folder of that name.
    }
  }
  return null;
}

/** From the repository's top down to the folder; the folder alone where it is in no repository. */
function foldersFromTop(cwd: string): string[] {
  const folders: string[] = [];
  for (let folder = resolve(cwd); ; folder = dirname(folder)) {
    folders.unshift(folder);
    if (existsSync(join(folder, '.git'))) return folders;
    if (dirname(folder) === folder) return [resolve(cwd)];
  }
}

function cut(text: string, most: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= most) return text;
  let end = most;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return `${bytes.toString('utf8', 0, end)}\n[… ${bytes.length - end} bytes of this file are left out …]`;
}
