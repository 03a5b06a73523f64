import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { makePod } from '../../../test/support/pod.ts';

test('a whole attempt: its lines are at the server byte for byte, its patch arrives, both processes end as it did', async () => {
  const pod = await makePod({ agent: ['write', 'new.txt=hello'], prompt: 'do “it”' });
  const { recorder, launcher } = pod.run();
  expect(await launcher.ended).toBe(0);
  expect(await recorder.ended).toBe(0);
  const { eof, result, said, notes } = pod.read();
  expect(eof).toMatchObject({ reason: 'end_turn', exit: { code: 0, signal: null } });
  expect(said).toEqual(['written']);
  expect(notes).toEqual(['recorder_started']);
  expect(result?.files.map(({ path }) => path)).toEqual(['new.txt']);
  expect(pod.door.kept().equals(pod.numbered())).toBe(true);
  expect(pod.log().equals(readFileSync(pod.paths.journal))).toBe(true);
  expect(pod.door.patches.get(result!.patch_sha256)?.toString()).toContain('+hello');
  expect(pod.lastWord()).toEqual({ lastSeq: eof.lastSeq, sha256: eof.sha256, reason: 'end_turn' });
  expect(recorder.stderr() + launcher.stderr()).toBe('');
});
