import type { FileChange } from '../contract/attempt.ts';
import { AppError } from '../errors.ts';

/**
 * The list of changed files, read from `git diff-tree -r -M -z --raw --numstat`. Paths are bytes: inside this room they are
 * kept as latin1 text, one character a byte, so that nothing is lost before they are shown.
 */
export type BytePath = string;

export interface Change {
  file: FileChange;
  path: BytePath;
  oldId: string;
}

const STATUS: Record<string, FileChange['status']> = {
  A: 'added',
  M: 'modified',
  D: 'deleted',
  R: 'renamed',
  C: 'copied',
  T: 'type_changed',
};

/** Parses the output exactly: first all `--raw` entries, then all `--numstat` ones, each of NUL-ended fields. */
export function parseChanges(output: Buffer): Change[] {
  const fields = output.toString('latin1').split('\0');
  const last = fields.pop();
  let at = 0;
  const next = (): string => {
    const field = fields[at++];
    if (field === undefined) throw unreadable('it ends early');
    return field;
  };
  if (last !== '') throw unreadable('it does not end with NUL');

  const changes = new Map<BytePath, Change>();
  while (at < fields.length && fields[at]?.startsWith(':') === true) {
    const [oldMode = '', newMode = '', oldId = '', , letter = ''] = next().slice(1).split(' ');
    const status = STATUS[letter.slice(0, 1)];
    if (status === undefined) throw unreadable(`it has the unknown status ${JSON.stringify(letter)}`);
    const first = next();
    const moved = status === 'renamed' || status === 'copied';
    const path = moved ? next() : first;
    const file: FileChange = {
      ...pathFields(path),
      ...(moved ? { old_path: pathFields(first).path } : {}),
      status,
      additions: null,
      deletions: null,
      binary: false,
      old_mode: oldMode,
      new_mode: newMode,
      test: looksLikeTest(path),
    };
    changes.set(path, { file, path, oldId });
  }
  while (at < fields.length) {
    const [added, deleted, inline] = splitTwice(next());
    // A rename has an empty path here; the old and the new one follow as fields of their own.
    const path = inline === '' ? (next(), next()) : inline;
    const file = changes.get(path)?.file;
    if (file === undefined) throw unreadable(`it counts lines of ${JSON.stringify(path)}, which it does not list`);
    file.binary = added === '-';
    file.additions = file.binary ? null : Number(added);
    file.deletions = file.binary ? null : Number(deleted);
  }
  return [...changes.values()];
}

/** Only the first two tabs separate: a name may have tabs of its own. */
function splitTwice(field: string): [string, string, string] {
  const first = field.indexOf('\t');
  const second = field.indexOf('\t', first + 1);
  return [field.slice(0, first), field.slice(first + 1, second), field.slice(second + 1)];
}

function unreadable(why: string): AppError {
  return new AppError('git_failed', `git's list of changes could not be read: ${why}.`);
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A path as it is shown: UTF-8 as it is; anything else in git's C quoting, with the bytes in base64 beside it. */
export function pathFields(path: BytePath): { path: string; path_base64?: string } {
  const bytes = Buffer.from(path, 'latin1');
  try {
    return { path: decoder.decode(bytes) };
  } catch {
    return { path: cQuoted(bytes), path_base64: bytes.toString('base64') };
  }
}

const ESCAPES: Record<number, string> = {
  7: '\\a',
  8: '\\b',
  9: '\\t',
  10: '\\n',
  11: '\\v',
  12: '\\f',
  13: '\\r',
  34: '\\"',
  92: '\\\\',
};

function cQuoted(bytes: Buffer): string {
  let text = '"';
  for (const byte of bytes) {
    const escape = ESCAPES[byte];
    if (escape !== undefined) text += escape;
    else if (byte < 0x20 || byte >= 0x7f) text += `\\${byte.toString(8).padStart(3, '0')}`;
    else text += String.fromCharCode(byte);
  }
  return `${text}"`;
}

const TEST_FOLDER = /^(tests?|__tests?__|specs?|__specs?__|testdata|__snapshots__|src[-_]?tests?|e2e)$/i;
const TEST_FILE = [
  /[._-](test|tests|spec|specs|e2e|cy)\.[^.]+$/i, // a.test.ts, a_test.go, a-spec.js
  /[._-](test|spec)\.[^.]+\.(snap|golden)$/i,
  /^(test|spec)[_-][^/]*\.[^.]+$/i, // test_a.py
  /^tests?\.[^.]+$/i, // tests.py, test.rs
  /^conftest\.py$/,
  /(Test|Tests|TestCase|Spec|Specs|IT)\.(java|kt|kts|scala|groovy|cs|fs|vb|swift|php|m|mm|dart)$/, // ParserTest.java, ParserTests.cs
];

/**
 * Whether a path looks like a test's. The rule: a folder on the way is named test(s), spec(s), __tests__, testdata, e2e …, or
 * the file is named like `*.test.*`, `*.spec.*`, `*_test.*`, `test_*.*`, `*Test.java`, `*Tests.cs`. A guess by name, no more.
 */
export function looksLikeTest(path: string): boolean {
  const segments = path.split('/');
  const file = segments.pop() ?? '';
  return segments.some((segment) => TEST_FOLDER.test(segment)) || TEST_FILE.some((pattern) => pattern.test(file));
}
