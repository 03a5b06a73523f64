import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { newPerson } from '../../../test/support/cli.ts';
import { sampleRun, sampleVariation } from '../../../test/support/sample-run.ts';
import type { AttemptView, Run } from '../../contract/api.ts';
import { END_REASONS } from '../../contract/run.ts';
import { reasonWords } from '../end-reasons.ts';

/** A server that answers with this run. */
async function serving(run: Run): Promise<string> {
  const server = createServer((_request, response) =>
    response.setHeader('content-type', 'application/json').end(JSON.stringify(run)),
  );
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  onTestFinished(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('show names the Job, what it waits for, and what is missing', async () => {
  const [attempt] = sampleVariation(0).attempts;
  const at = (more: Partial<AttemptView>): AttemptView => ({ ...attempt!, ...more });
  const run = sampleRun({
    image: 'registry.example/tools:1',
    variations: [
      sampleVariation(0, {
        status: 'starting',
        attempts: [
          at({
            status: 'lost',
            end_reason: 'node_lost',
            job: 'agent-k3xyzabcde-0',
            log_complete: false,
            gaps: [
              { from_seq: 5, to_seq: 5, reason: 'rotated' },
              { from_seq: 8, to_seq: 17, reason: 'rotated' },
              { from_seq: 40, to_seq: null, reason: 'the node is gone' },
            ],
          }),
          at({
            attempt: 1,
            status: 'starting',
            end_reason: null,
            job: 'agent-k3xyzabcde-0-r1',
            isolation: 'a pod',
            log_complete: null,
            waiting: {
              reason: 'Unschedulable',
              message: '0/1 nodes are available: 1 Insufficient cpu.',
              since: '2026-11-23T12:00:00.000Z',
            },
          }),
        ],
      }),
    ],
  });
  const { out } = await newPerson().run('show', run.run_id, '--url', await serving(run), '--no-color');
  const said = out.replaceAll(/\n {13}/g, ' ');
  expect(said).toMatch(/^image {8}registry\.example\/tools:1$/m);
  expect(said).toMatch(/ {2}attempt 0 {2}lost \(node_lost\); 42 lines; log has gaps\n {2}isolation {2}process: /);
  expect(said).toMatch(/ {2}attempt 1 {2}starting; 42 lines\n {2}isolation {2}a pod$/m);
  expect(said).toMatch(/^ {4}job {6}agent-k3xyzabcde-0\n {4}missing {2}line 5: rotated$/m);
  expect(said).toContain(
    '    missing  lines 8 to 17 (10): rotated\n    missing  all from line 40 on: the node is gone',
  );
  expect(said).toMatch(
    /^ {4}job {6}agent-k3xyzabcde-0-r1\n {4}waiting {2}Unschedulable: 0\/1 nodes are available: 1 Insufficient cpu\., since \d\d:\d\d:\d\d$/m,
  );
});

test('every reason to end fits its column, in words', () => {
  for (const reason of END_REASONS) {
    expect(reasonWords(reason)).toMatch(/^[A-Za-z ]{3,21}$/);
  }
  expect(reasonWords('new_reason')).toBe('new reason');
});
