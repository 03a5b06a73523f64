import { readFileSync } from 'node:fs';
import { LineCounter, isNode, parseDocument, type Document } from 'yaml';
import { z } from 'zod';
import { AppError } from '../../errors.ts';
import { scriptPrice } from '../prices.ts';

/**
 * A script: what the scripted model answers, turn by turn. A turn is found by the number of answers that the conversation
 * holds already, so a repeated request or a restarted server gets the same answer.
 */

const milliseconds = z.int().min(0).max(3_600_000);
const deltas = z.int().min(0);

const call = { name: z.string().min(1), input: z.record(z.string(), z.unknown()).default({}) };
const someCall = z.strictObject(call);
export type ToolCall = z.infer<typeof someCall>;

/** A tool by its name; or the first of several that the agent offers: agents have their own names for the same tools. */
const tool = z
  .strictObject({ ...call, name: call.name.optional(), first_of: z.array(someCall).min(1).optional() })
  .transform(({ name, input, first_of: several }, context): ToolCall[] => {
    if (several !== undefined && name === undefined) return several;
    if (several === undefined && name !== undefined) return [{ name, input }];
    context.addIssue({ code: 'custom', path: ['name'], message: 'needs either `name` and `input`, or `first_of`' });
    return z.NEVER;
  });

const usage = z.strictObject({
  input: z.int().min(0),
  output: z.int().min(0),
  cache_read: z.int().min(0).optional(),
  cache_write: z.int().min(0).optional(),
});

const answer = {
  /** Taken only if the conversation's text holds this, in upper or lower case. */
  when: z.string().min(1).optional(),
  thinking: z.string().min(1).optional(),
  text: z.string().min(1).optional(),
  /** `text` is said this many times over. */
  repeat: z.int().min(1).optional(),
  tools: z.array(tool).min(1).optional(),
  /** Why the answer ends; follows from `tools` when left out. */
  stop: z.enum(['end', 'length', 'refusal']).optional(),
  /** `none` = the provider reports no usage. Left out: a quarter of the characters, said and heard. */
  usage: z
    .union([z.literal('none'), usage], { error: 'must be `none`, or input and output as whole numbers' })
    .optional(),
  /** Characters per delta. */
  delta_chars: z.int().min(1).optional(),
  /** Wait before each delta. */
  delay_ms: milliseconds.optional(),
  /** Wait before the answer begins. */
  first_delay_ms: milliseconds.optional(),
  /** Destroy the connection after so many deltas. */
  cut_after: deltas.optional(),
  /** Say nothing more after so many deltas, and never end. */
  stall_after: deltas.optional(),
  error: z
    .strictObject({
      status: z.int().min(400).max(599),
      message: z.string().optional(),
      /** Seconds, as the header `retry-after`. */
      retry_after: z.int().min(0).optional(),
      /** Fails only so often in a conversation; then the next alternative is taken. */
      times: z.int().min(1).optional(),
      /** Fails in the middle of the stream, after so many deltas. */
      after: deltas.optional(),
    })
    .optional(),
  /** An answer that is not of the protocol: a login page, a redirect, garbage. */
  raw: z
    .strictObject({
      status: z.int().min(200).max(599).default(200),
      headers: z.record(z.string(), z.string()).default({}),
      body: z.string().default(''),
    })
    .optional(),
};

const alternative = z.strictObject(answer).superRefine(checkAnswer);
export type ScriptTurn = z.infer<typeof alternative>;
/** A turn whose tools are chosen. */
export type Turn = Omit<ScriptTurn, 'tools'> & { tools?: ToolCall[] };

const turn = z
  .strictObject({ ...answer, first_of: z.array(alternative).min(1).optional() })
  .superRefine((entry, context) => {
    if (entry.first_of !== undefined) {
      const beside = Object.keys(entry).filter((key) => key !== 'first_of');
      if (beside.length > 0)
        context.addIssue({
          code: 'custom',
          path: [beside[0] ?? ''],
          message: 'stands in the alternatives of `first_of`, not beside it',
        });
      return;
    }
    checkAnswer(entry, context);
    if (entry.error?.times !== undefined)
      context.addIssue({
        code: 'custom',
        path: ['error', 'times'],
        message: 'needs an alternative for afterwards: put both under `first_of`',
      });
    if (entry.when !== undefined)
      context.addIssue({
        code: 'custom',
        path: ['when'],
        message: 'needs an alternative for otherwise: put both under `first_of`',
      });
  })
  .transform((entry): ScriptTurn[] => entry.first_of ?? [entry]);

const turns = z.array(turn).min(1);

const model = z
  .strictObject({
    /** Micro-dollars per million tokens. Left out: what a call costs is unknown. */
    price: scriptPrice.optional(),
    turns: turns.optional(),
    /** Several conversations; the first whose `when` the prompt (all that stands before the first answer) holds. */
    conversations: z
      .array(z.strictObject({ when: z.string().min(1).optional(), turns }))
      .min(1)
      .optional(),
  })
  .superRefine((entry, context) => {
    if ((entry.turns === undefined) === (entry.conversations === undefined))
      context.addIssue({ code: 'custom', path: [], message: 'needs either `turns` or `conversations`' });
  })
  .transform(({ price, turns, conversations }) => ({
    price,
    conversations: conversations ?? [{ when: undefined, turns: turns ?? [] }],
  }));

const script = z.strictObject({
  models: z
    .record(z.string().min(1), model)
    .refine((models) => Object.keys(models).length > 0, 'needs at least one model'),
});

export type Script = z.infer<typeof script>;

/** Reads a script file. Errors: invalid_config naming path, line and what is wrong. */
export function loadScript(path: string): Script {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new AppError('invalid_config', `The script ${path} cannot be read.`, {
      hint: 'Name a script file that exists.',
      cause: error,
    });
  }
  return parseScript(text, path);
}

/** A script from its text; `name` stands for it in errors. Errors: invalid_config naming line and what is wrong. */
export function parseScript(text: string, name = 'script'): Script {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [broken] = document.errors;
  if (broken !== undefined) {
    throw new AppError('invalid_config', `${name}:${lines.linePos(broken.pos[0]).line}: ${broken.message}`, {
      hint: 'Mend the line it names: the file must be YAML.',
      cause: broken,
    });
  }
  const parsed = script.safeParse(document.toJS());
  if (parsed.success) return parsed.data;
  const messages = parsed.error.issues.map((issue) => {
    const path = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : issue.path;
    const message = issue.code === 'unrecognized_keys' ? 'is not a word of scripts here' : issue.message;
    return `${name}:${lineOf(document, lines, path)}: ${spell(path)} ${message}`;
  });
  throw new AppError('invalid_config', messages.join('\n'), { hint: 'Mend the lines it names.', cause: parsed.error });
}

type Answering = z.infer<z.ZodObject<typeof answer>>;

function checkAnswer(entry: Answering, context: z.RefinementCtx): void {
  const issue = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
  const says = entry.thinking !== undefined || entry.text !== undefined || entry.tools !== undefined;
  const failsAtOnce = entry.error !== undefined && entry.error.after === undefined;
  if (!says && !failsAtOnce && entry.raw === undefined) {
    context.addIssue({
      code: 'custom',
      path: [],
      message: 'says nothing: give it thinking, text, tools, error or raw',
    });
  }
  if (entry.raw !== undefined && (says || entry.error !== undefined))
    issue('raw', 'is the whole answer: nothing else can be said with it');
  if (failsAtOnce && says) issue('error', 'without `after` is the whole answer: nothing else can be said with it');
  if (entry.repeat !== undefined && entry.text === undefined) issue('repeat', 'needs `text`');
  if (entry.cut_after !== undefined && entry.stall_after !== undefined)
    issue('stall_after', 'cannot stand beside `cut_after`');
}

/** The line of the nearest thing to `path` that stands in the file. */
function lineOf(document: Document.Parsed, lines: LineCounter, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range != null) return lines.linePos(node.range[0]).line;
  }
  return 1;
}

function spell(path: readonly PropertyKey[]): string {
  return (
    path
      .map((part, index) => (typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`))
      .join('') || 'the file'
  );
}
