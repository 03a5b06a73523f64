import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { startServer } from './model-server.ts';
import { tempDir } from './temp.ts';

/** A package as a registry has it. */
export interface TestPackage {
  name: string;
  version: string;
  /** Its files beside package.json. */
  files: Record<string, string>;
  /** More of its package.json. */
  more?: Record<string, unknown>;
  /** What the registry says the version is, where it lies. */
  claims?: string;
}

/** A registry that npm installs from for real, on a loopback port; and the environment in which npm asks it. */
export async function startRegistry(
  packages: readonly TestPackage[],
): Promise<{ env: Record<string, string>; asked: () => string[] }> {
  const made = packages.map((each) => ({ ...each, tarball: tarballOf(each) }));
  const server = await startServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '').slice(1);
    const tarball = made.find(({ name }) => path === `tarballs/${name}.tgz`);
    if (tarball !== undefined) {
      response.end(tarball.tarball);
      return;
    }
    const found = made.find(({ name }) => name === path);
    if (found === undefined) {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"Not found"}');
      return;
    }
    const { name, version, claims = version } = found;
    const integrity = `sha512-${createHash('sha512').update(found.tarball).digest('base64')}`;
    const dist = { tarball: `${server.baseUrl}/tarballs/${encodeURIComponent(name)}.tgz`, integrity };
    response.writeHead(200, { 'content-type': 'application/json' }).end(
      JSON.stringify({
        name,
        'dist-tags': { latest: claims },
        versions: { [claims]: { name, version: claims, ...found.more, dist } },
      }),
    );
  });
  const home = tempDir();
  return {
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: home,
      npm_config_registry: `${server.baseUrl}/`,
      npm_config_fetch_retries: '0',
      npm_config_update_notifier: 'false',
    },
    asked: () => server.requests.map(({ url }) => url),
  };
}

function tarballOf({ name, version, files, more }: TestPackage): Buffer {
  const folder = tempDir();
  const all = { 'package.json': JSON.stringify({ name, version, ...more }), ...files };
  for (const [path, text] of Object.entries(all)) {
    const file = join(folder, 'package', path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text, { mode: 0o755 });
  }
  execFileSync('tar', ['-czf', 'package.tgz', 'package'], { cwd: folder });
  return readFileSync(join(folder, 'package.tgz'));
}
