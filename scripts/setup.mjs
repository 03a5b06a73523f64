/**
 * Makes a fresh clone ready: `node scripts/setup.mjs`, called by every npm script. Runs on the Node that the machine
 * has (20 or newer) and on nothing else, so: plain JavaScript, no dependency. Installs once; when nothing is missing it
 * only reads three files.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stampFile = join(root, 'node_modules', '.aideator-setup');
const ownNode = join(root, 'node_modules', '.bin', 'node');
const lock = join(root, '.setup-lock');

/** The oldest that work: Node 20 runs this file and npm; git 2.32 knows GIT_CONFIG_GLOBAL, with which no user's configuration reaches our git. */
const oldest = { node: [20, 0], git: [2, 32] };

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

/** True when this process now holds the lock; false while another live setup does. A lock of a dead process is removed. */
function takeLock() {
  try {
    mkdirSync(lock);
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    const pidFile = join(lock, 'pid');
    // Without a pid the other one is between mkdir and write: look again in a moment.
    if (existsSync(pidFile) && !isAlive(Number(readFileSync(pidFile, 'utf8'))))
      rmSync(lock, { recursive: true, force: true });
    return false;
  }
  writeFileSync(join(lock, 'pid'), String(process.pid));
  return true;
}

function install(stamp) {
  process.stderr.write('Setting up (once, about a minute)…\n');
  rmSync(stampFile, { force: true });
  // --include=dev: NODE_ENV=production would leave out the Node that everything here runs on.
  // --loglevel: `npm run --silent` hands its silence down, and then a failure would say nothing.
  const npm = spawnSync('npm', ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 64 * 1024 * 1024,
    env: { ...process.env, SCARF_ANALYTICS: 'false' },
  });
  if (npm.error || npm.status !== 0) {
    process.stderr.write(`${npm.stdout || ''}${npm.stderr || ''}`);
    fail(
      `Setting up failed: npm ci ${npm.error ? npm.error.message : `ended with ${npm.status ?? npm.signal}`}. Above is what npm said.`,
    );
  }
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
        if (!isInstalled(stamp)) install(stamp);
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
