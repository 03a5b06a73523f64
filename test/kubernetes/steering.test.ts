import { createServer, type AddressInfo } from 'node:net';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { agentInPod, ask, objectsOf, startClusterHouse } from '../support/cluster-house.ts';
import { makeNamespace, realCluster } from '../support/real-cluster.ts';
import { steer } from '../support/steering.ts';

/** What reaches an attempt in a pod while it works, and after: prompts, earlier work, hosts; and what of a secret leaves it. */

const cluster = realCluster();
const namespace = `kubetests-steering-${process.pid}`;
/** Looks like a key, and is none. */
const KEY = `sk-ant-api03-${'abcDEF0123456789_'.repeat(6)}AA`;

describe.runIf(cluster !== null)('an attempt in a pod', () => {
  afterAll(cluster === null ? () => undefined : makeNamespace(cluster, namespace));

  it(
    'goes on as it is told, is forked, reaches a host that is allowed, and shows no key',
    { timeout: 240_000 },
    async () => {
      if (cluster === null) return;
      const host = createServer((socket) => socket.end('welcome'));
      await new Promise<void>((resolve) => host.listen(0, '127.0.0.1', resolve));
      onTestFinished(() => void host.close());
      const { port } = host.address() as AddressInfo;
      const house = await startClusterHouse(cluster, namespace, {
        script: 'models: { any: { turns: [{ text: hello }] } }',
        settings: {
          default_model: 'scripted/any',
          default_agent: 'steered',
          agents: { steered: agentInPod('steer'), other: agentInPod('steer', 'other') },
          sandbox: { allow_hosts: [`127.0.0.1:${port}`] },
        },
      });
      const { submit, running, tell, fork, said, patch, events } = steer(house);
      const over = (runId: string) => house.over(runId, 90_000);

      // While it works: the same session, the same log.
      const runId = await submit(`write a.txt=one\nsay key ${KEY}, and so on.\npause 6000\nsay first`);
      await running(runId);
      expect((await tell(runId, 0, `append a.txt=two\nreach 127.0.0.1:${port}\nreach 127.0.0.1:1`)).body.becomes).toBe(
        'next_turn',
      );
      const { variations } = await over(runId);
      expect(variations[0]).toMatchObject({ status: 'succeeded', additions: 2, attempts: [{ log_complete: true }] });
      expect((await said(runId, 0, 0)).slice(1)).toEqual(['first', '200 welcome', '403']);

      // What looks like a key is neither in the pod's log nor with the server.
      const log = await ask(cluster, 'logs', `job/agent-${runId}-0`, '-n', namespace);
      expect(log).toContain('[redacted: ');
      expect(log + JSON.stringify(await events(runId))).not.toContain(KEY.slice(0, 30));
      const secrets = JSON.stringify(await objectsOf(cluster, namespace, 'jobs,pods,secrets', runId));
      expect(secrets).not.toContain(KEY.slice(0, 30));

      // After its end: a Job that starts from its work, which comes by the attempt door.
      expect((await tell(runId, 0, 'see a.txt\nappend a.txt=three')).body.becomes).toBe('new_attempt');
      const again = await over(runId);
      expect(again.variations[0]).toMatchObject({ status: 'succeeded', additions: 3 });
      expect(await said(runId, 0, 1)).toEqual(['a.txt is "one\\ntwo\\n"']);
      const jobs = (await objectsOf(cluster, namespace, 'jobs', runId)).map(({ metadata }) => metadata.name);
      expect(jobs.map(String).toSorted()).toEqual([`agent-${runId}-0`, `agent-${runId}-0-r1`]);

      // A fork, by another agent.
      expect((await fork(runId, { from: 0, prompt: 'see a.txt\nwrite b.txt=fork', agent: 'other' })).status).toBe(202);
      const forked = await over(runId);
      expect(forked.variations.map(({ status, additions }) => [status, additions])).toEqual([
        ['succeeded', 3],
        ['succeeded', 4],
      ]);
      expect(await patch(runId, 1)).toContain('+fork');
    },
  );
});
