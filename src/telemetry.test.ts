import { expect, it } from 'vitest';
import { createTelemetry } from './telemetry.ts';

function lines() {
  const written: string[] = [];
  return { written, destination: { write: (line: string) => void written.push(line) } };
}

it('writes JSON lines at and above its level, with time and level in words', () => {
  const { written, destination } = lines();
  const { log } = createTelemetry({ level: 'info', destination });
  log.debug({}, 'not this');
  log.child({ run: 'r' }).warn({ attempt: 'a' }, 'look');
  expect(written).toHaveLength(1);
  expect(JSON.parse(written[0] ?? '')).toEqual({
    level: 'warn',
    time: expect.stringMatching(/^\d{4}-.*\.\d{3}Z$/) as string,
    run: 'r',
    attempt: 'a',
    msg: 'look',
  });
});

it('says what an error was, with its stack', () => {
  const { written, destination } = lines();
  createTelemetry({ level: 'error', destination }).log.error({ err: new TypeError('inner') }, 'outer');
  expect(JSON.parse(written[0] ?? '')).toMatchObject({
    msg: 'outer',
    err: { type: 'TypeError', message: 'inner', stack: expect.stringContaining('telemetry.test') as string },
  });
});

it('keeps secrets out, even where somebody passes them', () => {
  const { written, destination } = lines();
  const { log } = createTelemetry({ level: 'info', destination });
  log.info(
    {
      key: 's3cret',
      authorization: 's3cret',
      headers: { a: 's3cret' },
      request: { token: 's3cret', api_key: 's3cret' },
    },
    'x',
  );
  expect(written.join('')).not.toContain('s3cret');
});

it('writes to stderr where nothing else is said', () => {
  expect(() => createTelemetry({ level: 'silent' }).log.info({}, 'x')).not.toThrow();
});

it('counts', async () => {
  const { metrics } = createTelemetry({ level: 'silent' });
  let asked = 0;
  metrics.states(async () => {
    asked += 1;
    return { runs: asked === 1 ? { queued: 1, failed: 2 } : { failed: 3 }, variations: { running: 4 } };
  });
  metrics.subscribers(() => 7);
  metrics.request({ route: '/a', method: 'GET', status: 200, seconds: 0.01 });
  metrics.request({ route: '/a/stream', method: 'GET', status: 200, seconds: 100 });
  metrics.activeAttempts(5);
  metrics.committed(10);
  metrics.committed(1);
  metrics.streamed(2048);
  metrics.gaps(2);
  metrics.transportProblem();
  const tokens = { input: 100, output: 5, cacheRead: null, cacheWrite: 0 };
  metrics.modelCall({ provider: 'p', status: 200, tokens, costMicrodollars: 30 });
  metrics.modelCall({ provider: 'p', status: 200, tokens, costMicrodollars: null });
  const text = await metrics.render();
  for (const line of [
    'aideator_runs{status="queued"} 1',
    'aideator_runs{status="failed"} 2',
    'aideator_variations{status="running"} 4',
    'aideator_sse_subscribers 7',
    'aideator_http_requests_total{route="/a",method="GET",status="200"} 1',
    'aideator_http_request_duration_seconds_count{route="/a",method="GET"} 1',
    'aideator_active_attempts 5',
    'aideator_events_committed_total 11',
    'aideator_sse_bytes_total 2048',
    'aideator_gaps_total 2',
    'aideator_transport_problems_total 1',
    'aideator_model_calls_total{provider="p",status="200"} 2',
    'aideator_model_tokens_total{provider="p",kind="input"} 200',
    'aideator_model_tokens_total{provider="p",kind="cache_write"} 0',
    'aideator_model_cost_microdollars_total{provider="p"} 30',
    'aideator_model_calls_unpriced_total{provider="p"} 1',
  ]) {
    expect(text.split('\n')).toContain(line);
  }
  expect(text).not.toContain('kind="cache_read"');
  expect(text).not.toContain('route="/a/stream",method="GET",le');
  expect(asked).toBe(1);
  // What has become none does not stay at its last number.
  const later = await metrics.render();
  expect(later).toContain('aideator_runs{status="failed"} 3');
  expect(later).not.toContain('aideator_runs{status="queued"}');
  expect(metrics.contentType).toMatch(/^text\/plain/);
});
