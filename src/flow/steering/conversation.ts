import { setImmediate as nextTurn } from 'node:timers/promises';
import { parseFrame } from '../../contract/event.ts';
import type { Store } from '../../store/store.ts';
import { KEPT, middleCut, type Said } from './transcript.ts';

/** The conversation so far of an attempt and of those it went on from, as the event log has it: the same for every agent and runtime. */

/** Attempts of a chain that are read, the newest: what is older is in the work tree. */
const MAX_CHAIN = 20;
/** Entries that are kept while a log is read, and characters of one text that grows. */
const MAX_ENTRIES = 4000;
const MAX_TEXT = 200_000;
const PAGE = 500;

/** The kinds of events that matter: the rest is not even parsed. */
const WANTED = /"kind":"(?:agent_message_chunk|tool_call|tool_call_update|acp_sent|note)"/;

/** @param attemptNo the row of the last attempt of the chain */
export async function conversationOf(store: Pick<Store, 'db'>, attemptNo: number): Promise<Said[]> {
  const said: Said[] = [];
  for (const each of await chainOf(store, attemptNo)) {
    said.push({ kind: 'user', text: await taskText(store, each) });
    said.push(...(await logOf(store, each)));
    if (each.end_reason !== null && each.end_reason !== 'end_turn')
      said.push({
        kind: 'mark',
        text: `This session ended: ${each.end_reason}${each.message === null ? '' : `, ${each.message}`}`,
      });
  }
  return said;
}

interface Link {
  no: number;
  run: number;
  variation: number;
  continues: number | null;
  prompt: number | null;
  end_reason: string | null;
  message: string | null;
}

/** Oldest first. */
async function chainOf({ db }: Pick<Store, 'db'>, attemptNo: number): Promise<Link[]> {
  const chain: Link[] = [];
  for (let at: number | null = attemptNo; at !== null && chain.length < MAX_CHAIN;) {
    const row: Link | undefined = await db
      .selectFrom('attempts')
      .select(['no', 'run', 'variation', 'continues', 'prompt', 'end_reason', 'message'])
      .where('no', '=', at)
      .executeTakeFirst();
    if (row === undefined) break;
    chain.unshift(row);
    at = row.continues;
  }
  return chain;
}

/** What an attempt began with, in the user's words: what was put before them is not told again. */
async function taskText({ db }: Pick<Store, 'db'>, attempt: Link): Promise<string> {
  if (attempt.prompt !== null) {
    const prompt = await db.selectFrom('prompts').select('text').where('no', '=', attempt.prompt).executeTakeFirst();
    return prompt?.text ?? '';
  }
  const row = await db
    .selectFrom('variations')
    .innerJoin('runs', 'runs.no', 'variations.run')
    .select(['runs.prompt', 'variations.instruction'])
    .where('variations.run', '=', attempt.run)
    .where('variations.idx', '=', attempt.variation)
    .executeTakeFirst();
  return row === undefined ? '' : row.instruction === null ? row.prompt : `${row.prompt}\n\n${row.instruction}`;
}

/** What one attempt's agent said and did, from its second prompt on with the user's words between. */
async function logOf({ db }: Pick<Store, 'db'>, attempt: Link): Promise<Said[]> {
  const { no: attemptNo, run, variation } = attempt;
  const given = db
    .selectFrom('prompts')
    .select(['no', 'text'])
    .where('run', '=', run)
    .where('variation', '=', variation);
  const prompts = new Map((await given.execute()).map(({ no, text }) => [no, text]));
  const gather = createGatherer((no) => prompts.get(no));
  for (let after = 0; ;) {
    const rows: { seq: number | null; frame: string }[] = await db
      .selectFrom('events')
      .select(['seq', 'frame'])
      .where('attempt', '=', attemptNo)
      .where('seq', '>', after)
      .orderBy('seq')
      .limit(PAGE)
      .execute();
    for (const { frame } of rows) if (WANTED.test(frame.slice(0, 600))) gather.take(JSON.parse(parseFrame(frame).data));
    const last = rows.at(-1)?.seq;
    if (rows.length < PAGE || last == null) return gather.said();
    after = last;
    // A long log: others have their turn between two pages of it.
    await nextTurn();
  }
}

/**
 * Puts together what comes in pieces. What an agent sent is of any shape: what is not as expected is left out.
 *
 * @param promptOf what the user said under a number: the log says which was sent, and nobody but the user puts words into their mouth
 */
export function createGatherer(promptOf: (no: number) => string | undefined): {
  take(event: unknown): void;
  said(): Said[];
} {
  const entries: Said[] = [];
  const tools = new Map<string, Extract<Said, { kind: 'tool' }>>();
  let prompts = 0;
  let taken: number | null = null;
  let left = 0;

  function add(entry: Said): void {
    entries.push(entry);
    if (entries.length <= MAX_ENTRIES) return;
    left += entries.splice(0, MAX_ENTRIES / 4).length;
  }

  function tool(update: unknown): void {
    const id = textOf(update, 'toolCallId') ?? '';
    let entry = tools.get(id);
    if (entry === undefined) {
      entry = { kind: 'tool', title: '', status: 'no end of it is known', output: '' };
      tools.set(id, entry);
      const [oldest] = tools.keys();
      if (tools.size > MAX_ENTRIES && oldest !== undefined) tools.delete(oldest);
      add(entry);
    }
    const title = textOf(update, 'title');
    const command = textOf(member(update, 'rawInput'), 'command');
    if (title !== null)
      entry.title = middleCut(command === null || title.includes(command) ? title : `${title}: ${command}`, KEPT.title);
    entry.status = textOf(update, 'status') ?? entry.status;
    const output = outputOf(update);
    if (output !== '') entry.output = middleCut(output, KEPT.output);
  }

  return {
    take: (event) => {
      const message = member(event, 'message');
      switch (member(event, 'kind')) {
        case 'agent_message_chunk': {
          const text = textOf(event, 'content');
          if (text === null || text === '') return;
          const last = entries.at(-1);
          if (last?.kind !== 'says') add({ kind: 'says', text });
          else if (last.text.length < MAX_TEXT) last.text += text;
          return;
        }
        case 'tool_call':
        case 'tool_call_update':
          tool(member(member(message, 'params'), 'update'));
          return;
        case 'acp_sent': {
          if (member(message, 'method') !== 'session/prompt') return;
          prompts += 1;
          if (prompts === 1) return;
          const text = taken === null ? undefined : promptOf(taken);
          taken = null;
          add(
            text === undefined
              ? { kind: 'mark', text: 'A prompt that the user did not give.' }
              : { kind: 'user', text },
          );
          return;
        }
        case 'note': {
          const no = member(message, 'prompt_id');
          if (member(message, 'code') === 'prompt_taken' && typeof no === 'number') taken = no;
          return;
        }
        default:
      }
    },
    said: () => (left === 0 ? entries : [{ kind: 'mark', text: `${left} earlier entries are left out.` }, ...entries]),
  };
}

/** The text of a tool's content blocks and diffs, or of its raw output. */
function outputOf(update: unknown): string {
  const blocks = member(update, 'content');
  const parts = (Array.isArray(blocks) ? blocks : []).flatMap((block: unknown) => {
    const inner = textOf(member(block, 'content'), 'text');
    if (inner !== null) return [inner];
    const path = textOf(block, 'path');
    return member(block, 'type') === 'diff' && path !== null ? [`changed ${path}`] : [];
  });
  if (parts.length > 0) return parts.join('\n');
  const raw = member(update, 'rawOutput');
  return typeof raw === 'string' ? raw : (textOf(raw, 'output') ?? '');
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? Reflect.get(value, name)
    : undefined;
}

function textOf(value: unknown, name: string): string | null {
  const found = member(value, name);
  return typeof found === 'string' ? found : null;
}
