import { existsSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { prepareAttempt } from '../../test/support/recorded.ts';
import { tempDir } from '../../test/support/temp.ts';
import { writeSettings } from './settings-files.ts';

test('settings are written into HOME, and what stands for something is spelt as within double quotes', async () => {
  const home = tempDir();
  const words = { base_url: 'http://127.0.0.1:1', model: 'a"b\\c\nd' };
  await writeSettings(
    home,
    { '.x/settings.json': '{"url":"{base_url}/v1","model":"{model}","other":"{other}"}' },
    words,
  );
  const file = join(home, '.x', 'settings.json');
  expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({
    url: 'http://127.0.0.1:1/v1',
    model: 'a"b\\c\nd',
    other: '{other}',
  });
  expect([statSync(file).mode & 0o777, statSync(join(home, '.x')).mode & 0o777]).toEqual([0o600, 0o700]);
});

test('nothing leads out of HOME: no path, and no link that lies there', async () => {
  const home = tempDir();
  const outside = tempDir();
  await expect(writeSettings(home, { '../x': 'x' }, {})).rejects.toThrow(/within HOME/);
  symlinkSync(join(outside, 'target'), join(home, '.rc'));
  await expect(writeSettings(home, { '.rc': 'x' }, {})).rejects.toThrow(/EEXIST/);
  expect(existsSync(join(outside, 'target'))).toBe(false);
});

test('an attempt’s agent finds its settings, its command and its environment filled in', async () => {
  const attempt = prepareAttempt({ env: { SETTINGS: '{home}/.rc' } });
  attempt.spec.agent.files = { '.rc': 'model = "{model}" at "{base_url}"\n' };
  attempt.spec.agent.command = ['sh', '-c', 'cat "$HOME/.rc" >&2; echo "$0 $SETTINGS" >&2', '{dialect}'];
  const { of, eof } = await attempt.run();
  const said = of<{ text: string }>('stderr').map(({ text }) => text);
  expect(said.join('')).toMatch(/^model = "model-1" at "http:\/\/127\.0\.0\.1:\d+"\nanthropic \S+\/home\/\.rc\n$/);
  expect(eof.reason).toBe('agent_exit');
});

test('an attempt whose settings cannot be written says so, and starts nothing', async () => {
  const attempt = prepareAttempt();
  attempt.spec.agent.files = { '.rc': '', '.rc/too': '' };
  const { eof, of } = await attempt.run();
  expect(eof.reason).toBe('setup_failed');
  expect(eof.message).toMatch(/^The agent's settings could not be written: (EEXIST|ENOTDIR)/);
  expect(of('acp_sent')).toEqual([]);
});
