import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { EventPage } from '../src/contract/api.ts';
import { startTestHouse } from './support/house.ts';
import { createPki } from './support/pki.ts';
import { noSandbox } from './support/sandbox.ts';
import { writeFiles } from './support/repository.ts';
import { sourceRepository } from './support/sources.ts';
import { tempDir } from './support/temp.ts';

/** A registry of one package, over TLS, at an address that no program leaves out of its proxy. */
async function openRegistry(pki: ReturnType<typeof createPki>) {
  const folder = tempDir();
  writeFiles(folder, {
    'package/package.json': JSON.stringify({ name: 'tiny', version: '1.0.0', main: 'index.js' }),
    'package/index.js': "module.exports = 'from the registry';\n",
  });
  execFileSync('tar', ['-czf', 'tiny.tgz', 'package'], { cwd: folder });
  const tarball = readFileSync(join(folder, 'tiny.tgz'));
  const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`;
  const asked: string[] = [];
  const server = createServer(pki.server, (request, response) => {
    asked.push(request.url ?? '');
    if (request.url === '/tiny/-/tiny-1.0.0.tgz') response.end(tarball);
    else response.writeHead(404).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.2', resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  return { port, url: `https://127.0.0.2:${port}/`, integrity, asked };
}

test('npm ci of an agent reaches its registry and nothing else, and both are told', async () => {
  const pki = createPki();
  const registry = await openRegistry(pki);
  const elsewhere = `127.0.0.3:${registry.port}`;
  const repository = sourceRepository({
    '.gitignore': 'node_modules\n',
    '.npmrc': `registry=${registry.url}\ncafile=ca.pem\nfetch-retries=0\naudit=false\nfund=false\nupdate-notifier=false\n`,
    'ca.pem': pki.ca,
    'package.json': JSON.stringify({ name: 'app', version: '1.0.0', dependencies: { tiny: '1.0.0' } }),
    'package-lock.json': JSON.stringify({
      ...{ name: 'app', version: '1.0.0', lockfileVersion: 3 },
      packages: {
        '': { name: 'app', version: '1.0.0', dependencies: { tiny: '1.0.0' } },
        'node_modules/tiny': {
          ...{ version: '1.0.0', integrity: registry.integrity },
          resolved: `${registry.url}tiny/-/tiny-1.0.0.tgz`,
        },
      },
    }),
  });
  const commands = [
    'npm ci 2>&1; node -p "require(\'tiny\')" > value.txt',
    `npm view other --registry https://${elsewhere} 2>&1`,
    `curl -sS http://${elsewhere}/ 2>&1`,
  ];
  const house = await startTestHouse({
    // In the sandbox where one works: there is no other way out of it.
    settings: {
      sandbox: { mode: noSandbox === null ? 'auto' : 'off', allow_hosts: [`127.0.0.2:${registry.port}`] },
      default_model: 'scripted/worker',
    },
    script: JSON.stringify({
      models: {
        worker: {
          turns: [...commands.map((command) => ({ tools: [{ name: 'bash', input: { command } }] })), { text: 'Done.' }],
        },
      },
    }),
  });
  const run = await house.over(await house.submit({ repository, prompt: 'Install.', variations: [{}] }));
  const page = await house.api<EventPage>('GET', `/api/v1/runs/${run.run_id}/outputs?limit=1000`);
  expect(run.variations[0]?.status, page.text).toBe('succeeded');
  const patch = await house.api('GET', `/api/v1/runs/${run.run_id}/variations/0/patch`);
  expect(patch.text, page.text).toContain('+from the registry');
  expect(registry.asked).toEqual(['/tiny/-/tiny-1.0.0.tgz']);

  const notes = page.body.events.flatMap(({ type, data }) => (data['kind'] === 'note' ? [{ type, ...data }] : []));
  expect(notes).toContainEqual(
    expect.objectContaining({
      type: 'agent_output',
      content: `The agent was connected to 127.0.0.2:${registry.port}.`,
      message: { code: 'host_reached', target: `127.0.0.2:${registry.port}` },
    }),
  );
  const refused = notes.filter((note) => note.type === 'agent_error');
  expect(refused).toEqual([
    expect.objectContaining({ message: { code: 'host_not_allowed', target: elsewhere }, attempt: 0, variation_id: 0 }),
  ]);
  // Curl was answered why plain http goes nowhere.
  expect(page.text).toContain('Plain http is not let through');
  const { text } = await house.api('GET', '/metrics');
  expect(text).toContain('aideator_egress_connections_total{outcome="opened"} 1');
  expect(text).toMatch(/aideator_egress_bytes_total\{direction="in"\} \d{3}/);
});
