import { isUtf8 } from 'node:buffer';
import { Command, CommanderError, Option } from 'commander';
import { KEY_SCOPES } from '../contract/api-system.ts';
import { DIALECTS } from '../contract/dialect.ts';
import { RUN_STATUSES } from '../contract/run.ts';
import { AppError, toAppError } from '../errors.ts';
import type { Io } from './io.ts';
import { choosePalette, noColours } from './palette.ts';
import { problemOf, renderError } from './problem.ts';
import { type GlobalOptions, Session, wholeNumber } from './session.ts';

const EXIT_CODES = `
Exit codes:
  0    done
  1    a fault of this program
  2    wrong usage or bad input
  3    not found, or refused
  4    conflict with how things are (already chosen, branch exists …)
  5    configuration, a key or the machine (disk, git, port …)
  6    the server cannot be reached
  10   the run ended and no variation succeeded
  130  interrupted (the run goes on, unless you were told that it is cancelled)

A run is named by its id, by the beginning of it, or by \`last\`.`;

/** A command's module: imported when it is called. */
type Action = (session: Session, args: string[], options: Record<string, unknown>) => Promise<number>;

/**
 * Runs one command line (without node and file) and returns the exit code. Never throws: an error is told on standard error,
 * with `--json` as a problem document (one line) on standard output.
 */
export async function runCli(argv: readonly string[], io: Io): Promise<number> {
  let exit = 0;
  const program = buildProgram(argv, io, (code) => {
    exit = code;
  });
  try {
    checkEncoding(argv, io);
    await program.parseAsync(argv, { from: 'user' });
    return exit;
  } catch (error) {
    if (!(error instanceof CommanderError)) return tell(toAppError(error), argv, io);
    if (error.exitCode === 0) return 0;
    // In words commander has said it already.
    const hint = 'aideator --help lists commands and flags.';
    if (argv.includes('--json'))
      tell(new AppError('invalid_request', error.message.replace(/^error: /, ''), { hint }), argv, io);
    return 2;
  }
}

/** Node replaces what is not UTF-8 in an argument; a prompt or a name that was changed on the way must not be used. */
function checkEncoding(argv: readonly string[], io: Io): void {
  if (!argv.some((argument) => argument.includes('\ufffd'))) return;
  const raw = io.rawArguments();
  if (raw === null || isUtf8(raw)) return;
  throw new AppError('invalid_encoding', 'An argument is not UTF-8.', {
    hint: 'Give the prompt as a file, in UTF-8: --prompt-file <file>.',
  });
}

function tell(error: AppError, argv: readonly string[], io: Io): number {
  if (argv.includes('--json')) {
    io.stdout.write(`${JSON.stringify(problemOf(error))}\n`);
  } else {
    const palette = argv.includes('--no-color') ? noColours : choosePalette(io.env, io.stderr.isTTY);
    io.stderr.write(renderError(error, palette, io.stderr.columns));
  }
  return error.exitCode;
}

function buildProgram(argv: readonly string[], io: Io, exit: (code: number) => void): Command {
  const program = new Command('aideator')
    .description(
      'Runs N variations of a coding task, each isolated, shows every thought live, compares them and ships the one you pick.',
    )
    .version(io.version, '-V, --version')
    .option('--json', 'print JSON instead of words')
    .option(
      '--url <url>',
      'the server to talk to (AIDEATOR_URL; its key is AIDEATOR_API_KEY); else the one of `aideator login`, else that of the data directory, started when needed',
    )
    .option('--data-dir <folder>', 'database, mirrors, attempts (AIDEATOR_DATA_DIR)')
    .option('--config <file>', 'configuration file (AIDEATOR_CONFIG)')
    .option('--no-color', 'no colours (NO_COLOR, FORCE_COLOR)')
    .addHelpText('after', EXIT_CODES)
    .showHelpAfterError('(aideator --help lists commands and flags)')
    // What is beside the longest command has 35 cells in a terminal of 80: the default (40) would not wrap there.
    .configureHelp({ showGlobalOptions: true, minWidthToWrap: 20 })
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      // With --json an error is a document on standard output, and nothing else.
      writeErr: (text) => (argv.includes('--json') ? undefined : io.stderr.write(text)),
      getOutHelpWidth: () => Math.min(io.stdout.columns, 100),
      getErrHelpWidth: () => Math.min(io.stderr.columns, 100),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .exitOverride();

  const does =
    (load: () => Promise<Action>) =>
    async (...given: unknown[]): Promise<void> => {
      const command = given.at(-1);
      if (!(command instanceof Command))
        throw new AppError('internal', 'A command was called in a way it does not know.');
      const options: GlobalOptions & Record<string, unknown> = command.optsWithGlobals();
      exit(await (await load())(new Session(io, options), command.args, options));
    };

  addRun(program, does);
  addLooking(program, does);
  addDeciding(program, does);
  addServing(program, does);
  return program;
}

type Does = (load: () => Promise<Action>) => (...given: unknown[]) => Promise<void>;

function addRun(program: Command, does: Does): void {
  program
    .command('run')
    .description('start a run and show it live')
    .option('--repo <path-or-url>', 'a local repository or any URL git can clone', '.')
    .option('--ref <ref>', 'branch, tag or commit to start from (default: HEAD)')
    .option('-p, --prompt <text>', 'what is to be done')
    .option('--prompt-file <file>', 'the prompt from a file, byte for byte (- = standard input)')
    .option(
      '-n, --variations <count>',
      'how many variations, 1 to 32 (default: as many as models or strategies, where several are named, else 3)',
      wholeNumber('--variations'),
    )
    .option('--agent <name>', 'the agent (see `aideator agents list`)')
    .option('--model <provider/model>', 'a model; repeat it to take several in turn', collect)
    .option('--strategy <name>', 'a strategy; repeat it to take several in turn', collect)
    .option(
      '--variation <k=v,…>',
      'one variation of an explicit mix: agent=…,model=…,strategy=…,dialect=…; repeat it',
      collect,
    )
    .option('--max-parallel <count>', 'variations at once', wholeNumber('--max-parallel', 1))
    .option('--timeout <seconds>', 'seconds an attempt may take', wholeNumber('--timeout', 1))
    .option('--budget <dollars>', 'what all variations may cost together, e.g. 2.50')
    .option('--budget-tokens <count>', 'tokens that all variations may use together', wholeNumber('--budget-tokens', 1))
    .option('--retries <count>', 'how often a failed variation is tried again by itself', wholeNumber('--retries'))
    .option('--image <image>', 'in a cluster: the image that the agents work in')
    .option('--no-sandbox', 'let the agents do what you can: for machines where no sandbox works')
    .option('--detach', 'start it and return')
    .option('--stream', 'with --json: each event as a line of JSON')
    .option('--plain', 'plain lines also in a terminal')
    .action(does(async () => (await import('./commands/run.ts')).run));
}

function addLooking(program: Command, does: Does): void {
  program
    .command('watch <run>')
    .description('show a run live, from its beginning')
    .option('-v, --variation <index>', 'only this variation', wholeNumber('--variation'))
    .option('--stream', 'with --json: each event as a line of JSON')
    .option('--plain', 'plain lines also in a terminal')
    .action(does(async () => (await import('./commands/watch.ts')).watch));
  program
    .command('list')
    .description('list runs, the newest first')
    .addOption(new Option('--status <status>', 'only runs of this status').choices(RUN_STATUSES))
    .option('--limit <count>', 'at most so many', wholeNumber('--limit', 1), 20)
    .action(does(async () => (await import('./commands/list.ts')).list));
  program
    .command('show <run>')
    .description('what is known of a run and its attempts')
    .action(does(async () => (await import('./commands/show.ts')).show));
  program
    .command('logs <run>')
    .description('all that was thought, said and done, as plain text')
    .option('-v, --variation <index>', 'only this variation', wholeNumber('--variation'))
    .option('-f, --follow', 'go on until the run is over')
    .action(does(async () => (await import('./commands/logs.ts')).logs));
  program
    .command('compare <run> [a] [b]')
    .description('the evidence of all variations; with two of them the diff from A to B')
    .action(does(async () => (await import('./commands/compare.ts')).compare));
}

function addDeciding(program: Command, does: Does): void {
  program
    .command('choose <run> <variation>')
    .description('choose a variation (any time, also while others still run)')
    .option('--reason <text>', 'why')
    .option('--cancel-rest', 'cancel what still runs')
    .option('--force', 'change a choice that was made')
    .action(does(async () => (await import('./commands/choose.ts')).choose));
  program
    .command('ship <run>')
    .description('make the chosen variation a branch (the default), a patch, or changes of the work tree')
    .option('--branch <name>', 'name of the new branch (default: aideator/<run>-<variation>)')
    .option('--patch <file>', 'write the patch to a file (- = standard output)')
    .option('--apply', 'apply it to the work tree of the local repository')
    .option('--push', 'a repository at a URL: the server pushes the branch there, instead of making it in your clone')
    .option('-v, --variation <index>', 'another one than the chosen', wholeNumber('--variation'))
    .option('-m, --message <text>', 'commit message')
    .option('--force', 'move an existing branch')
    .action(does(async () => (await import('./commands/ship.ts')).ship));
  program
    .command('tell <run> <variation> [prompt]')
    .description('tell a variation what to do next: in its session while it works, else from where it ended')
    .option('--prompt-file <file>', 'the prompt from a file, byte for byte (- = standard input)')
    .action(does(async () => (await import('./commands/steer.ts')).tell));
  program
    .command('fork <run> <variation> [prompt]')
    .description('a new variation from what another left: its work and its conversation')
    .option('--prompt-file <file>', 'the prompt from a file, byte for byte (- = standard input)')
    .option(
      '--attempt <index>',
      'from this attempt of it (default: the newest that left work)',
      wholeNumber('--attempt'),
    )
    .option('--agent <name>', 'another agent (default: the same)')
    .option('--model <provider/model>', 'another model (default: the same)')
    .option('--strategy <name>', 'a strategy')
    .option('--timeout <seconds>', 'seconds an attempt may take', wholeNumber('--timeout', 1))
    .option('--budget <dollars>', 'what it may cost, within the run’s budget')
    .option('--budget-tokens <count>', 'tokens that it may use', wholeNumber('--budget-tokens', 1))
    .action(does(async () => (await import('./commands/steer.ts')).fork));
  program
    .command('cancel <run> [variation]')
    .description('stop a run, or one variation of it; what was done is kept')
    .action(does(async () => (await import('./commands/control.ts')).cancel));
  program
    .command('retry <run> <variation>')
    .description('try a failed or cancelled variation again')
    .action(does(async () => (await import('./commands/control.ts')).retry));
  program
    .command('rm <run>')
    .alias('forget')
    .description('cancel a run and forget all of it')
    .action(does(async () => (await import('./commands/control.ts')).forget));
}

function addServing(program: Command, does: Does): void {
  program
    .command('serve')
    .description('serve the API (documentation at /docs)')
    .option('--host <address>', 'address to listen on (default: 127.0.0.1)')
    .option('--port <port>', 'port to listen on; 0 = any free one (default: 8000)', wholeNumber('--port'))
    .option(
      '--exit-when-idle <seconds>',
      'end after so many seconds without a run and without a request',
      wholeNumber('--exit-when-idle', 1),
    )
    .action(does(async () => (await import('./commands/serve.ts')).serve));
  program
    .command('login <url>')
    .description('keep the address of a server, and the key for it, for all commands')
    .option('--key-file <file>', 'the key from a file (- = standard input); else it is asked for')
    .action(does(async () => (await import('./commands/login.ts')).login));
  program
    .command('logout [url]')
    .description('forget a server and its key')
    .action(does(async () => (await import('./commands/login.ts')).logout));
  const agents = program.command('agents').description('the agents that attempts can be run with');
  agents
    .command('list')
    .description('which agents there are, which are installed, and what is missing')
    .action(does(async () => (await import('./commands/agents.ts')).listAgents));
  agents
    .command('install <name...>')
    .description('install agents from npm where the server is, each in one exact version')
    .option('--force', 'install what is there already once more')
    .action(does(async () => (await import('./commands/agents.ts')).installAgents));
  agents
    .command('check <name>')
    .description('a real run of an agent against the scripted model, and what was seen of it')
    .addOption(new Option('--dialect <dialect>', 'the protocol to ask models in').choices(DIALECTS))
    .action(does(async () => (await import('./commands/agents-check.ts')).checkOne));
  const keys = program.command('keys').description('API keys of the server');
  keys
    .command('create [name]')
    .description('make a key; it is shown once')
    .addOption(new Option('--scope <scope>', 'what it may do').choices(KEY_SCOPES).default('run'))
    .action(does(async () => (await import('./commands/keys.ts')).createKey));
  keys
    .command('list')
    .description('list the keys')
    .action(does(async () => (await import('./commands/keys.ts')).listKeys));
  keys
    .command('revoke <id>')
    .description('make a key invalid')
    .action(does(async () => (await import('./commands/keys.ts')).revokeKey));
  program
    .command('config')
    .description('every setting in force, its value and where it is from')
    .action(does(async () => (await import('./commands/config.ts')).showConfig));
  program
    .command('backup <folder>')
    .description('a copy of the data directory, also while its server runs; a server can be started on it')
    .action(does(async () => (await import('./commands/backup.ts')).backup));
  program
    .command('doctor')
    .description('look whether all that is needed is there')
    .option('--kubernetes', 'what the server finds in its cluster: rights, quota, image')
    .option('--probe', 'the same, and a pod is run for a moment as an attempt would be')
    .action(does(async () => (await import('./commands/doctor.ts')).doctor));
  program
    .command('demo')
    .description('the whole loop on a small real repository, without a key: the model is scripted')
    .option('--keep', 'keep the folders, and say where they are')
    .option('--quick', 'no pauses')
    .option('--plain', 'plain lines also in a terminal')
    .action(does(async () => (await import('./demo.ts')).demo));
  program
    .command('sample <folder>')
    .description('make the demo’s repository in a folder, unless it is there')
    .action(does(async () => (await import('./commands/sample.ts')).sample));
}

function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}
