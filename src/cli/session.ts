import { type Config, loadConfig, type Origins } from '../config.ts';
import { RUN_ID } from '../contract/ids.ts';
import type { RunSummary } from '../contract/api.ts';
import { AppError } from '../errors.ts';
import { Client } from './client.ts';
import { plainLine, wrap } from './display.ts';
import { changeSince } from './imprint.ts';
import type { Io } from './io.ts';
import { readLogin } from './login-file.ts';
import { choosePalette, noColours, type Palette } from './palette.ts';
import { backgroundServer, ensureServer, stopServer } from './server.ts';

/** The options that every command has. */
export interface GlobalOptions {
  json?: boolean;
  url?: string;
  dataDir?: string;
  config?: string;
  /** `false` from `--no-color`. */
  color?: boolean;
}

/** What a command works with: the world, the user's global options, and on demand the configuration and the server. */
export class Session {
  readonly io: Io;
  readonly json: boolean;
  readonly palette: Palette;
  readonly errPalette: Palette;
  readonly options: GlobalOptions;
  #loaded: { config: Config; origins: Origins } | undefined;

  constructor(io: Io, options: GlobalOptions) {
    this.io = io;
    this.options = options;
    this.json = options.json === true;
    this.palette = options.color === false ? noColours : choosePalette(io.env, io.stdout.isTTY);
    this.errPalette = options.color === false ? noColours : choosePalette(io.env, io.stderr.isTTY);
  }

  /** Errors: invalid_config. */
  load(flags: Record<string, unknown> = {}): { config: Config; origins: Origins } {
    const { url, dataDir: data_dir, config: file } = this.options;
    const { env, cwd } = this.io;
    this.#loaded ??= loadConfig({ flags: { url, data_dir, ...flags }, env, cwd, file, login: readLogin(env) });
    return this.#loaded;
  }

  get config(): Config {
    return this.load().config;
  }

  /** Where a server of our own would be: its data directory, and the configuration file it is to read. */
  get place(): { data_dir: string; configFile: string | undefined } {
    return { data_dir: this.config.data_dir, configFile: this.options.config };
  }

  /** A client of the server that was named, else of the data directory's, which is started when none runs. */
  async connect(): Promise<Client> {
    const { url, api_key: key } = this.config;
    if (url !== null) return new Client({ url, key });
    const locate = (): Promise<string> => ensureServer(this.place, this.io);
    return new Client({ url: await locate(), key, relocate: locate });
  }

  /**
   * As `connect`, for what makes new attempts: a server in the background that was started before a key or a setting was
   * changed is started anew with it, unless runs are under way there.
   */
  async connectUpToDate(): Promise<Client> {
    const { config } = this;
    const client = await this.connect();
    const running = config.url === null ? backgroundServer(config.data_dir) : null;
    const change = running === null ? null : changeSince(running.imprint, config, this.io.version);
    if (change === null) return client;
    if ((await client.info()).active_runs > 0) {
      this.remark(`The server was started before ${change}, and has runs under way: it goes on as it is.`);
      return client;
    }
    this.remark(`The server was started before ${change}: starting it anew.`);
    await stopServer(config.data_dir);
    await client.relocate();
    return client;
  }

  /** Lines for people, on standard output. */
  print(...lines: string[]): void {
    for (const line of lines) this.io.stdout.write(`${line}\n`);
  }

  /** Sentences for people, on standard output: made plain, and in a terminal broken between words. */
  say(...sentences: string[]): void {
    const { isTTY } = this.io.stdout;
    this.print(...sentences.map(plainLine).flatMap((text) => (isTTY ? wrap(text, this.columns) : [text])));
  }

  /** One JSON document on standard output. */
  printJson(value: unknown): void {
    this.io.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
  }

  /** A remark that is no output: standard error. */
  remark(...lines: string[]): void {
    for (const line of lines) this.io.stderr.write(`${line}\n`);
  }

  /** Columns that lines for people may have. */
  get columns(): number {
    return Math.max(20, this.io.stdout.columns);
  }
}

/**
 * The id of a run given as a whole, as a prefix that fits one run only, or as `last`.
 * Errors: run_not_found, invalid_request (the prefix fits several).
 */
export async function findRunId(client: Client, given: string): Promise<string> {
  if (given === 'last') {
    const { runs } = await client.runs({ limit: 1 });
    if (runs[0] !== undefined) return runs[0].run_id;
    throw new AppError('run_not_found', 'There is no run yet.', { hint: 'aideator run --prompt "…" starts one.' });
  }
  if (RUN_ID.test(given)) return given;
  const found: RunSummary[] = [];
  let cursor: string | undefined;
  do {
    const page = await client.runs({ limit: 100, cursor });
    found.push(...page.runs.filter(({ run_id: id }) => id.startsWith(given)));
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined && found.length < 6);
  const [first, second] = found;
  if (first === undefined)
    throw new AppError('run_not_found', `No run's id begins with ${JSON.stringify(given)}.`, {
      hint: '`aideator list` shows the runs there are.',
    });
  if (second === undefined) return first.run_id;
  const some = found.slice(0, 5).map(({ run_id: id }) => id);
  throw new AppError(
    'invalid_request',
    `More than one run's id begins with ${JSON.stringify(given)}: ${some.join(', ')}${found.length > 5 ? ' …' : ''}.`,
    { hint: 'Give more of it.' },
  );
}

/** An argument or flag that must be a whole number of at least `least`. Errors: invalid_request. */
export function wholeNumber(name: string, least = 0): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new AppError(
      'invalid_request',
      `${name} must be a whole number${least > 0 ? ` of at least ${least}` : ''}, not ${JSON.stringify(text)}.`,
      { hint: 'See `aideator --help`.' },
    );
  };
}
