import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { execa } from 'execa';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { loginPath } from '../src/cli/login-file.ts';
import { newPerson, type Person } from './support/cli.ts';
import { gitServer } from './support/git-server.ts';
import { startTestHouse, type TestHouse } from './support/house.ts';
import { makeRepository, plainEnv, plainGit, type TestRepository } from './support/repository.ts';
import { tempDir } from './support/temp.ts';
import { selfSigned, tlsFront, type Front } from './support/tls.ts';
import { until } from './support/until.ts';

/** The CLI against a server elsewhere: behind TLS, with a key, and without the person's files. */

const certificate = selfSigned();
beforeAll(() => setDefaultCACertificates([...getCACertificates('default'), certificate.cert]));

const agent = join(import.meta.dirname, 'support', 'acp-agent.ts');
const behaviour = (...args: string[]): { command: string[] } => ({ command: ['{node}', agent, ...args] });
const settings = {
  default_model: 'scripted/any',
  default_agent: 'writer',
  agents: { writer: behaviour('write', 'value.txt=new\n'), lingerer: behaviour('linger') },
};
const script = 'models: { any: { turns: [{ text: Hello. }] } }\n';

interface Elsewhere {
  house: TestHouse;
  front: Front;
  key: string;
}

/** A server that listens beyond loopback, so that it wants a key, behind TLS. */
async function elsewhere(): Promise<Elsewhere> {
  const first = await startTestHouse({ settings, script });
  const { body } = await first.api<{ key: string }>('POST', '/api/v1/keys', { name: 'laptop', scope: 'run' });
  await first.close();
  const house = await startTestHouse({ home: first.home, settings: { ...settings, host: '0.0.0.0' }, script });
  return { house, front: await tlsFront(certificate, () => house.url), key: body.key };
}

/** A clone with one pushed commit, and the forge that has it. */
async function newClone(): Promise<{ clone: TestRepository; forge: string; push: () => Promise<unknown> }> {
  const root = tempDir();
  plainGit(root, ['init', '-q', '--bare', '-b', 'main', 'project.git']);
  plainGit(join(root, 'project.git'), ['config', 'http.receivepack', 'true']);
  const forge = `${await gitServer(root)}/project.git`;
  const clone = makeRepository(join(root, 'clone'), { 'value.txt': 'old\n' });
  clone.git('remote', 'add', 'origin', forge);
  const push = (): Promise<unknown> =>
    execa('git', ['push', '-q', '-u', 'origin', 'main'], { cwd: clone.path, env: plainEnv, extendEnv: false });
  await push();
  return { clone, forge, push };
}

/** Somebody whose machine has no server of its own: a configuration file that names none. */
function newGuest(): Person {
  const person = newPerson();
  writeFileSync(join(person.home, 'config.yaml'), 'log_level: warn\n');
  return person;
}

async function loggedIn({ front, key }: Elsewhere): Promise<Person> {
  const person = newGuest();
  const { code, err } = await person.start(['login', front.url], { secret: Promise.resolve(key) }).done;
  expect([code, err]).toEqual([0, '']);
  return person;
}

describe('login', () => {
  test('asks for the key, checks it, keeps it for its owner alone; config shows where from and never what', async () => {
    const there = await elsewhere();
    const { front, key } = there;
    const person = newGuest();
    const wrong = await person.start(['login', front.url], { secret: Promise.resolve('aid_aaaaaaaaaa_wrong') }).done;
    expect(wrong.code).toBe(3);
    expect(wrong.err).toContain('code: unauthorized');
    expect(existsSync(loginPath(person.env))).toBe(false);

    const { code, out } = await person.start(['login', `localhost:${front.port}/docs`], {
      secret: Promise.resolve(`${key}\n`),
    }).done;
    expect(code).toBe(0);
    expect(out).toContain(`Logged in to ${front.url}: AIdeator 0.0.0-test, attempts run as processes.`);
    expect(out).not.toContain(key);
    // The first question was asked without the key.
    expect(front.seen.map(({ headers }) => headers.authorization)).toEqual([
      undefined,
      'Bearer aid_aaaaaaaaaa_wrong',
      undefined,
      `Bearer ${key}`,
    ]);
    expect(statSync(loginPath(person.env)).mode & 0o777).toBe(0o600);

    expect((await person.run('list')).out).toContain('No run yet.');
    expect(existsSync(person.dataDir)).toBe(false);
    const shown = await person.run('config');
    expect(shown.out).toMatch(new RegExp(`^url +${front.url} {2}\\(login .*login\\.yaml\\)$`, 'm'));
    expect(shown.out).toMatch(/^api_key +set \(….{4}\) {2}\(login .*login\.yaml\)$/m);
    expect(shown.out + (await person.run('config', '--json')).out).not.toContain(key);
    const other = await person.run('list', '--url', front.url.replace('localhost', '127.0.0.1'));
    expect(other.err).toMatch(/certificate|altnames/i);

    expect((await person.run('logout')).out).toContain(`Logged out of ${front.url}`);
    expect(existsSync(loginPath(person.env))).toBe(false);
    expect((await person.run('logout')).out).toBe('You were not logged in.\n');
  });

  test('the key from standard input, from a file; what is no server, no key, no AIdeator', async () => {
    const { front, key } = await elsewhere();
    const person = newGuest();
    const piped = await person.start(['login', front.url, '--json'], { stdin: Buffer.from(`${key}\n`) }).done;
    expect(JSON.parse(piped.out)).toEqual({
      url: front.url,
      version: '0.0.0-test',
      runtime: 'local',
      key: true,
      file: loginPath(person.env),
    });
    writeFileSync(join(person.home, 'key'), key);
    expect((await person.run('login', front.url, '--key-file', 'key')).code).toBe(0);
    expect((await person.run('login', front.url, '--key-file', 'none')).code).toBe(2);
    expect((await person.run('login', front.url)).err).toContain('No key was given.');
    for (const url of ['ftp://x', 'https://', 'https://me:pw@x.example'])
      expect((await person.run('login', url)).code).toBe(2);
    const page = await tlsFront(
      certificate,
      () => '',
      (_in, out) => !!out.writeHead(200).end('<html>'),
    );
    const refused = person.start(['login', page.url], { secret: new Promise(() => undefined) });
    expect((await refused.done).err).toContain('code: not_aideator');
    expect(page.seen[0]?.headers.authorization).toBeUndefined();
  });

  test('on a terminal nothing of the key is shown', async () => {
    const { front, key } = await elsewhere();
    const person = newGuest();
    const main = join(import.meta.dirname, '..', 'src', 'main.ts');
    const ca = join(person.home, 'ca.pem');
    writeFileSync(ca, certificate.cert);
    const child = spawn('script', ['-qec', `'${process.execPath}' '${main}' login ${front.url}`, '/dev/null'], {
      env: { ...person.env, NODE_EXTRA_CA_CERTS: ca },
    });
    onTestFinished(() => void child.kill());
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    await until(() => out.includes('(not shown):'));
    child.stdin.write(`${key}x\u007f\r`);
    await until(() => child.exitCode !== null);
    expect(out).toContain('Logged in to');
    expect(out).not.toContain(key.slice(0, 20));
    expect(readFileSync(loginPath(person.env), 'utf8')).toContain(`${front.url}: ${key}\n`);
  });
});

describe('a run at a server elsewhere, from a clone', () => {
  test('is started from what the remote has, watched through cuts, and shipped to the clone', async () => {
    const there = await elsewhere();
    const person = await loggedIn(there);
    const { clone, forge, push } = await newClone();
    const at = { cwd: clone.path };
    const base = clone.commit('Mine', { 'other.txt': 'x\n' });
    const early = await person.start(['run', '--prompt', 'Set it.', '-n', '1'], at).done;
    expect(early.code).toBe(4);
    expect(early.err).toContain('hint: Push it first: git push -u origin main\n code: not_pushed');

    await push();
    clone.write({ 'loose.txt': 'not committed\n' });
    const ran = await person.start(['run', '--prompt', 'Set it.', '-n', '1'], at).done;
    expect(ran.code).toBe(0);
    expect(ran.err).toContain(
      `1 uncommitted change here is not part of the run: it starts from commit ${base.slice(0, 12)}`,
    );
    expect(ran.out).toContain(` at ${there.front.url}: 1 variation from commit ${base.slice(0, 12)}.`);
    const run = JSON.parse((await person.run('show', 'last', '--json')).out) as { run_id: string; repository: string };
    expect(run.repository).toBe(forge);

    await person.run('choose', 'last', '0');
    const shipped = await person.start(['ship', 'last'], at).done;
    expect([shipped.code, shipped.err]).toEqual([0, '']);
    expect(shipped.out).toContain(`Variation 0 is branch aideator/${run.run_id}-0 of ${clone.path}`);
    expect(clone.git('show', `aideator/${run.run_id}-0:value.txt`)).toBe('new');
    expect(clone.git('status', '--porcelain', '--branch')).toBe('## main...origin/main\n?? loose.txt');
    expect((await person.start(['ship', 'last', '--apply'], at).done).out).toContain('was applied to the work tree');
    expect(readFileSync(join(clone.path, 'value.txt'), 'utf8')).toBe('new\n');

    // Elsewhere there is no clone: a patch can be had, a work tree cannot.
    const nowhere = await person.run('ship', 'last', '--apply');
    expect(nowhere.err).toMatch(/is no clone of[^]*--patch - \| git apply/);
    // The server's own push makes the same commit.
    const pushed = await person.start(['ship', 'last', '--push'], at).done;
    expect(pushed.out).toContain(`was pushed by the server: branch aideator/${run.run_id}-0 of ${forge}`);
    const listed = await execa('git', ['ls-remote', forge, `refs/heads/aideator/*`], {
      env: plainEnv,
      extendEnv: false,
    });
    expect(listed.stdout.split('\t')[0]).toBe(clone.git('rev-parse', `aideator/${run.run_id}-0`));
  });

  test('a stale clone is told to fetch; a repository by URL needs no clone', async () => {
    const there = await elsewhere();
    const person = await loggedIn(there);
    const { clone, forge, push } = await newClone();
    const stale = join(tempDir(), 'stale');
    await execa('git', ['clone', '-q', forge, stale], { env: plainEnv, extendEnv: false });
    clone.commit('Next', { 'value.txt': 'next\n' });
    await push();
    expect((await person.run('run', '--repo', forge, '--prompt', 'x', '-n', '1', '--json')).code).toBe(0);
    const { code, err } = await person.start(['ship', 'last', '-v', '0'], { cwd: stale }).done;
    expect(code).toBe(3);
    expect(err).toMatch(/is not in\s+.*stale\.\n hint: Fetch it first: git fetch/);
    // Not a path of this machine: the server's own, if it has one.
    const other = await person.run('run', '--repo', '/srv/no/such.git', '--prompt', 'x');
    expect(other.err).toContain('/srv/no/such.git does not exist');
    mkdirSync(join(person.home, 'plain'));
    const plain = await person.run('run', '--repo', 'plain', '--prompt', 'x');
    expect(plain.err).toContain('code: repository_not_git');
  });

  test('a stream through TLS that is cut goes on where it was, with the key', async () => {
    const there = await elsewhere();
    const person = await loggedIn(there);
    const { clone } = await newClone();
    const started = await person.start(
      ['run', '--prompt', 'x', '-n', '1', '--agent', 'lingerer', '--detach', '--json'],
      {
        cwd: clone.path,
      },
    ).done;
    const { run_id: id } = JSON.parse(started.out) as { run_id: string };
    const watching = person.start(['watch', id, '--json', '--stream']);
    for (let cuts = 1; cuts <= 3; cuts += 1) {
      await until(() => watching.out.includes('waiting') && watching.err.split('Connected again.').length === cuts);
      there.front.cut();
    }
    await until(() => watching.err.split('Connected again.').length === 4);
    await person.run('cancel', id);
    expect((await watching.done).code).toBe(10);
    const ids = (text: string): number[] =>
      text
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as { id: number }).id);
    expect(ids(watching.out)).toEqual(ids((await person.run('logs', id, '--json')).out));
  });

  test('a server of this machine that is named sees its paths', async () => {
    const house = await startTestHouse({ settings, script });
    const person = newGuest();
    const { clone } = await newClone();
    clone.commit('Not pushed', { 'value.txt': 'mine\n' });
    const ran = await person.start(['run', '--prompt', 'x', '-n', '1', '--json', '--url', house.url], {
      cwd: clone.path,
    }).done;
    expect(JSON.parse(ran.out)).toMatchObject({ repository: clone.path, base: clone.head() });
  });
});
