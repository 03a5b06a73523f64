import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { absolute, shown, writable } from './paths.ts';
import { done, ToolFailure, type AgentTool } from './tool.ts';

/** A longer text is not shown as a difference. Characters. */
export const MOST_SHOWN = 200_000;

const input = z.object({
  path: z.string().min(1).describe('The file, from the workspace.'),
  content: z.string().describe('All of its text.'),
});

/** Makes or replaces a file. */
export const write: AgentTool<z.infer<typeof input>> = {
  description: 'Write a file: make it, folders included, or replace all of it. To change a part of a file use edit.',
  schema: input,
  kind: 'edit',
  title: ({ path }) => `Write ${path}`,
  locations: ({ path }, { cwd }) => [{ path: absolute(path, cwd) }],
  run: async ({ path, content }, { cwd }) => {
    const file = writable(path, cwd);
    const facts = await stat(file).catch(() => null);
    if (facts?.isDirectory() === true) throw new ToolFailure(`${shown(path, cwd)} is a folder.`);
    const small = facts !== null && facts.size <= MOST_SHOWN;
    const oldText = small ? await readFile(file, 'utf8') : null;
    try {
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, content);
    } catch (error) {
      throw new ToolFailure(
        `${shown(path, cwd)} cannot be written: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      );
    }
    const said = `${facts === null ? 'Made' : 'Replaced'} ${shown(path, cwd)} (${Buffer.byteLength(content)} bytes).`;
    const canShow = content.length <= MOST_SHOWN && (facts === null || small);
    return done(said, canShow ? [{ type: 'diff', path: file, oldText, newText: content }] : undefined);
  },
};
