import { field } from './field.ts';

/** The paths that a tool call names, wherever ACP and the known agents put them. What an agent sends is of any shape. */
export interface NamedPaths {
  paths: string[];
  /** It names more than is looked at. */
  tooMany: boolean;
}

/** Paths of one call that are looked at. */
const MAX_PATHS = 200;
/** Members of a raw input that are looked at, and how deep. */
const MAX_MEMBERS = 5000;
const MAX_DEPTH = 16;

/** Members whose value is a path, whatever it looks like: `path`, `file_path`, `notebookPath`, `cwd`, `working-directory` … */
const PATH_NAME =
  /(?:path|paths|file|files|filename|filenames|dir|dirs|directory|directories|folder|folders|cwd|root|destination)$/;
/** Members whose value is text, which may begin like a path without being one. A command is the sandbox's business. */
const TEXT_NAME =
  /^(?:content|contents|text|oldtext|newtext|oldstring|newstring|oldstr|newstr|filetext|command|cmd|script|description|explanation|prompt|query|pattern|regex|glob|patch|diff|unifieddiff|input|message|reason|title|todos)$/;
/** What is a path under any other name. */
const LIKE_A_PATH = /^(?:\/|~(?:\/|$)|\.\.(?:\/|$)|file:)/i;

/** @param call an ACP tool call, or an update of one: `locations`, `content` with diffs, `rawInput` */
export function namedPaths(call: unknown): NamedPaths {
  const paths = new Set<string>();
  let members = 0;
  let tooMany = false;

  function add(path: unknown): void {
    if (typeof path !== 'string' || path === '') return;
    if (paths.size >= MAX_PATHS && !paths.has(path)) tooMany = true;
    else paths.add(path);
  }

  /** @param name of the member that the value stands under, in small letters without `_` and `-` */
  function look(value: unknown, name: string, depth: number): void {
    members += 1;
    if (members > MAX_MEMBERS || depth > MAX_DEPTH) {
      tooMany = true;
      return;
    }
    if (typeof value === 'string') {
      if (PATH_NAME.test(name) || (!TEXT_NAME.test(name) && isLikeAPath(value))) add(value);
    } else if (Array.isArray(value)) {
      for (const each of value) {
        if (tooMany) return;
        look(each, name, depth + 1);
      }
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, member] of Object.entries(value)) {
        if (tooMany) return;
        // Codex names the files of a change as members.
        if (isLikeAPath(key)) add(key);
        look(member, key.toLowerCase().replaceAll(/[_-]/g, ''), depth + 1);
      }
    }
  }

  for (const each of listOf(field(call, 'locations'))) add(field(each, 'path'));
  for (const each of listOf(field(call, 'content'))) if (field(each, 'type') === 'diff') add(field(each, 'path'));
  look(field(call, 'rawInput'), '', 0);
  return { paths: [...paths], tooMany };
}

function isLikeAPath(text: string): boolean {
  return LIKE_A_PATH.test(text) && text.length <= 4096 && !/[\r\n]/.test(text);
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
