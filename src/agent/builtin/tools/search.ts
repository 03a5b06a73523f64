import { execFile } from 'node:child_process';
import { extname, join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { absolute } from './paths.ts';
import { done, ToolFailure, type AgentTool } from './tool.ts';

/** A pattern can take for ever on some texts: the search runs in a process that can be ended. */
const MOST_MS = 20_000;

const run = promisify(execFile);

const input = z.object({
  pattern: z.string().min(1).describe('A regular expression of JavaScript, matched line by line.'),
  path: z.string().optional().describe('A file or folder to search in; the workspace when left out.'),
  glob: z.string().optional().describe('Only files whose path fits, e.g. `src/**/*.ts` or `*.md`.'),
});

export interface SearchRequest {
  cwd: string;
  /** Absolute. */
  root: string;
  pattern: string;
  glob: string | null;
}

export interface SearchFindings {
  /** `path:line: text`. */
  lines: string[];
  /** Matches beyond those, and files that were too large; null where not all files were looked at. */
  more: boolean;
  files: number;
}

/** Text in the workspace's files: those that git knows or would add. */
export const search: AgentTool<z.infer<typeof input>> = {
  description:
    'Search the text files of the workspace (tracked by git, or new and not ignored) for a regular expression. Gives path:line: text.',
  schema: input,
  kind: 'search',
  title: ({ pattern, path, glob }) =>
    `Search ${pattern}${path === undefined ? '' : ` in ${path}`}${glob === undefined ? '' : ` (${glob})`}`,
  locations: ({ path }, { cwd }) => (path === undefined ? [] : [{ path: absolute(path, cwd) }]),
  run: async ({ pattern, path, glob }, { cwd, signal }) => {
    try {
      RegExp(pattern, 'u');
    } catch (error) {
      throw new ToolFailure(
        `The pattern is not a regular expression: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      );
    }
    const found = await inProcess({ cwd, root: absolute(path ?? '.', cwd), pattern, glob: glob ?? null }, signal);
    if (found.lines.length === 0) return done(`No match in ${found.files} files.`);
    return done(
      [...found.lines, ...(found.more ? ['[… there are more: narrow the pattern, the path or the glob]'] : [])].join(
        '\n',
      ),
    );
  },
};

async function inProcess(request: SearchRequest, signal: AbortSignal): Promise<SearchFindings> {
  const file = join(import.meta.dirname, '..', '..', `search-main${extname(import.meta.filename)}`);
  let said: string;
  try {
    const { stdout } = await run(process.execPath, [file, JSON.stringify(request)], {
      signal,
      timeout: MOST_MS,
      killSignal: 'SIGKILL',
      maxBuffer: 4 * 1024 * 1024,
    });
    said = stdout;
  } catch (error) {
    signal.throwIfAborted();
    const { killed, message } = error as { killed?: boolean; message: string };
    throw new ToolFailure(
      killed === true
        ? `The search took longer than ${MOST_MS / 1000} s: use a simpler pattern, or narrow the path.`
        : `The search failed: ${message}`,
      { cause: error },
    );
  }
  const found = JSON.parse(said) as SearchFindings | { failure: string };
  if ('failure' in found) throw new ToolFailure(found.failure);
  return found;
}
