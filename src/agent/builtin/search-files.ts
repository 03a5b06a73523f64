import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, matchesGlob, relative } from 'node:path';
import { promisify } from 'node:util';
import type { SearchFindings, SearchRequest } from './tools/search.ts';

const MOST_LINES = 200;
const LONGEST_LINE = 300;
const LARGEST_FILE = 2 * 1024 * 1024;
const MOST_FILES = 100_000;
const run = promisify(execFile);

/** Looks through the files of a workspace. Rejects where the place to search in does not exist. */
export async function searchFiles(request: SearchRequest): Promise<SearchFindings> {
  const { cwd, root } = request;
  const place = statSync(root, { throwIfNoEntry: false });
  if (place === undefined) throw new Error(`${relative(cwd, root)} does not exist.`);
  const names = place.isDirectory() ? await listFiles(root) : [''];
  const pattern = new RegExp(request.pattern, 'u');
  const lines: string[] = [];
  let files = 0;
  for (const name of names) {
    const file = name === '' ? root : join(root, name);
    const shown = relative(cwd, file);
    if (request.glob !== null && !fits(shown, name, request.glob)) continue;
    const text = textOf(file);
    if (text === null) continue;
    files += 1;
    for (const [index, line] of text.split('\n').entries()) {
      if (!pattern.test(line)) continue;
      if (lines.length === MOST_LINES) return { lines, more: true, files };
      lines.push(`${shown}:${index + 1}: ${line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)} …` : line}`);
    }
  }
  return { lines, more: names.length >= MOST_FILES, files };
}

/** A glob without a slash is of the name alone. */
function fits(shown: string, name: string, glob: string): boolean {
  return (
    matchesGlob(shown, glob) ||
    matchesGlob(name, glob) ||
    (!glob.includes('/') && matchesGlob(shown.slice(shown.lastIndexOf('/') + 1), glob))
  );
}

function textOf(file: string): string | null {
  try {
    const facts = statSync(file);
    if (!facts.isFile() || facts.size > LARGEST_FILE) return null;
    const bytes = readFileSync(file);
    return bytes.subarray(0, 8192).includes(0) ? null : bytes.toString('utf8');
  } catch {
    return null;
  }
}

/** Files below a folder, from it: as git sees them where it does, else all but dependencies. */
async function listFiles(root: string): Promise<string[]> {
  try {
    const { stdout } = await run(
      'git',
      ['-c', 'core.fsmonitor=false', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
      {
        cwd: root,
        maxBuffer: 64 * 1024 * 1024,
      },
    );
    return [...new Set(stdout.split('\0'))].filter((name) => name !== '').slice(0, MOST_FILES);
  } catch {
    return walk(root);
  }
}

function walk(root: string): string[] {
  const files: string[] = [];
  const folders = [''];
  for (let folder = folders.pop(); folder !== undefined && files.length < MOST_FILES; folder = folders.pop()) {
    let entries;
    try {
      entries = readdirSync(join(root, folder), { withFileTypes: true });
    } catch {
      continue;
    }
    for (const entry of entries) {
      const name = join(folder, entry.name);
      if (entry.isFile()) files.push(name);
      else if (entry.isDirectory() && entry.name !== 'node_modules' && entry.name !== '.git') folders.push(name);
    }
  }
  return files;
}
