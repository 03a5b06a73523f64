import { readdir, readFile, stat } from 'node:fs/promises';
import { z } from 'zod';
import { absolute, shown } from './paths.ts';
import { done, ToolFailure, type AgentTool } from './tool.ts';

const DEFAULT_LINES = 2000;
const MOST_CHARS = 60_000;
const LONGEST_LINE = 2000;
const LARGEST_FILE = 32 * 1024 * 1024;

const input = z.object({
  path: z.string().min(1).describe('The file, from the workspace or absolute; a folder is listed.'),
  offset: z.int().min(1).optional().describe('The first line, counted from 1.'),
  limit: z.int().min(1).optional().describe(`How many lines. Default ${DEFAULT_LINES}.`),
});

/** A file's text, or a folder's entries. */
export const read: AgentTool<z.infer<typeof input>> = {
  description: 'Read a text file, whole or some of its lines. A folder is listed.',
  schema: input,
  kind: 'read',
  title: ({ path }) => `Read ${path}`,
  locations: ({ path, offset }, { cwd }) => [
    { path: absolute(path, cwd), ...(offset === undefined ? {} : { line: offset }) },
  ],
  run: async ({ path, offset = 1, limit = DEFAULT_LINES }, { cwd }) => {
    const file = absolute(path, cwd);
    const facts = await stat(file).catch((error: NodeJS.ErrnoException) => {
      throw new ToolFailure(
        error.code === 'ENOENT'
          ? `${shown(path, cwd)} does not exist.`
          : `${shown(path, cwd)} cannot be read: ${error.message}`,
        { cause: error },
      );
    });
    if (facts.isDirectory()) {
      const entries = await readdir(file, { withFileTypes: true });
      const names = entries.map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name)).toSorted();
      const more = names.length > DEFAULT_LINES ? [`[… ${names.length - DEFAULT_LINES} more entries]`] : [];
      return done([...names.slice(0, DEFAULT_LINES), ...more].join('\n') || '[an empty folder]');
    }
    if (!facts.isFile()) throw new ToolFailure(`${shown(path, cwd)} is not a regular file.`);
    if (facts.size > LARGEST_FILE)
      throw new ToolFailure(
        `${shown(path, cwd)} has ${facts.size} bytes: too many to be read. Use bash for a part of it.`,
      );
    const bytes = await readFile(file);
    if (bytes.subarray(0, 8192).includes(0))
      throw new ToolFailure(`${shown(path, cwd)} is a binary file of ${bytes.length} bytes.`);
    return done(linesOf(bytes.toString('utf8'), offset, limit));
  },
};

function linesOf(text: string, offset: number, limit: number): string {
  if (text === '') return '[an empty file]';
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  if (offset > lines.length) throw new ToolFailure(`The file has ${lines.length} lines; there is no line ${offset}.`);
  const taken: string[] = [];
  let chars = 0;
  for (const line of lines.slice(offset - 1, offset - 1 + limit)) {
    const cut =
      line.length > LONGEST_LINE
        ? `${line.slice(0, LONGEST_LINE)} [… ${line.length - LONGEST_LINE} more characters]`
        : line;
    chars += cut.length + 1;
    if (chars > MOST_CHARS && taken.length > 0) break;
    taken.push(cut);
  }
  const last = offset - 1 + taken.length;
  if (offset === 1 && last === lines.length) return taken.join('\n');
  const on = last < lines.length ? `; go on with offset ${last + 1}` : '';
  return `${taken.join('\n')}\n[lines ${offset} to ${last} of ${lines.length}${on}]`;
}
