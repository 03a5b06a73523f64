import type { RequestPermissionResponse } from '@agentclientprotocol/sdk';
import type { Journal } from '../journal.ts';
import { field } from './field.ts';
import { namedPaths, type NamedPaths } from './named-paths.ts';
import { decide, type Ground } from './policy.ts';
import { readLinkHere } from './real-path.ts';

/** Answers an agent's requests for permission, and writes down each decision with its reason. */
export interface PermissionAnswers {
  /** An ACP `session/update`: what it announces of tool calls is kept for the requests about them. */
  heard(params: unknown): void;
  answer(params: unknown): RequestPermissionResponse;
}

/** Tool calls whose paths are remembered: the last ones. */
const MAX_CALLS = 500;
/** Decisions that get a note each; of more only every so manieth does. Request and answer stand in the log all the same. */
const MAX_NOTES = 1000;

export function createPermissionAnswers(journal: Pick<Journal, 'note'>, ground: Ground): PermissionAnswers {
  const announced = new Map<string, NamedPaths>();
  let asked = 0;

  return {
    heard: (params) => {
      const update = field(params, 'update');
      const kind = field(update, 'sessionUpdate');
      if (kind !== 'tool_call' && kind !== 'tool_call_update') return;
      const id = field(update, 'toolCallId');
      if (typeof id !== 'string' || id.length > 1000) return;
      const { paths, tooMany } = namedPaths(update);
      if (paths.length === 0 && !tooMany) return;
      const before = announced.get(id);
      const all = [...new Set([...(before?.paths ?? []), ...paths])];
      announced.delete(id);
      announced.set(id, { paths: all.slice(0, 200), tooMany: tooMany || before?.tooMany === true || all.length > 200 });
      const [oldest] = announced.keys();
      if (announced.size > MAX_CALLS && oldest !== undefined) announced.delete(oldest);
    },
    answer: (params) => {
      asked += 1;
      const call = field(params, 'toolCall');
      const id = field(call, 'toolCallId');
      const known = typeof id === 'string' ? announced.get(id) : undefined;
      const { outcome, optionId, why, outside } = decide(params, ground, readLinkHere, known);
      if (asked <= MAX_NOTES || asked % MAX_NOTES === 0) {
        const title = field(call, 'title');
        journal.note('permission', `A permission was ${outcome}. ${why}`, {
          outcome,
          option_id: short(optionId),
          tool_call_id: short(id),
          title: short(title),
          outside: outside.map(short),
          asked,
        });
      }
      if (asked === MAX_NOTES)
        journal.note(
          'permission_notes_end',
          `The agent has asked for ${asked} permissions: only every ${MAX_NOTES}th gets a note from now on.`,
        );
      return { outcome: optionId === null ? { outcome: 'cancelled' } : { outcome: 'selected', optionId } };
    },
  };
}

/** What an agent named, for a note. */
function short(value: unknown): string | null {
  return typeof value === 'string' ? (value.length > 300 ? `${value.slice(0, 300).toWellFormed()}…` : value) : null;
}
