import { describe, expect, it } from 'vitest';
import { ask, refusal } from '../../test/support/answers.ts';
import { testDoor } from '../../test/support/public-door.ts';
import { MAX_BODY_BYTES } from '../contract/api.ts';
import { AppError } from '../errors.ts';

const RUNS = '/api/v1/runs';
const submission = { repository: '/repo', prompt: 'Do it' };

describe('routes', () => {
  it('hands each request to the flow as it was meant, and answers as described', async () => {
    const { app, flow, addRun } = await testDoor();
    const { id } = await addRun();
    const one = `${RUNS}/${id}`;
    const cases: [string, string, unknown, number, string][] = [
      ['POST', RUNS, { ...submission, variations: [{ agent: 'a' }] }, 202, 'submit Do it [{"agent":"a"}]'],
      ['POST', RUNS, submission, 202, 'submit Do it 3'],
      ['GET', RUNS, undefined, 200, 'list {"limit":50}'],
      [
        'GET',
        `${RUNS}?limit=2&status=failed&cursor=x`,
        undefined,
        200,
        'list {"cursor":"x","limit":2,"status":"failed"}',
      ],
      ['GET', one, undefined, 200, `run ${id}`],
      ['GET', `${one}/status`, undefined, 200, `status ${id}`],
      [
        'GET',
        `${one}/outputs?after=7&limit=9&variation_id=0`,
        undefined,
        200,
        `outputs ${id} {"after":7,"limit":9,"variation":0}`,
      ],
      ['GET', `${one}/outputs`, undefined, 200, `outputs ${id} {"after":0,"limit":200}`],
      ['GET', `${one}/compare`, undefined, 200, `compare ${id}`],
      ['GET', `${one}/diff?a=0&b=1`, undefined, 200, `diff ${id} 0 1`],
      [
        'POST',
        `${one}/select`,
        { winning_variation_id: 0 },
        200,
        `select ${id} {"winning_variation_id":0,"force":false,"cancel_rest":false}`,
      ],
      ['POST', `${one}/ship`, { kind: 'branch' }, 200, `ship ${id} {"kind":"branch","force":false}`],
      ['POST', `${one}/cancel`, undefined, 200, `cancel ${id} all`],
      ['POST', `${one}/cancel`, {}, 200, `cancel ${id} all`],
      ['GET', `${one}/variations/0`, undefined, 200, `variation ${id} 0`],
      ['POST', `${one}/variations/0/cancel`, undefined, 200, `cancel ${id} 0`],
      ['POST', `${one}/variations/2/retry`, undefined, 202, `retry ${id} 2`],
      ['DELETE', one, undefined, 202, `forget ${id}`],
      ['GET', '/api/v1/info', undefined, 200, 'info'],
    ];
    for (const [method, path, body, status, call] of cases) {
      const answer = await ask(app, method, path, { body });
      expect([method, path, answer.status]).toEqual([method, path, status]);
      expect(flow.calls.at(-1)).toBe(call);
    }
  });

  it('gives a patch byte for byte', async () => {
    const { app, addRun } = await testDoor();
    const { id } = await addRun();
    const response = await app.request(`${RUNS}/${id}/variations/1/patch`);
    expect(response.headers.get('content-type')).toBe('text/x-diff');
    expect(Buffer.from(await response.arrayBuffer())).toEqual(Buffer.from([0x2d, 0xff, 0x00, 0x0a]));
  });

  it('answers 204 to the deletion of a run that is gone', async () => {
    const { app, addRun } = await testDoor();
    const run = await addRun();
    run.over = true;
    const { status, text } = await ask(app, 'DELETE', `${RUNS}/${run.id}`);
    expect([status, text]).toEqual([204, '']);
  });

  it('answers HEAD like GET, without a body', async () => {
    const { app, addRun } = await testDoor();
    const { id } = await addRun();
    const { status, text, headers } = await ask(app, 'HEAD', `${RUNS}/${id}`);
    expect([status, text, headers.get('content-type')]).toEqual([200, '', 'application/json']);
  });

  it('keeps a NUL, quotes and characters beyond U+FFFF in a prompt', async () => {
    const { app, flow } = await testDoor();
    const prompt = 'a\u0000b "c" \u{1f600} {{d}}';
    expect((await ask(app, 'POST', RUNS, { body: { ...submission, prompt } })).status).toBe(202);
    expect(flow.calls).toEqual([`submit ${prompt} 3`]);
  });

  it('shows metrics, health and readiness', async () => {
    const { app, addRun } = await testDoor();
    const { id } = await addRun();
    await ask(app, 'GET', `${RUNS}/${id}`);
    expect((await ask(app, 'GET', '/healthz')).json).toEqual({ status: 'ok', version: '0.0.0-test' });
    expect((await ask(app, 'GET', '/readyz')).json).toEqual({ status: 'ready' });
    const { text } = await ask(app, 'GET', '/metrics');
    expect(text).toContain('aideator_http_requests_total{route="/api/v1/runs/:id",method="GET",status="200"} 1');
    expect(text).toContain('aideator_sse_subscribers 0');
    expect(text).toContain('process_cpu_seconds_total');
  });

  it('is not ready, and takes nothing more, once it is closing', async () => {
    const { app, streams } = await testDoor();
    await streams.close();
    expect((await refusal(app, 'GET', '/readyz')).code).toBe('shutting_down');
    expect((await refusal(app, 'POST', RUNS, { body: submission })).code).toBe('shutting_down');
    expect((await ask(app, 'GET', '/healthz')).status).toBe(200);
  });

  it('is not ready when the store cannot be written', async () => {
    const { app, store } = await testDoor();
    await store.close();
    expect((await ask(app, 'GET', '/readyz')).status).toBe(503);
  });
});

describe('refusals', () => {
  it('says which field is wrong and why', async () => {
    const { app, flow } = await testDoor();
    const body = {
      repository: '',
      prompt: 1,
      variations: [{ model: 'm', limit: 1 }, { dialect: 'x' }],
      limits: { timeout_seconds: 0 },
      colour: 'red',
    };
    const { code, errors, detail } = await refusal(app, 'POST', RUNS, { body });
    expect(code).toBe('invalid_request');
    expect(errors?.map(({ path }) => path).toSorted()).toEqual([
      'colour',
      'limits.timeout_seconds',
      'prompt',
      'repository',
      'variations.0.limit',
      'variations.1.dialect',
    ]);
    expect(errors?.find(({ path }) => path === 'colour')?.message).toBe('There is no such field.');
    expect(detail).toMatch(/and 5 more/);
    expect(flow.calls).toEqual([]);
  });

  it('says what a field with alternatives may be', async () => {
    const { app } = await testDoor();
    const { errors } = await refusal(app, 'POST', RUNS, { body: { ...submission, variations: 'many' } });
    expect(errors).toEqual([{ path: 'variations', message: expect.stringMatching(/; or: /) as string }]);
  });

  it('names wrong places in paths, queries and headers', async () => {
    const { app, addRun } = await testDoor();
    const { id } = await addRun();
    const first = async (path: string, method = 'GET', headers = {}) => {
      const { status, errors } = await refusal(app, method, path, { headers });
      return [status, errors?.[0]?.path];
    };
    expect(await first(`${RUNS}/UPPER`)).toEqual([400, 'path.id']);
    expect(await first(`${RUNS}/%00`)).toEqual([400, 'path.id']);
    expect(await first(`${RUNS}/${id}/variations/-1`)).toEqual([400, 'path.v']);
    expect(await first(`${RUNS}/${id}/variations/01`)).toEqual([400, 'path.v']);
    expect(await first(`${RUNS}/${id}/variations/9007199254740993`)).toEqual([400, 'path.v']);
    expect(await first(`${RUNS}?limit=0`)).toEqual([400, 'query.limit']);
    expect(await first(`${RUNS}?limit=1&limit=2`)).toEqual([400, 'query.limit']);
    expect(await first(`${RUNS}?state=failed`)).toEqual([400, 'query.state']);
    expect(await first(`${RUNS}/${id}/diff?a=0`)).toEqual([400, 'query.b']);
    expect(await first(`${RUNS}/${id}/outputs?after=1e3`)).toEqual([400, 'query.after']);
    expect(await first(`${RUNS}/${id}/cancel`, 'POST', { 'idempotency-key': 'a b' })).toEqual([
      400,
      'header.Idempotency-Key',
    ]);
  });

  it('knows a run that is not there from one that is not named', async () => {
    const { app, addRun } = await testDoor();
    const { id } = await addRun();
    expect((await refusal(app, 'GET', `${RUNS}/zzzzzzzzzz`)).code).toBe('run_not_found');
    expect((await refusal(app, 'GET', `${RUNS}/${id}/variations/31`)).code).toBe('variation_not_found');
    expect((await refusal(app, 'GET', `${RUNS}/zzzzzzzzzz/stream`)).code).toBe('run_not_found');
    expect((await refusal(app, 'DELETE', `${RUNS}/zzzzzzzzzz`)).code).toBe('run_not_found');
    const unknown = await refusal(app, 'GET', '/api/v1/nothing?x=1');
    expect([unknown.code, unknown.instance]).toEqual(['not_found', '/api/v1/nothing']);
  });

  it('answers a method that a path does not take with those it takes', async () => {
    const { app } = await testDoor();
    for (const [method, path, allow] of [
      ['PUT', RUNS, 'POST, GET, HEAD'],
      ['OPTIONS', `${RUNS}/abcdefghij`, 'GET, HEAD, DELETE'],
      ['POST', '/healthz', 'GET, HEAD'],
      ['GET', `${RUNS}/abcdefghij/cancel`, 'POST'],
    ] as const) {
      const { status, headers } = await ask(app, method, path);
      expect([method, path, status]).toEqual([method, path, 405]);
      expect(new Set(headers.get('allow')?.split(', '))).toEqual(new Set(allow.split(', ')));
    }
  });

  it('takes JSON in UTF-8 only', async () => {
    const { app, flow } = await testDoor();
    const json = { 'content-type': 'application/json' };
    const code = async (body: unknown, headers: Record<string, string> = json) =>
      (await refusal(app, 'POST', RUNS, { body, headers })).code;
    expect(await code('{"a":')).toBe('invalid_json');
    expect(await code('')).toBe('invalid_json');
    expect(await code(Buffer.from('{"repository":"/r","prompt":"\xff"}', 'latin1'))).toBe('invalid_encoding');
    expect(await code('{"repository":"/r","prompt":"\\ud800"}')).toBe('invalid_encoding');
    expect(await code('{"repository":"/r","prompt":"x","\\uDC00":1}')).toBe('invalid_encoding');
    expect(await code(`{"prompt":"\\ud83d\\ude00","deep":${'['.repeat(20_000)}${']'.repeat(20_000)}}`)).toBe(
      'invalid_request',
    );
    expect(await code(JSON.stringify(submission), { 'content-type': 'text/plain' })).toBe('unsupported_media_type');
    expect(await code(JSON.stringify(submission), { 'content-type': 'application/json; charset=latin1' })).toBe(
      'unsupported_media_type',
    );
    expect(await code(JSON.stringify(submission), { 'content-type': 'application/json ;charset=utf-8' })).toBe(
      'unsupported_media_type',
    );
    expect(await code(new TextEncoder().encode(JSON.stringify(submission)), {})).toBe('unsupported_media_type');
    expect(await code(undefined, {})).toBe('invalid_request');
    expect(flow.calls).toEqual([]);
    const good = await ask(app, 'POST', RUNS, {
      body: `\ufeff${JSON.stringify(submission)}`,
      headers: { 'content-type': 'Application/JSON; charset="UTF-8"' },
    });
    expect(good.status).toBe(202);
  });

  it('refuses a body that is too large, whether it says so or not', async () => {
    const { app } = await testDoor();
    const large = JSON.stringify({ ...submission, prompt: 'x'.repeat(MAX_BODY_BYTES) });
    const json = { 'content-type': 'application/json' };
    expect(
      (await refusal(app, 'POST', RUNS, { body: large, headers: { ...json, 'content-length': String(large.length) } }))
        .code,
    ).toBe('payload_too_large');
    let sent = 0;
    const endless = new ReadableStream({
      pull: (controller) => {
        sent += 1;
        controller.enqueue(Buffer.alloc(65_536, 32));
      },
    });
    expect((await refusal(app, 'POST', RUNS, { body: endless, headers: json })).code).toBe('payload_too_large');
    expect(sent).toBeLessThan(MAX_BODY_BYTES / 65_536 + 10);
  });

  it('says so when the connection ends within the body', async () => {
    const { app } = await testDoor();
    const torn = new ReadableStream({
      start: (controller) => {
        controller.enqueue(Buffer.from('{"repo'));
        controller.error(new Error('gone'));
      },
    });
    expect(
      (await refusal(app, 'POST', RUNS, { body: torn, headers: { 'content-type': 'application/json' } })).detail,
    ).toMatch(/ended before the body/);
  });

  it('refuses fields where nothing is asked', async () => {
    const { app, addRun } = await testDoor();
    const { id } = await addRun();
    expect((await refusal(app, 'POST', `${RUNS}/${id}/cancel`, { body: { force: true } })).errors?.[0]?.path).toBe(
      'force',
    );
  });

  it('passes on what the flow says, with its facts', async () => {
    const { app, flow, logged } = await testDoor();
    flow.failure = new AppError('unknown_model', 'There is no model x/y.', {
      hint: 'Use a/b.',
      details: { known: ['a/b'], status: 200 },
    });
    expect(await refusal(app, 'POST', RUNS, { body: submission })).toMatchObject({
      status: 422,
      code: 'unknown_model',
      detail: 'There is no model x/y.',
      hint: 'Use a/b.',
      known: ['a/b'],
    });
    expect(logged.join('')).not.toContain('unknown_model');
  });

  it('keeps what it did not foresee in the log, under the request id', async () => {
    const { app, flow, logged } = await testDoor();
    flow.failure = new TypeError('secret inner workings');
    const { text, headers, status } = await ask(app, 'POST', RUNS, {
      body: submission,
      headers: { 'x-request-id': 'mine-1' },
    });
    expect(status).toBe(500);
    expect(JSON.parse(text)).toMatchObject({ code: 'internal', request_id: 'mine-1' });
    expect(text).not.toMatch(/secret inner|at .*\.ts/);
    expect(headers.get('x-request-id')).toBe('mine-1');
    expect(logged.find((line) => line.includes('secret inner workings'))).toContain('"request_id":"mine-1"');
  });

  it('makes up a request id where the one that came is not fit for a log', async () => {
    const { app } = await testDoor();
    const { headers } = await ask(app, 'GET', '/healthz', { headers: { 'x-request-id': 'a b"' } });
    expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe('documentation', () => {
  it('comes from this server alone', async () => {
    const { app } = await testDoor();
    const page = await ask(app, 'GET', '/docs');
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|https?:/);
    expect(page.text).not.toMatch(/https?:\/\//);
    const linked = [...page.text.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, path]) => path ?? '');
    expect(linked).toHaveLength(4);
    for (const path of linked) {
      const { status, text } = await ask(app, 'GET', path);
      expect([path, status]).toEqual([path, 200]);
      expect(text.length).toBeGreaterThan(50);
    }
    expect((await refusal(app, 'GET', '/docs/..%2Fpackage.json')).code).toBe('not_found');
    expect((await ask(app, 'GET', '/')).headers.get('location')).toBe('/docs');
  });
});
