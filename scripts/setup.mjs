/**
 * Makes a fresh clone ready: `node scripts/setup.mjs`, called by every npm script. Runs on the Node that the machine
 * has (20 or newer) and on nothing else, so: plain JavaScript, no dependency. Installs once; when nothing is missing it
 * only reads three files.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stampFile = join(root, 'node_modules', '.aideator-setup');
const ownNode = join(root, 'node_modules', '.bin', 'node');
const lock = join(root, '.setup-lock');
/** Who holds the lock, a line each: this process, and (negative) the process group of its npm, which may outlive it. */
const holders = join(lock, 'pids');

/** The oldest that work: Node 20 runs this file and npm; git as in src/git/command.ts. */
const oldest = { node: [20, 0], git: [2, 34] };

/** What the person at the keyboard has to do something about: printed without a stack. */
class SetupError extends Error {}

function fail(message) {
  throw new SetupError(message);
}

function isOlder(version, [major, minor]) {
  const [, a, b] = /(\d+)\.(\d+)/.exec(version) || [];
  return Number(a) < major || (Number(a) === major && Number(b) < minor);
}

function checkMachine() {
  if (process.platform === 'win32') fail('AIdeator needs Linux, macOS or WSL: on Windows, clone it inside WSL.');
  if (isOlder(process.version, oldest.node)) {
    fail(
      `Node ${process.version} is too old: AIdeator needs Node ${oldest.node.join('.')} or newer. Get it at https://nodejs.org.`,
    );
  }
  const git = spawnSync('git', ['--version'], { encoding: 'utf8' });
  if (git.error || git.status !== 0)
    fail('git was not found: install it (https://git-scm.com/downloads) and try again.');
  if (isOlder(git.stdout, oldest.git)) {
    fail(
      `${git.stdout.trim()} is too old: AIdeator needs git ${oldest.git.join('.')} or newer (https://git-scm.com/downloads).`,
    );
  }
}

/** What decides which packages have to be there. Not the whole package.json: a new script is no reason to install again. */
function wanted() {
  const { dependencies, devDependencies, allowScripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .update(JSON.stringify([dependencies, devDependencies, allowScripts, process.platform, process.arch]))
    .digest('hex');
}

function isInstalled(stamp) {
  return existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp && existsSync(ownNode);
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** True when this process now holds the lock; false while another live setup does. A lock that only the dead hold is removed. */
function takeLock() {
  try {
    mkdirSync(lock);
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    // Without a pid the other one is between mkdir and write: look again in a moment.
    if (existsSync(holders) && !readFileSync(holders, 'utf8').split('\n').map(Number).some(isAlive)) {
      rmSync(lock, { recursive: true, force: true });
    }
    return false;
  }
  writeFileSync(holders, String(process.pid));
  return true;
}

/** Runs `npm ci` in a process group of its own, so that nothing of it goes on in node_modules after this process was stopped. */
async function runNpm() {
  // --include=dev: NODE_ENV=production would leave out the Node that everything here runs on.
  // --loglevel: `npm run --silent` hands its silence down, and then a failure would say nothing.
  const npm = spawn('npm', ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, SCARF_ANALYTICS: 'false' },
  });
  const said = [];
  npm.stdout.on('data', (chunk) => said.push(chunk));
  npm.stderr.on('data', (chunk) => said.push(chunk));
  let stoppedBy = '';
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      stoppedBy = signal;
      if (npm.pid) process.kill(-npm.pid, 'SIGKILL');
    });
  }
  const failure = await new Promise((resolve) => {
    npm.on('error', (error) => resolve(error.code === 'ENOENT' ? 'npm was not found' : error.message));
    npm.on('close', (status, signal) => resolve(status === 0 ? null : `npm ci ended with ${status ?? signal}`));
    if (npm.pid) appendFileSync(holders, `\n-${npm.pid}`);
  });
  if (stoppedBy) fail(`Setting up was stopped by ${stoppedBy}; the next command starts it again.`);
  if (failure) fail(`${Buffer.concat(said).toString()}Setting up failed: ${failure}.`);
}

async function install(stamp) {
  process.stderr.write('Setting up (once, about a minute)…\n');
  rmSync(stampFile, { force: true });
  await runNpm();
  if (!existsSync(ownNode) || spawnSync(ownNode, ['--version']).status !== 0) {
    fail(
      'Setting up failed: the package "node" did not bring its binary. Is ignore-scripts set in an .npmrc? Then run: npm rebuild node --ignore-scripts=false',
    );
  }
  writeFileSync(stampFile, stamp);
}

async function setUp() {
  checkMachine();
  const stamp = wanted();
  let told = false;
  while (!isInstalled(stamp)) {
    if (takeLock()) {
      try {
        if (!isInstalled(stamp)) await install(stamp);
      } finally {
        rmSync(lock, { recursive: true, force: true });
      }
      return;
    }
    if (!told) process.stderr.write('Another setup is running here: waiting for it…\n');
    told = true;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

try {
  await setUp();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 5;
}
