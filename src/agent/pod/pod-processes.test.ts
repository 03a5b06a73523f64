import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { makePod } from '../../../test/support/pod.ts';
import { ACP_AGENT } from '../../../test/support/recorded.ts';
import { until } from '../../../test/support/until.ts';
import { findStragglers } from '../process-identity.ts';

// Processes of three kinds a test, on a machine that may be busy.
vi.setConfig({ testTimeout: 120_000 });

test('SIGTERM to the agent’s container ends the attempt in order', async () => {
  const pod = await makePod({ agent: ['linger'] });
  const { recorder, launcher } = pod.run();
  await until(() => pod.agentSaid('waiting'));
  launcher.child.kill('SIGTERM');
  expect(await launcher.ended).toBe(1);
  expect(await recorder.ended).toBe(0);
  const { eof, said, result } = pod.read();
  expect(eof).toMatchObject({ reason: 'terminated', message: 'The platform ended the pod.' });
  expect(said).toContain('cancelled, as asked');
  expect(pod.door.patches.has(result!.patch_sha256)).toBe(true);
  expect(pod.door.kept().equals(pod.numbered())).toBe(true);
});

test('the agent’s container dies as a whole: what was said and done until then is kept', async () => {
  const pod = await makePod({ agent: ['linger'] });
  const { recorder, launcher } = pod.run();
  await until(() => pod.agentSaid('waiting'));
  for (const { pid } of findStragglers(pod.attempt.attempt_id)) process.kill(pid, 'SIGSTOP');
  launcher.child.kill('SIGKILL');
  for (const { pid } of findStragglers(pod.attempt.attempt_id)) process.kill(pid, 'SIGKILL');
  expect(await recorder.ended).toBe(0);
  const { eof, said, result } = pod.read();
  expect(eof).toMatchObject({ reason: 'agent_exit', exit: null });
  expect(eof.message).toMatch(/^The agent’s container ended as a whole/);
  expect(said).toEqual(['waiting']);
  expect(result?.files.map(({ path }) => path)).toEqual(['half.txt']);
});

test('out of memory is told from any other death', async () => {
  const pod = await makePod({ agent: ['linger'] });
  mkdirSync(pod.paths.cgroup, { recursive: true });
  const count = (kills: number): void =>
    writeFileSync(join(pod.paths.cgroup, 'memory.events'), `low 0\noom ${kills}\noom_kill ${kills}\n`);
  count(1);
  writeFileSync(join(pod.paths.cgroup, 'memory.max'), '268435456\n');
  const { launcher } = pod.run();
  await until(() => pod.agentSaid('waiting'));
  count(2);
  for (const { pid } of findStragglers(pod.attempt.attempt_id)) process.kill(pid, 'SIGKILL');
  expect(await launcher.ended).toBe(1);
  const { eof, notes } = pod.read();
  expect(eof).toMatchObject({ reason: 'oom_killed', exit: { code: null, signal: 'SIGKILL' } });
  expect(eof.message).toContain('its limit is 268435456 bytes');
  expect(notes).toContain('oom_killed');
});

test('a recorder that is killed and started again goes on with the journal, takes the work, and calls it lost', async () => {
  const pod = await makePod({ agent: ['linger'] });
  const first = pod.recorder();
  const launcher = pod.launcher();
  await until(() => pod.agentSaid('waiting'));
  first.child.kill('SIGKILL');
  await first.ended;
  await until(() => findStragglers(pod.attempt.attempt_id).length === 0);
  const whole = pod.numbered();
  // What a death in the middle of a write leaves: some parts of a payload, and a piece of a line.
  const next = whole.toString('latin1').split('\n').length;
  const head = `{"v":1,"attempt":"${pod.attempt.attempt_id}","seq":`;
  const part = `${head}${next},"ts":"2026-11-28T00:00:00.000Z","type":"part","part":{"of":"acp","i":0,"n":2},"data":"e30="}\n`;
  appendFileSync(pod.paths.journal, `${part}${head}${next + 1},"ts":"2026`);

  const second = pod.recorder();
  expect(await launcher.ended).toBe(1);
  second.child.kill('SIGTERM');
  expect(await second.ended).toBe(0);
  const { eof, notes, said, result } = pod.read();
  expect(eof.reason).toBe('lost');
  expect(notes).toEqual(['recorder_started', 'recorder_restarted']);
  expect(said).toEqual(['waiting']);
  expect(result?.files.map(({ path }) => path)).toEqual(['half.txt']);
  expect(pod.door.patches.has(result!.patch_sha256)).toBe(true);
  expect(pod.door.kept().equals(pod.numbered())).toBe(true);
  expect(pod.numbered().subarray(0, whole.length).equals(whole)).toBe(true);
});

test('a recorder that is killed while it drains only drains when it is started again', async () => {
  const pod = await makePod({ agent: ['nothing'], follow: () => false });
  const first = pod.recorder();
  const launcher = pod.launcher();
  pod.door.faults.refuseLines = true;
  await until(() => pod.agentSaid('"type":"eof"'));
  first.child.kill('SIGKILL');
  await first.ended;
  const before = readFileSync(pod.paths.journal);
  pod.door.faults.refuseLines = false;
  const second = pod.recorder();
  expect(await launcher.ended).toBe(1);
  second.child.kill('SIGTERM');
  expect(await second.ended).toBe(0);
  expect(readFileSync(pod.paths.journal).equals(before)).toBe(true);
  expect(pod.door.kept().equals(pod.numbered())).toBe(true);
  expect(pod.lastWord().reason).toBe('no_changes');
});

test('an agent that floods while nobody reads the log: all of it arrives, and memory stays bounded', async () => {
  const pod = await makePod({ agent: ['burst', '60000'] });
  const { recorder } = pod.run();
  recorder.child.stdout?.pause();
  recorder.child.stdout?.removeAllListeners('data');
  let peak = 0;
  const watching = setInterval(() => {
    const status = existsSync(`/proc/${recorder.child.pid}/status`)
      ? readFileSync(`/proc/${recorder.child.pid}/status`, 'utf8')
      : '';
    peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0));
  }, 50);
  expect(await recorder.ended).toBe(0);
  clearInterval(watching);
  expect(pod.read().said.length).toBe(60_000);
  expect(pod.door.kept().equals(pod.numbered())).toBe(true);
  expect(peak).toBeGreaterThan(0);
  expect(peak / 1024).toBeLessThan(320);
});

test('an agent that imitates the recorder on its output forges nothing', async () => {
  const pod = await makePod({ agent: ['forge', '30000'] });
  const { launcher } = pod.run();
  expect(await launcher.ended).toBe(1);
  const { eof, of, events } = pod.read();
  expect(eof.reason).toBe('no_changes');
  expect(events.filter(({ type }) => type === 'eof').length).toBe(1);
  expect(of<{ text?: string }>('unparsed')[0]?.text).toContain('"type":"eof"');
  expect(pod.door.kept().equals(pod.numbered())).toBe(true);
});

test('the agent has its container’s environment and nothing of ours or the cluster’s; a workspace without shared files', async () => {
  const pod = await makePod({ agent: ['nothing'], env: { LANG: 'C.UTF-8' } });
  const recorder = pod.recorder({ RECORDERS_OWN: 'canary' });
  const launcher = pod.launcher({
    JAVA_HOME: '/opt/java',
    LANG: 'de_DE',
    KUBERNETES_SERVICE_HOST: 'canary',
    AIDEATOR_SOMETHING: 'canary',
  });
  await launcher.ended;
  recorder.child.kill('SIGTERM');
  await recorder.ended;
  const [{ text = '' } = {}] = pod.read().of<{ text?: string }>('stderr');
  const { env, cwd } = JSON.parse(text) as { env: Record<string, string>; cwd: string };
  expect(cwd).toBe(pod.paths.workspace);
  expect(env).toMatchObject({ JAVA_HOME: '/opt/java', LANG: 'C.UTF-8', HOME: pod.paths.home, TMPDIR: pod.paths.tmp });
  expect(JSON.stringify(env)).not.toContain('canary');
  const journal = readFileSync(pod.paths.journal, 'utf8') + readFileSync(pod.paths.recorderLog, 'utf8');
  expect(journal).not.toContain(pod.door.token);
  const shared = execFileSync('find', [pod.paths.workspace, '-type', 'f', '-links', '+1'], { encoding: 'utf8' });
  expect(shared).toBe('');
  expect(readdirSync(join(pod.paths.workspace, '.git', 'objects', 'pack')).length).toBeGreaterThan(0);
});

test('the agent finds its settings in the HOME that it shares with the recorder', async () => {
  const pod = await makePod({ command: ['sh', '-c', 'cat "$HOME/.mine/rc" >&2; echo "$0" >&2', '{model}'] });
  pod.attempt.agent.files = { '.mine/rc': 'model = "{model}"\n' };
  const { launcher } = pod.run();
  expect(await launcher.ended).toBe(1);
  const { of } = pod.read();
  const said = of<{ text: string }>('stderr').map(({ text }) => text);
  expect(said.join('')).toBe('model = "model-1"\nmodel-1\n');
});

test('a program that the container does not have', async () => {
  const pod = await makePod({ command: ['no-such-program'] });
  const { launcher } = pod.run();
  expect(await launcher.ended).toBe(1);
  const { eof } = pod.read();
  expect(eof.reason).toBe('agent_missing');
  expect(eof.message).toMatch(/was not found on PATH/);
});

const namespaces = spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'true']).status === 0;
if (!namespaces) process.stderr.write('SKIPPED: no PID namespaces can be made here (unshare --pid)\n');

test.skipIf(!namespaces)('in a PID namespace of its own nothing of the agent gets away', async () => {
  const mark = `9${process.pid}`;
  // Its environment does not say whose it is, and its parent is gone.
  const pod = await makePod({
    command: [
      '/bin/sh',
      '-c',
      `(env -i setsid sleep ${mark} &) ; exec "$0" "$1" escape exit`,
      process.execPath,
      ACP_AGENT,
    ],
    namespace: true,
  });
  const { launcher } = pod.run();
  expect(await launcher.ended).toBe(1);
  const { eof, of } = pod.read();
  expect(eof).toMatchObject({ reason: 'agent_exit', exit: { code: 3, signal: null } });
  expect(of<{ code: string; count?: number }>('note').find(({ code }) => code === 'stragglers_killed')?.count).toBe(2);
  const running = readdirSync('/proc').filter((name) => {
    try {
      return readFileSync(`/proc/${name}/cmdline`, 'utf8') === `sleep\0${mark}\0`;
    } catch {
      return false;
    }
  });
  expect(running).toEqual([]);
});
