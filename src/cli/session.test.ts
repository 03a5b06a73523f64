import { describe, expect, test } from 'vitest';
import { startServer } from '../../test/support/model-server.ts';
import { sampleRun } from '../../test/support/sample-run.ts';
import { Client } from './client.ts';
import { findRunId } from './session.ts';

/** A server that has these runs, two a page. */
async function clientOf(...ids: string[]): Promise<Client> {
  const { baseUrl } = await startServer((request, response) => {
    const at = Number(new URL(request.url ?? '', 'http://x').searchParams.get('cursor') ?? 0);
    const runs = ids.slice(at, at + 2).map((id) => sampleRun({ run_id: id }));
    response.end(JSON.stringify({ runs, next_cursor: at + 2 < ids.length ? String(at + 2) : null }));
  });
  return new Client({ url: baseUrl });
}

describe('a run is named', () => {
  test('by its id, by its beginning, on whatever page, or as the last', async () => {
    const client = await clientOf('abcdefghjk', 'abxxxxxxxx', 'kbbbbbbbbb', 'mccccccccc', 'nddddddddd');
    expect(await findRunId(client, 'zzzzzzzzzz')).toBe('zzzzzzzzzz');
    expect(await findRunId(client, 'n')).toBe('nddddddddd');
    expect(await findRunId(client, 'abc')).toBe('abcdefghjk');
    expect(await findRunId(client, 'last')).toBe('abcdefghjk');
    await expect(findRunId(client, 'ab')).rejects.toMatchObject({
      code: 'invalid_request',
      message: `More than one run's id begins with "ab": abcdefghjk, abxxxxxxxx.`,
    });
    await expect(findRunId(client, 'q')).rejects.toMatchObject({ code: 'run_not_found' });
  });

  test('as the last, where there is none', async () => {
    await expect(findRunId(await clientOf(), 'last')).rejects.toMatchObject({
      code: 'run_not_found',
      message: 'There is no run yet.',
    });
  });

  test('by a beginning that many have', async () => {
    const client = await clientOf(...Array.from({ length: 9 }, (_, at) => `aaaaaaaaa${'bcdefghjk'[at] ?? ''}`));
    await expect(findRunId(client, 'a')).rejects.toThrow(/aaaaaaaaaf …\.$/);
  });
});
