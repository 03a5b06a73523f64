import { accessSync, constants, existsSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { newPerson } from '../../test/support/cli.ts';
import { gitAs } from '../../test/support/sources.ts';
import { until } from '../../test/support/until.ts';

const leftovers = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith('aideator-demo-'));

test('the whole loop: fails before, four variations, one refused, one shipped, passes there; nothing is left behind', async () => {
  const before = leftovers();
  // The user's own settings and keys must not matter.
  const person = newPerson({ env: { AIDEATOR_MAX_PARALLEL: '1', ANTHROPIC_API_KEY: 'sk-not-for-the-demo' } });
  const { code, out, err } = await person.run('demo', '--quick');
  expect([code, err]).toEqual([0, '']);
  const text = out.replaceAll(/\s+/g, ' ');
  expect(text).toContain('The model is scripted');
  // What this machine allows: the sandbox, or none and why.
  expect(text).toMatch(/Isolation: sandbox \(|No sandbox works here \(.*rights of the user/);
  expect(out).toMatch(/not ok {2}units add up\n +expected 5400\n +actual 3600/);
  for (const said of ['[0 smallest-change] thinking: ', '[1 test-first] tool: ', '[2 edge-cases-first] succeeded'])
    expect(out).toContain(said);
  expect(out).toMatch(/^0 smallest-change +succeeded +1 +\+\d+ -\d+ +0 .* \$0\.\d+/m);
  expect(out).toMatch(/^1 test-first +succeeded +2 +\+\d+ -\d+ +1 /m);
  expect(out).toMatch(/^2 edge-cases-first +succeeded +3 /m);
  expect(out).toMatch(/^3 no strategy +provider auth/m);
  expect(text).toMatch(/3 failed: .*invalid x-api-key/);
  expect(out).toMatch(/It is branch aideator\/\w+-1 of the repository now, commit [0-9a-f]{12}/);
  expect(out.slice(out.indexOf('5. '))).not.toContain('not ok');
  expect(out.slice(out.indexOf('5. '))).toContain('ok  units add up');
  // What it says to type next can be typed: in a clone nothing named aideator is on the PATH.
  expect(accessSync(/^ {2}(\/.+) run --prompt/m.exec(out)?.[1] ?? 'nothing', constants.X_OK)).toBeUndefined();
  expect(leftovers()).toEqual(before);
});

test('--keep keeps the repository with its branch; Ctrl-C cancels and cleans up', async () => {
  const before = leftovers();
  const person = newPerson();
  const kept = await person.run('demo', '--quick', '--keep', '--plain');
  expect(kept.code).toBe(0);
  const repository = /Kept: (\S+)/.exec(kept.out)?.[1] ?? '';
  onTestFinished(() => rmSync(dirname(repository), { recursive: true, force: true }));
  expect(gitAs(repository, 'branch', '--list', 'aideator/*')).toMatch(/aideator\/\w+-1/);
  expect(existsSync(join(repository, '..', 'data', 'aideator.sqlite'))).toBe(true);

  const running = person.start(['demo']);
  await until(() => running.out.includes('thinking:'));
  running.signal('interrupt');
  expect((await running.done).code).toBe(130);
  expect(leftovers().filter((name) => !before.includes(name))).toHaveLength(1);
}, 90_000);
