import { readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { absolute, shown, writable } from './paths.ts';
import { done, ToolFailure, type AgentTool } from './tool.ts';
import { MOST_SHOWN } from './write.ts';

const input = z.object({
  path: z.string().min(1).describe('The file, from the workspace.'),
  old_text: z
    .string()
    .min(1)
    .describe('The text to replace, exactly as it stands in the file, blanks and line breaks included.'),
  new_text: z.string().describe('The text in its place.'),
  replace_all: z.boolean().optional().describe('Replace every occurrence. Otherwise there must be exactly one.'),
});

/** Replaces text in a file. */
export const edit: AgentTool<z.infer<typeof input>> = {
  description:
    'Replace text in a file. old_text must stand in it exactly once, unless replace_all is true: give enough lines around it.',
  schema: input,
  kind: 'edit',
  title: ({ path }) => `Edit ${path}`,
  locations: ({ path }, { cwd }) => [{ path: absolute(path, cwd) }],
  run: async ({ path, old_text: oldText, new_text: newText, replace_all: all = false }, { cwd }) => {
    const file = writable(path, cwd);
    const name = shown(path, cwd);
    const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
      throw new ToolFailure(
        error.code === 'ENOENT'
          ? `${name} does not exist; use write to make it.`
          : `${name} cannot be read: ${error.message}`,
        { cause: error },
      );
    });
    const text = bytes.toString('utf8');
    // What is not UTF-8 would come back as something else.
    if (!Buffer.from(text).equals(bytes)) throw new ToolFailure(`${name} is not a UTF-8 text file.`);
    if (oldText === newText) throw new ToolFailure('old_text and new_text are the same.');
    const pieces = text.split(oldText);
    const count = pieces.length - 1;
    if (count === 0) throw new ToolFailure(`old_text was not found in ${name}.${hintFor(text, oldText)}`);
    if (count > 1 && !all)
      throw new ToolFailure(`old_text stands ${count} times in ${name}: give more lines around it, or replace_all.`);
    await writeFile(file, pieces.join(newText));
    const canShow = oldText.length + newText.length <= MOST_SHOWN;
    return done(
      `Replaced ${count === 1 ? 'it' : `${count} occurrences`} in ${name}.`,
      canShow ? [{ type: 'diff', path: file, oldText, newText }] : undefined,
    );
  },
};

/** Why it may not have been found. */
function hintFor(text: string, oldText: string): string {
  if (text.includes('\r\n') && text.replaceAll('\r\n', '\n').includes(oldText))
    return ' The file has CRLF line ends; old_text has LF.';
  const loosely = (each: string): string => each.replaceAll(/\s+/g, ' ').trim();
  if (loosely(text).includes(loosely(oldText)))
    return ' It is there with other blanks or line breaks: read the lines and copy them exactly.';
  return ' Read the file and copy the text exactly.';
}
