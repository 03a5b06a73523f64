import { expect, test } from 'vitest';
import { newPerson, submit } from './support/cli.ts';
import { gitAs, sourceRepository } from './support/sources.ts';
import { makeGate, steered } from './support/steering.ts';

/** `tell` and `fork` as people type them. */

test('tell and fork: a next turn, a new attempt, a variation from another, and how it is shown', async () => {
  const { agents } = steered.settings;
  const person = newPerson({ settings: { default_agent: 'steered', agents } });
  const repository = sourceRepository({ 'value.txt': 'old\n' });
  const gate = makeGate();
  const id = await submit(person, repository, '-n', '1', '--agent', 'steered');
  await person.run('watch', id);

  const next = await person.run('tell', 'last', '0', `write value.txt=new\ngate ${gate.path}`);
  expect([next.code, next.err]).toEqual([0, '']);
  expect(next.out).toBe(
    `Variation 0 of run ${id} goes on from where it ended, as a new attempt.\nWatch it: aideator watch ${id} -v 0\n`,
  );
  const turn = await person.start(['tell', id, '0', '--prompt-file', '-'], {
    stdin: Buffer.from('append value.txt=two'),
  }).done;
  expect(turn.out).toContain(`Variation 0 of run ${id} does that when its turn has ended`);
  gate.open();
  const watched = await person.run('watch', id, '--plain');
  expect(watched.out).toMatch(/\[0 steered\] told: write value\.txt=new/);
  expect(watched.out).toMatch(/\[0 steered\] told \(after its turn\): append value\.txt=two/);

  const forked = await person.run('fork', id, '0', 'append value.txt=three', '--agent', 'other', '--json');
  expect(JSON.parse(forked.out)).toEqual({ run_id: id, variation_id: 1, forked_from: { variation_id: 0, attempt: 1 } });
  expect((await person.run('watch', id, '--plain')).out).toMatch(/told \(from variation 0\): append value\.txt=three/);
  expect((await person.run('compare', id)).out).toMatch(/^1 ← 0 no strategy .*succeeded/m);
  const shown = await person.run('show', id);
  expect(shown.out).toContain('  forked from variation 0, attempt 1');
  expect(shown.out.replaceAll(/\s+/g, ' ')).toContain('goes on from variation 0, attempt 0');
  expect(shown.out).toMatch(/result +1 file changed, \+2 -1 \(attempt 1\)/);

  await person.run('choose', id, '1');
  expect((await person.run('ship', id)).code).toBe(0);
  expect(gitAs(repository, 'show', `aideator/${id}-1:value.txt`)).toBe('new\ntwo\nthree');

  const wrong = [
    await person.run('tell', id, '0'),
    await person.run('tell', id, 'x', 'y'),
    await person.run('tell', id, '7', 'y'),
    await person.run('tell', id, '0', 'y', '--prompt-file', 'z'),
    await person.run('fork', id, '0', 'y', '--agent', 'nobody'),
  ];
  expect(wrong.map(({ code }) => code)).toEqual([2, 2, 3, 2, 2]);
  expect(wrong[0]?.err).toContain(`aideator tell ${id} 0 "…"`);
}, 90_000);
