import { ENVELOPE_TYPES, type Envelope } from '../contract/envelope.ts';
import { PIECES } from '../redaction/pieces.ts';
import type { NewEvent } from '../store/store.ts';
import type { AttemptCaller } from './context.ts';
import type { Cleaner } from './secrets.ts';

/** Step 3: what a recorder wrote becomes events of the log. */

/**
 * The event of one envelope. The payload stands in it verbatim as `message`; `kind` and `content` are read from it so that
 * a reader need not know ACP.
 *
 * @param cleaner takes out what nobody is to see; a payload comes back as it was where there is nothing
 */
export function eventOf(attempt: AttemptCaller, envelope: Envelope, cleaner: Cleaner): NewEvent {
  const { payload, kind, content, isError } = cleaned(oneLine(envelope.data), envelope.type, cleaner);
  const head = JSON.stringify({
    run_id: attempt.runId,
    variation_id: attempt.variation,
    attempt: attempt.attempt,
    attempt_id: attempt.attemptId,
    seq: envelope.seq,
    timestamp: envelope.ts,
    kind,
    content,
  });
  return {
    run: attempt.runNo,
    variation: attempt.variation,
    attempt: attempt.attemptNo,
    seq: envelope.seq,
    span: envelope.span,
    type: isError ? 'agent_error' : 'agent_output',
    data: `${head.slice(0, -1)},"message":${payload}}`,
  };
}

/** A payload without secrets, and what is read from it. */
function cleaned(said: string, type: Envelope['type'], cleaner: Cleaner): Reading & { payload: string } {
  const reading = readPayload(type, said);
  // A piece is looked at before all else: what of it is the end of a secret only the text before it knows.
  if (reading.content !== null && reading.isPiece) {
    return { ...reading, ...cleaner.piece(reading.kind, said, reading.content) };
  }
  const payload = cleaner.json(said);
  return payload === said ? { ...reading, payload } : { ...readPayload(type, payload), payload };
}

/**
 * JSON text without raw line breaks. Raw CR and LF are legal JSON only between tokens, where a space means the same; in an SSE
 * frame a CR would end the line.
 */
function oneLine(json: string): string {
  return /[\r\n]/.test(json) ? json.replaceAll(/[\r\n]/g, ' ') : json;
}

interface Reading {
  kind: string;
  content: string | null;
  isError: boolean;
  /** Whether its content is a piece of a text. */
  isPiece: boolean;
}

function readPayload(type: Envelope['type'], payload: string): Reading {
  const value: unknown = JSON.parse(payload);
  if (type === 'acp') return readAcp(value);
  const message = field(value, 'message');
  const text = field(value, 'text');
  const code = field(value, 'code');
  return {
    kind: type,
    content: typeof text === 'string' ? text : typeof message === 'string' ? message : null,
    isError: type === 'note' && typeof code === 'string' && ERROR_NOTES.has(code),
    isPiece: false,
  };
}

/** Notes of the recorder that are errors of the attempt, not remarks. */
const ERROR_NOTES: ReadonlySet<string> = new Set([
  'agent_missing',
  'agent_exit',
  'protocol_error',
  'setup_failed',
  'result_failed',
  'recorder_crashed',
  'limit_reached',
  'line_cut',
]);

const OURS: ReadonlySet<string> = new Set(ENVELOPE_TYPES);

function readAcp(message: unknown): Reading {
  const update = field(field(message, 'params'), 'update');
  const kind = field(update, 'sessionUpdate');
  // The words for what is not the agent's (a note, a result, what was sent to it) are no kinds that it can take.
  if (typeof kind === 'string' && !OURS.has(kind)) {
    const isPiece = PIECES.has(kind) && typeof field(field(update, 'content'), 'text') === 'string';
    return { kind, content: textOf(update, kind), isError: false, isPiece };
  }
  const error = field(message, 'error');
  if (error !== undefined) {
    const detail = field(field(error, 'data'), 'message');
    const text = typeof detail === 'string' ? detail : field(error, 'message');
    return { kind: 'acp', content: typeof text === 'string' ? text : null, isError: true, isPiece: false };
  }
  return { kind: 'acp', content: null, isError: false, isPiece: false };
}

function textOf(update: unknown, kind: string): string | null {
  const title = field(update, 'title');
  if (kind === 'tool_call' || kind === 'tool_call_update' || (kind === 'notice' && typeof title === 'string')) {
    return typeof title === 'string' ? title : null;
  }
  const content = field(update, 'content');
  const text = field(content, 'text');
  if (typeof text === 'string') return text;
  const message = field(update, 'message');
  return typeof message === 'string' ? message : null;
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && name in value ? Reflect.get(value, name) : undefined;
}
