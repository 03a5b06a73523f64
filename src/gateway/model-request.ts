import type { Route } from './dialect.ts';
import { invalid, parseAt, scanObject, type Member } from './json-members.ts';

/** A model request as the gateway needs to know it; everything else stays the bytes that came. */
export interface ModelRequest {
  /** As the agent says it. */
  model: string;
  stream: boolean;
  /** A top-level member's value, parsed; undefined where there is none. Not for those that hold the conversation. */
  value(name: string): unknown;
  /** The body for the provider: its own name for the model and, for an OpenAI stream, the usage asked for. */
  forProvider(model: string): Buffer;
}

/**
 * Reads what the gateway needs from a request's JSON object without parsing the conversation in it: what is not touched goes
 * on as it came, to the byte. Errors: 400 naming what is wrong.
 */
export function readModelRequest(body: Buffer, { dialect, named }: Route): ModelRequest {
  const members = scanObject(body);
  const find = (name: string): Member | undefined => {
    const found = members.filter((member) => member.name === name);
    // Parsers differ in which of two they believe: the provider could see another model than the one that was checked.
    if (found.length > 1) throw invalid(`it holds ${JSON.stringify(name)} more than once`);
    return found[0];
  };
  const value = (name: string): unknown => {
    const member = find(name);
    return member === undefined ? undefined : parseAt(body, member.start, member.end);
  };
  // Where the path names the model, the body stays as it is.
  if (named !== null) return { ...named, value, forProvider: () => body };
  const modelAt = find('model');
  const model = value('model');
  if (modelAt === undefined || typeof model !== 'string') throw invalid('it names no model');
  const stream = value('stream') === true;
  return {
    model,
    stream,
    value,
    forProvider(name) {
      const edits = [{ start: modelAt.start, end: modelAt.end, text: JSON.stringify(name) }];
      if (dialect === 'openai' && stream) {
        const optionsAt = find('stream_options');
        if (optionsAt === undefined) {
          edits.push({ start: modelAt.end, end: modelAt.end, text: ',"stream_options":{"include_usage":true}' });
        } else {
          const given = value('stream_options');
          const options = { ...(typeof given === 'object' ? given : {}), include_usage: true };
          edits.push({ start: optionsAt.start, end: optionsAt.end, text: JSON.stringify(options) });
        }
      }
      return splice(body, edits);
    },
  };
}

function splice(body: Buffer, edits: Array<{ start: number; end: number; text: string }>): Buffer {
  const parts: Buffer[] = [];
  let from = 0;
  for (const edit of edits.toSorted((a, b) => a.start - b.start)) {
    parts.push(body.subarray(from, edit.start), Buffer.from(edit.text));
    from = edit.end;
  }
  parts.push(body.subarray(from));
  return Buffer.concat(parts);
}
