import type { Finder } from '../../redaction/finder.ts';
import { createWithPiece, PIECES } from '../../redaction/pieces.ts';
import { redactJson, WITHHELD, type OnFound } from '../../redaction/redact.ts';
import { createTextStream, type TextStream } from '../../redaction/text-stream.ts';

/** What an agent says, message by message, without its secrets. */
export interface Said {
  /**
   * Takes a message: its line, and what that means. It is written in its turn; a piece of a text may wait for what follows it, and the
   * messages behind it for no longer.
   */
  take(text: string, value: unknown): void;
  /** Writes what waits. */
  flush(): void;
}

export interface SaidOptions {
  finder: Finder;
  /** Whom to tell of a secret in something of this kind. */
  foundIn(where: string): OnFound;
  write(text: string): void;
}

/** How long a piece waits for the next (ms): an agent that falls silent in the middle of a word is seen to have said it. */
const PATIENCE_MS = 1000;
/** Texts that are remembered: of so many sessions and kinds, and of so many tools under way. */
const MOST_TEXTS = 16;
const MOST_TOOLS = 64;
const MOST_LEAVES = 64;

interface Update {
  sessionUpdate?: unknown;
  content?: unknown;
  toolCallId?: unknown;
}

/** A text of a tool: what it showed last, and where that goes on. */
interface Leaf {
  stream: TextStream;
  shown: string;
  length: number;
}

export function createSaid({ finder, foundIn, write }: SaidOptions): Said {
  const texts = new Map<string, TextStream>();
  const withPiece = createWithPiece(finder);
  const tools = new Map<string, Map<string, Leaf>>();
  /** Messages whose pieces wait, all of one text. */
  const waiting: { text: string; piece: string }[] = [];
  let current: TextStream | null = null;
  let timer: NodeJS.Timeout | undefined;

  function writePieces(pieces: readonly string[], kind: string): void {
    const messages = waiting.splice(0, pieces.length);
    for (const [index, { text, piece }] of messages.entries()) {
      const clean = pieces[index] ?? '';
      write(withPiece(text, { piece, clean }, foundIn(kind)));
    }
  }

  function flush(): void {
    clearTimeout(timer);
    timer = undefined;
    if (current === null || waiting.length === 0) return;
    writePieces(current.flush(), 'text');
  }

  function takePiece(text: string, key: string, kind: string, piece: string): void {
    const stream = kept(texts, key, MOST_TEXTS, () => createTextStream(finder, foundIn(kind)));
    if (stream !== current) flush();
    current = stream;
    waiting.push({ text, piece });
    writePieces(stream.take(piece), kind);
    if (waiting.length === 0) {
      clearTimeout(timer);
      timer = undefined;
    } else {
      timer ??= setTimeout(flush, PATIENCE_MS).unref();
    }
  }

  /** A tool's texts go on from update to update, or each says anew all that there is. */
  function takeTool(text: string, id: string, update: object): void {
    const leaves = kept(tools, id, MOST_TOOLS, () => new Map<string, Leaf>());
    const changed = new Map<string, string>();
    for (const [path, value] of stringsOf(update)) {
      const leaf = leaves.get(path);
      const isAnew = leaf === undefined || (value.length >= leaf.length && value.startsWith(leaf.shown));
      const stream = isAnew ? createTextStream(finder, foundIn('tool')) : leaf.stream;
      const clean = [...stream.take(value), ...stream.flush()].join('');
      if (clean !== value) changed.set(path, clean);
      if (leaves.size < MOST_LEAVES || leaf !== undefined) {
        leaves.set(path, { stream, shown: value.slice(0, 64), length: value.length });
      }
    }
    write(redactJson(finder, changed.size === 0 ? text : withStrings(text, changed), foundIn('tool')));
  }

  return {
    flush,
    take: (text, value) => {
      const params = memberOf(value, 'params');
      const update = memberOf(params, 'update') as Update | null | undefined;
      const kind = update?.sessionUpdate;
      const session = memberOf(params, 'sessionId');
      if (update != null && PIECES.has(kind)) {
        const piece = memberOf(update.content, 'text');
        if (typeof piece === 'string') {
          takePiece(text, `${String(session)} ${String(kind)}`, String(kind), piece);
          return;
        }
      }
      flush();
      if (update != null && typeof update.toolCallId === 'string') {
        takeTool(text, `${String(session)} ${update.toolCallId}`, update);
        return;
      }
      write(redactJson(finder, text, foundIn(typeof kind === 'string' ? kind : 'acp')));
    },
  };
}

function withStrings(text: string, changed: ReadonlyMap<string, string>): string {
  const message = JSON.parse(text) as { params: { update: object } };
  for (const [path, , holder, name] of stringsOf(message.params.update)) {
    const clean = changed.get(path);
    if (clean !== undefined) Reflect.set(holder, name, clean);
  }
  try {
    return JSON.stringify(message);
  } catch {
    return WITHHELD;
  }
}

/** All strings within a value, with where they are. */
function* stringsOf(value: object): Generator<[path: string, text: string, holder: object, name: string]> {
  const open: [string, object][] = [['', value]];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const [above, holder] = next;
    for (const [name, each] of Object.entries(holder) as [string, unknown][]) {
      const path = `${above}/${name}`;
      if (typeof each === 'string') yield [path, each, holder, name];
      else if (typeof each === 'object' && each !== null) open.push([path, each]);
    }
  }
}

function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  return Object.hasOwn(value, name) ? Reflect.get(value, name) : undefined;
}

/** An entry of a map of bounded size, made where it is not there; the one that was used longest ago makes room. */
function kept<T>(map: Map<string, T>, key: string, most: number, make: () => T): T {
  const entry = map.get(key) ?? make();
  map.delete(key);
  map.set(key, entry);
  if (map.size > most) {
    const [oldest] = map.keys();
    if (oldest !== undefined) map.delete(oldest);
  }
  return entry;
}
