import { expect, test, vi } from 'vitest';
import { makePod, type TestPod } from '../../../test/support/pod.ts';
import { until } from '../../../test/support/until.ts';
import { knownAgents } from '../catalog.ts';

// Processes of three kinds a test, on a machine that may be busy.
vi.setConfig({ testTimeout: 120_000 });

const seqOf = (line: Buffer): number => Number(/"seq":(\d+)/.exec(line.toString('latin1'))?.[1]);
/** The server has what the recorder wrote, all of it and nothing else. */
const isWhole = (pod: TestPod): boolean => pod.door.kept().equals(pod.numbered());

test('the door is away in the middle, and when it ends: nothing is lost, and the pod waits', async () => {
  const pod = await makePod({ agent: ['talk', '60', '20'] });
  const { recorder, launcher } = pod.run();
  await until(() => pod.agentSaid('thought 10"'));
  await pod.door.goAway();
  // What the log carried goes on to be taken; that is not what is tried here.
  pod.follow = () => false;
  await until(() => pod.agentSaid('thought 40"'));
  await pod.door.comeBack();
  await until(() => pod.agentSaid('thought 55"'));
  await pod.door.goAway();
  await until(() => pod.agentSaid('"stopReason":"end_turn"'));
  // The patch cannot be brought: neither the result nor the last word is told.
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(pod.agentSaid('"type":"result"')).toBe(false);
  await pod.door.comeBack();
  // It has not succeeded: it has changed nothing.
  expect(await launcher.ended).toBe(1);
  expect(await recorder.ended).toBe(0);
  expect(pod.read().eof.reason).toBe('no_changes');
  expect(isWhole(pod)).toBe(true);
  expect(pod.door.patches.size).toBe(1);
});

test('links that are cut again and again, and lines that got lost on the way: little more than those is uploaded', async () => {
  const lost = new Set([5, 6, 300, 801]);
  const pod = await makePod({ agent: ['talk', '1200', '2'], follow: (line) => !lost.has(seqOf(line)) });
  const { recorder } = pod.run();
  const cutting = setInterval(() => pod.door.cutLinks(), 150);
  await recorder.ended;
  clearInterval(cutting);
  expect(pod.read().eof.reason).toBe('no_changes');
  expect(isWhole(pod)).toBe(true);
  expect(pod.door.links).toBeGreaterThan(2);
  expect(pod.door.uploads.seqs).toEqual(expect.arrayContaining([...lost]));
  expect(pod.door.uploads.seqs.length).toBeLessThan(1000);
});

test('without the log all comes by uploads; a patch that is cut and damaged on its way arrives all the same', async () => {
  const pod = await makePod({ agent: ['write', `big.txt=${'line of text\n'.repeat(8000)}`], follow: () => false });
  pod.door.faults.cutResultAfter = [20_000, 40_000];
  pod.door.faults.damageResult = 1;
  const { recorder, launcher } = pod.run();
  expect(await launcher.ended).toBe(0);
  await recorder.ended;
  const { result } = pod.read();
  expect(pod.door.patches.get(result!.patch_sha256)?.length).toBe(result!.patch_bytes);
  expect(isWhole(pod)).toBe(true);
});

test('a patch that the server does not take is no result', async () => {
  const pod = await makePod({ agent: ['write', 'new.txt=hello'] });
  pod.door.faults.maxResultBytes = 10;
  const { launcher } = pod.run();
  expect(await launcher.ended).toBe(1);
  const { eof, result, notes } = pod.read();
  expect(eof.reason).toBe('result_failed');
  expect(eof.message).toMatch(/does not take a patch of \d+ bytes/);
  expect(notes).toContain('result_failed');
  expect(result).toBeNull();
});

test('a server that holds on to nothing for long: the hold is bounded', async () => {
  const pod = await makePod({ agent: ['nothing'] });
  pod.follow = () => false;
  const { recorder, launcher } = pod.run({ AIDEATOR_HOLD_SECONDS: '3' });
  await until(() => pod.agentSaid('"type":"acp"'));
  await pod.door.goAway();
  expect(await launcher.ended).toBe(1);
  expect(await recorder.ended).toBe(0);
  const { eof, notes } = pod.read();
  expect(eof.reason).toBe('result_failed');
  expect(notes).toContain('result_failed');
  expect(pod.lastWord()).toMatchObject({ lastSeq: eof.lastSeq, reason: 'result_failed' });
});

test('a stop comes by the link: the agent is asked first, its work is kept', async () => {
  const pod = await makePod({ agent: ['linger'] });
  const { recorder, launcher } = pod.run();
  await until(() => pod.agentSaid('waiting'));
  pod.door.stop('superseded');
  expect(await launcher.ended).toBe(1);
  await recorder.ended;
  const { eof, said, result } = pod.read();
  expect(eof).toMatchObject({ reason: 'superseded', message: null });
  expect(said).toEqual(['waiting', 'cancelled, as asked']);
  expect(result?.files.map(({ path }) => path)).toEqual(['half.txt']);
  expect(isWhole(pod)).toBe(true);
});

test('a stop that came before the pod', async () => {
  const pod = await makePod({ agent: ['linger'] });
  pod.door.stop('cancelled');
  const { launcher } = pod.run();
  expect(await launcher.ended).toBe(1);
  expect(pod.read().eof.reason).toBe('cancelled');
});

test('the attempt is over for the server: nothing is delivered any more, and it ends', async () => {
  const pod = await makePod({ agent: ['linger'] });
  const { recorder, launcher } = pod.run();
  await until(() => pod.agentSaid('waiting'));
  pod.door.faults.refuseAll = true;
  pod.door.cutLinks();
  expect(await launcher.ended).toBe(1);
  expect(await recorder.ended).toBe(0);
  const { eof } = pod.read();
  expect(eof.reason).toBe('terminated');
  expect(pod.door.patches.size).toBe(0);
});

test('a second pod of the attempt goes at once, and so does one with a wrong token', async () => {
  const pod = await makePod({ agent: ['linger'] });
  const response = await fetch(`${pod.door.url}/attempt/claim`, {
    method: 'POST',
    headers: { authorization: `Bearer ${pod.door.token}` },
    body: JSON.stringify({ pod_uid: 'another-pod' }),
  });
  expect(response.status).toBe(200);
  const { recorder, launcher } = pod.run();
  expect(await launcher.ended).toBe(1);
  expect(await recorder.ended).toBe(0);
  expect(recorder.stderr()).toContain('Nothing to do here: 409 attempt_taken');
  expect(pod.log().length).toBe(0);
  expect(pod.lastWord()).toEqual({ lastSeq: 0, sha256: null, reason: 'refused' });
});

test('an attempt of a server of another version is ended in words, in its journal', async () => {
  const pod = await makePod({ agent: ['linger'] });
  Object.assign(pod.attempt, { of_tomorrow: true });
  const { recorder, launcher } = pod.run();
  expect(await launcher.ended).toBe(1);
  expect(await recorder.ended).toBe(0);
  const { eof, notes } = pod.read();
  expect([eof.reason, notes]).toEqual(['setup_failed', ['setup_failed']]);
  expect(eof.message).toMatch(/image and the server are of two versions.*of_tomorrow/);
  expect(pod.door.kept().equals(pod.numbered())).toBe(true);
  expect(pod.lastWord()).toMatchObject({ lastSeq: eof.lastSeq, reason: 'setup_failed' });
});

test('a server that is away when the pod starts is waited for', async () => {
  const pod = await makePod({ agent: ['nothing'] });
  await pod.door.goAway();
  const { recorder, launcher } = pod.run();
  await until(() => recorder.stderr().includes('cannot be reached yet'));
  await pod.door.comeBack();
  await launcher.ended;
  expect(pod.read().eof.reason).toBe('no_changes');
});

test('the built-in agent reaches its model through the recorder, and has no credential', async () => {
  const { command, env } = knownAgents.find(({ name }) => name === 'builtin')!;
  const pod = await makePod({
    command,
    env: { ...env },
    script:
      "models:\n  model-1:\n    turns:\n      - {thinking: hm, tools: [{name: bash, input: {command: \"env > made.txt; cat /proc/*/cmdline | tr '\\\\0' ' ' >> made.txt; git log --oneline >> made.txt\"}}]}\n      - text: Made it.\n",
  });
  const { launcher } = pod.run();
  expect(await launcher.ended).toBe(0);
  const { said, result } = pod.read();
  expect(said.join('')).toContain('Made it.');
  const patch = pod.door.patches.get(result!.patch_sha256)?.toString() ?? '';
  expect(patch).toContain('AIDEATOR_BASE_URL=http://127.0.0.1:');
  expect(patch).toContain(' First');
  expect(patch).not.toContain(pod.door.token);
});
