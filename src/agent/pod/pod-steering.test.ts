import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { attemptOn } from '../../../test/support/attempt.ts';
import { makePod, type TestPod } from '../../../test/support/pod.ts';
import { makeRepository } from '../../../test/support/repository.ts';
import { makeGate } from '../../../test/support/steering.ts';
import { tempDir } from '../../../test/support/temp.ts';
import { until } from '../../../test/support/until.ts';

/** A recorder in a pod: what it is told over its link, and the work that it fetches to go on from. */

function hasHeard({ paths }: TestPod, no: number): boolean {
  return existsSync(paths.recorderLog) && readFileSync(paths.recorderLog, 'utf8').includes(`up to ${no}.`);
}

test('prompts are the next turns of the session, in order, each once, across a link that breaks', async () => {
  const gate = makeGate();
  const pod = await makePod({ agent: ['steer'], prompt: `write a.txt=one\ngate ${gate.path}\nsay first` });
  const { recorder, launcher } = pod.run();
  await until(() => pod.log().includes('session/prompt'));
  pod.door.prompt(7, 'append a.txt=two\nsay second');
  pod.door.cutLinks();
  await until(() => pod.door.links > 1);
  pod.door.prompt(9, `say third ${'x'.repeat(700_000)}\nsee a.txt`);
  await until(() => hasHeard(pod, 9));
  gate.open();
  expect([await launcher.ended, await recorder.ended]).toEqual([0, 0]);
  const { said, notes, eof, result } = pod.read();
  expect(said.map((text) => text.slice(0, 30))).toEqual([
    'first',
    'second',
    `third ${'x'.repeat(24)}`,
    String.raw`a.txt is "one\ntwo\n"`,
  ]);
  expect(notes.filter((code) => code === 'prompt_taken')).toHaveLength(2);
  expect([eof.reason, result?.additions]).toEqual(['end_turn', 2]);
  const asked = pod.door.requests.filter((each) => each === 'GET /attempt/prompts');
  expect(asked.length).toBeGreaterThanOrEqual(2);
}, 60_000);

test('a prompt that the server told of is asked for again while it does not answer', async () => {
  const gate = makeGate();
  const pod = await makePod({ agent: ['steer'], prompt: `gate ${gate.path}\nwrite a.txt=one` });
  pod.door.faults.refusePrompts = 2;
  const { recorder, launcher } = pod.run();
  await until(() => pod.door.links > 0 && pod.log().includes('session/prompt'));
  pod.door.prompt(1, 'append a.txt=two');
  pod.door.cutLinks();
  await until(() => hasHeard(pod, 1));
  gate.open();
  expect([await launcher.ended, await recorder.ended]).toEqual([0, 0]);
  expect(pod.read().result?.additions).toBe(2);
  expect(readFileSync(pod.paths.recorderLog, 'utf8')).toContain('A prompt cannot be fetched yet');
}, 60_000);

test('its work tree starts with the patch from the door, as it was made; one that is damaged is fetched anew', async () => {
  const earlier = await attemptOn(makeRepository(join(tempDir(), 'r'), { 'README.md': 'hello\n' }));
  writeFileSync(join(earlier.workspace, 'a.txt'), 'one\n');
  writeFileSync(join(earlier.workspace, 'README.md'), 'hello\nthere\n');
  const made = await earlier.take();
  const bytes = readFileSync(earlier.patchFile);
  const work = { sha256: made.patch_sha256, bytes: made.patch_bytes, tree: made.tree, file: null };
  const pod = await makePod({ agent: ['steer'], prompt: 'see a.txt\nappend a.txt=two', work });
  pod.door.works.set(work.sha256, bytes);
  pod.door.faults.damageWork = 1;
  const { recorder, launcher } = pod.run();
  expect([await launcher.ended, await recorder.ended]).toEqual([0, 0]);
  const { said, result } = pod.read();
  expect(said).toEqual([String.raw`a.txt is "one\n"`]);
  expect(result).toMatchObject({ additions: 3, base: made.base });
  expect(readFileSync(pod.paths.recorderLog, 'utf8')).toContain('it arrived damaged');

  const gone = await makePod({
    agent: ['steer'],
    work: { ...work, sha256: createHash('sha256').update('').digest('hex') },
  });
  const run = gone.run();
  await run.recorder.ended;
  expect(gone.read().eof).toMatchObject({ reason: 'setup_failed', message: expect.stringContaining('404') as string });
}, 60_000);
