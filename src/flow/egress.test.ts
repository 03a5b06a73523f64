import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { tempDir } from '../../test/support/temp.ts';
import { createTelemetry } from '../telemetry.ts';
import { openStore } from '../store/database.ts';
import type { LiveAttempt } from './context.ts';
import { createEgressNotes } from './egress.ts';
import { createSecrets } from './secrets.ts';

test('a key that an agent writes as a host’s name is in no note of it', async () => {
  const key = 'q7x9k2m4p8r1t5v3w6y0z2b4';
  const secrets = createSecrets({
    ...{ keys: { p: { key, from: null } }, providers: {} },
    ...{ api_key: null, agents: {}, env: {} },
  });
  const store = openStore(join(tempDir(), 'aideator.sqlite'), { synchronous: 'normal', report: () => undefined });
  onTestFinished(() => store.close());
  const tell = createEgressNotes({ store, secrets, telemetry: createTelemetry({ level: 'silent' }) });
  const attempt = { runNo: 1, runId: 'r', variation: 0, attempt: 0, attemptId: 'a', bookings: new Set() };
  const target = `${key}.example.com:443`;
  const asCaller = attempt as Partial<LiveAttempt> as LiveAttempt;
  const why = `${target} is not among the hosts that may be reached.`;
  tell(asCaller, { kind: 'refused', target, code: 'host_not_allowed', why });
  tell(asCaller, { kind: 'opened', target });
  await Promise.all(attempt.bookings);
  const frames = await store.db.selectFrom('events').select('frame').execute();
  const all = frames.map(({ frame }) => frame).join('\n');
  expect(frames.length).toBe(2);
  expect(all).not.toContain(key);
  expect(all.split('[redacted: key of p].example.com:443').length).toBe(5);
});
