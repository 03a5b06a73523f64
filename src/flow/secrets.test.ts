import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { tempDir } from '../../test/support/temp.ts';
import { until } from '../../test/support/until.ts';
import { watchKeyFile } from '../gateway/key-file.ts';
import { createFinder } from '../redaction/finder.ts';
import { redactText } from '../redaction/redact.ts';
import { createSecrets, passwordIn } from './secrets.ts';

const nothing = { keys: {}, providers: {}, api_key: null, agents: {}, env: {} };
const value = (name: string): string => `${name}-0Zq81x9AbCdEf0123456789q`;

it('knows what configuration and environment hold of secrets, and takes nothing else for one', () => {
  const secrets = createSecrets({
    ...nothing,
    keys: { p: { key: value('key'), from: null }, placeholder: { key: 'ollama', from: null } },
    providers: {
      p: {
        kind: 'openai',
        base_url: `https://me:${value('p%40ss')}@example.com/v1`,
        headers: {
          'x-team': `Basic ${Buffer.from(`me:${value('basic')}`).toString('base64')}`,
          'anthropic-beta': 'context-1m-2025-08-07',
        },
      },
    },
    env: {
      GH_TOKEN: value('token'),
      DATABASE_URL: `postgres://me:${value('database')}@example.com/x`,
      SSH_AUTH_SOCK: '/tmp/ssh-XXXXXXabcdef/agent.1234567',
      HOME: '/home/somebody-with-a-long-name-1',
      EDITOR: value('editor'),
      MY_PASSWORD: 'correcthorsebatterystaple',
    },
  });
  const hidden = ['key', 'p%40ss', 'p@ss', 'basic', 'token', 'database'].map(value);
  for (const each of hidden) expect(secrets.text(`so ${each} it is`)).toMatch(/^so \[redacted: [^\]]+\] it is$/);
  const shown = `ollama context-1m-2025-08-07 /tmp/ssh-XXXXXXabcdef/agent.1234567 ${value('editor')}`;
  expect(secrets.text(shown)).toBe(shown);

  // A word can be guessed from its prints: the server alone knows it.
  expect(secrets.text('correcthorsebatterystaple')).toBe('[redacted: MY_PASSWORD of the environment]');
  const recorder = createFinder([secrets.prints()]);
  expect(redactText(recorder, 'correcthorsebatterystaple')).toBe('correcthorsebatterystaple');
  for (const each of hidden) expect(redactText(recorder, each)).toMatch(/^\[redacted: /);
  expect(hidden.filter((each) => JSON.stringify(secrets.prints()).includes(each.slice(0, 16)))).toEqual([]);
});

it('knows a key that was rotated, and the one before it; what is learned counts from then on', async () => {
  const path = join(tempDir(), 'key');
  writeFileSync(path, value('first'));
  const key = watchKeyFile(path, value('first'), () => undefined);
  const secrets = createSecrets(nothing);
  secrets.follow({
    p: {
      kind: 'openai',
      baseUrl: '',
      keyFrom: null,
      keyNeeded: true,
      get key() {
        return key();
      },
    },
  });
  expect(secrets.text(value('first'))).toBe('[redacted: key of p]');
  writeFileSync(`${path}.new`, value('second'));
  renameSync(`${path}.new`, path);
  await until(() => secrets.text(value('second')) === '[redacted: key of p]');
  expect(secrets.text(value('first'))).toBe('[redacted: key of p]');

  for (const each of passwordIn(`https://me:${value('git')}@example.com/x.git`, 'password')) {
    secrets.learn(each.value, each.what);
  }
  expect(secrets.json(JSON.stringify({ a: `${value('git')} by me` }))).toBe('{"a":"[redacted: password] by me"}');
});
