import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { SubmitInput, Submitted, VariationRequest } from '../../contract/api.ts';
import { AppError, toAppError } from '../../errors.ts';
import { isAddress } from '../address.ts';
import { microdollars } from '../budget-words.ts';
import type { Client } from '../client.ts';
import { plainLine, wrap } from '../display.ts';
import { plural } from '../format.ts';
import { keySource } from '../imprint.ts';
import { seesOurFiles } from '../same-machine.ts';
import { backgroundServer } from '../server.ts';
import type { Session } from '../session.ts';
import { follow } from './watch.ts';

export interface RunOptions {
  repo?: string;
  ref?: string;
  prompt?: string;
  promptFile?: string;
  variations?: number;
  agent?: string;
  model?: string[];
  strategy?: string[];
  variation?: string[];
  maxParallel?: number;
  timeout?: number;
  retries?: number;
  budget?: string;
  budgetTokens?: number;
  image?: string;
  sandbox?: boolean;
  detach?: boolean;
  stream?: boolean;
  plain?: boolean;
}

/** `aideator run`: submits, says what was started and where, and shows it. */
export async function run(session: Session, _args: string[], options: RunOptions): Promise<number> {
  const request = await requestOf(session, options);
  const client = await session.connectUpToDate();
  const body = await forServer(session, client, request, options);
  const submitted = await submit(session, client, body);
  session.remark(...(submitted.notes ?? []).map((note) => session.errPalette.warn(plainLine(note))));
  if (session.json && options.detach === true) {
    session.printJson(submitted);
    return 0;
  }
  const started = await client.run(submitted.run_id);
  if (!session.json) announce(session, submitted, started.variations.length);
  if (options.detach === true) {
    session.print(`Watch it: aideator watch ${submitted.run_id}`);
    return 0;
  }
  return follow(session, client, started, { stream: options.stream, plain: options.plain });
}

/**
 * A server elsewhere cannot see a path of this machine: it is told where the repository is cloned from, and which commit is meant.
 * URLs, and paths that are none of this machine's, are sent as they are.
 */
async function forServer(
  session: Session,
  client: Client,
  body: SubmitInput,
  { repo = '.', ref }: RunOptions,
): Promise<SubmitInput> {
  const { url } = session.config;
  const path = resolve(session.io.cwd, repo);
  if (url === null || !existsSync(path) || (await seesOurFiles(url, await client.info()))) return body;
  const { whatToSend } = await import('../clone/send.ts');
  const { repository, ref: commit, remarks } = await whatToSend(session.io.env, path, ref);
  session.remark(...remarks.map((remark) => session.errPalette.warn(plainLine(remark))));
  return { ...body, repository, ref: commit };
}

function announce(session: Session, { run_id: id, base, isolation }: Submitted, variations: number): void {
  const where = session.config.url === null ? '' : ` at ${session.config.url}`;
  session.print(
    `Run ${session.palette.bold(id)}${where}: ${plural(variations, 'variation')} from commit ${base.slice(0, 12)}.`,
  );
  session.print(
    ...wrap(`Isolation: ${plainLine(isolation)}`, session.columns).map((line) => session.palette.dim(line)),
  );
}

/** Submits; where a key is missing, says what to do about it here. */
async function submit(session: Session, client: Client, body: SubmitInput): Promise<Submitted> {
  try {
    return await client.submit(body);
  } catch (thrown) {
    const error = toAppError(thrown);
    if (error.code !== 'provider_key_missing' || session.config.url !== null) throw error;
    throw await missingKey(session, client, error);
  }
}

/** The key may be missing everywhere, or only in a server that cannot be replaced now. */
async function missingKey(session: Session, client: Client, error: AppError): Promise<AppError> {
  const { config } = session;
  const { providers } = await client.info();
  const only = providers.find(({ name, key }) => key === 'missing' && config.keys[name]?.key != null);
  const isOurs = backgroundServer(config.data_dir) !== null;
  if (only === undefined) {
    const then = isOurs ? 'Then run this again: the server in the background takes it up by itself.' : '';
    return new AppError(error.code, error.message, {
      hint: [error.hint, then].filter(Boolean).join('\n'),
      cause: error,
    });
  }
  const key = keySource(config, only.name);
  return isOurs
    ? new AppError(error.code, `The running server was started without ${key}, and has runs under way.`, {
        hint: 'When they are over, run this again: the server is then started anew, with the key.',
      })
    : new AppError(error.code, `The server at ${client.url}, which you started yourself, has no ${key}.`, {
        hint: `End it and start it again where ${key} is set; or only end it, and run this again.`,
      });
}

/** The body to submit. Errors: invalid_request, invalid_encoding. */
export async function requestOf(session: Session, options: RunOptions): Promise<SubmitInput> {
  const { ref, agent, model: models, strategy: strategies, variation, maxParallel, timeout, retries, image } = options;
  if (
    variation !== undefined &&
    (options.variations !== undefined || models !== undefined || strategies !== undefined)
  ) {
    throw new AppError(
      'invalid_request',
      '--variation names each variation; --variations, --model and --strategy make them by number.',
      { hint: 'Use one or the other.' },
    );
  }
  const named = Math.max(models?.length ?? 0, strategies?.length ?? 0);
  const count = options.variations ?? (named > 1 ? named : 3);
  return {
    repository: absoluteRepository(options.repo ?? '.', session.io.cwd),
    prompt: await promptOf(session, options),
    variations: variation === undefined ? count : variation.map(variationOf),
    ...(ref === undefined ? {} : { ref }),
    ...(agent === undefined ? {} : { agent }),
    ...(models === undefined ? {} : { models }),
    ...(strategies === undefined ? {} : { strategies }),
    ...(maxParallel === undefined ? {} : { max_parallel: maxParallel }),
    ...(retries === undefined ? {} : { retries }),
    ...(image === undefined ? {} : { image }),
    ...(options.sandbox === false ? { sandbox: false } : {}),
    ...budgetOf(options),
    ...(timeout === undefined ? {} : { limits: { timeout_seconds: timeout } }),
  };
}

/** The budget that was asked for, as the body has it. Errors: invalid_request. */
export function budgetOf({
  budget,
  budgetTokens,
}: Pick<RunOptions, 'budget' | 'budgetTokens'>): Pick<SubmitInput, 'budget'> {
  if (budget === undefined && budgetTokens === undefined) return {};
  return {
    budget: {
      ...(budget === undefined ? {} : { max_cost_microdollars: microdollars(budget) }),
      ...(budgetTokens === undefined ? {} : { max_tokens: budgetTokens }),
    },
  };
}

/** The server's working directory is another one: a path is made absolute here. URLs, also `git@host:path`, stay as they are. */
export function absoluteRepository(given: string, cwd: string): string {
  const path = resolve(cwd, given);
  if (existsSync(path)) return path;
  return isAddress(given) ? given : path;
}

/**
 * The prompt, byte for byte. Errors: invalid_request, invalid_encoding.
 *
 * @param how the command line that says it
 */
export async function promptOf(
  session: Session,
  { prompt, promptFile }: { prompt?: string | undefined; promptFile?: string | undefined },
  how = 'aideator run --prompt "…"',
): Promise<string> {
  if (prompt !== undefined && promptFile !== undefined)
    throw new AppError('invalid_request', 'Both a prompt and --prompt-file were given.', { hint: 'Give one of them.' });
  if (prompt !== undefined) return prompt;
  if (promptFile === undefined) {
    throw new AppError('invalid_request', 'What is to be done? No prompt was given.', {
      hint: `${how}, or --prompt-file <file>, or --prompt-file - to read it from standard input.`,
    });
  }
  const [name, bytes] =
    promptFile === '-'
      ? ['Standard input', await session.io.readStdin()]
      : [promptFile, readPrompt(resolve(session.io.cwd, promptFile))];
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new AppError('invalid_encoding', `${name} is not UTF-8.`, {
      hint: 'Convert it first, e.g. iconv -f latin1 -t utf-8.',
      cause: error,
    });
  }
}

function readPrompt(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new AppError(
      'invalid_request',
      `The prompt file cannot be read: ${error instanceof Error ? error.message : String(error)}.`,
      { hint: 'Name a file that exists, or - for standard input.', cause: error },
    );
  }
}

/** `agent=claude,model=anthropic/claude-sonnet-4-5,strategy=test-first` as a variation. Errors: invalid_request. */
export function variationOf(text: string): VariationRequest {
  const variation: Record<string, string> = {};
  for (const part of text.split(',')) {
    const at = part.indexOf('=');
    const name = part.slice(0, at).trim();
    const value = part.slice(at + 1).trim();
    if (at < 1 || value === '' || !['agent', 'model', 'strategy', 'dialect'].includes(name)) {
      throw new AppError(
        'invalid_request',
        `--variation ${JSON.stringify(text)}: ${JSON.stringify(part)} is not one of agent=…, model=…, strategy=…, dialect=….`,
        {
          hint: 'For example --variation agent=builtin,model=anthropic/claude-sonnet-4-5,strategy=test-first',
        },
      );
    }
    variation[name] = value;
  }
  return variation;
}
