import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { tempDir } from '../support/temp.ts';

const WRITER = fileURLToPath(new URL('full-volume-writer.ts', import.meta.url));

/** A volume of 3 MB in a mount namespace of the child's own: on Linux that needs no rights. */
const SCRIPT = 'mount -t tmpfs -o size=3m tmpfs "$1" && exec "$2" "$3" "$1"';
const unshare = (...rest: string[]) =>
  spawnSync('unshare', ['--map-root-user', '--mount', ...rest], { encoding: 'utf8' });
const possible = unshare('sh', '-c', 'mount -t tmpfs tmpfs /tmp').status === 0;

test.skipIf(!possible)(
  'on a volume that is full, nothing acknowledged is lost and nothing else is there; it goes on with space',
  () => {
    const { stdout, stderr } = unshare('sh', '-c', SCRIPT, 'sh', tempDir(), process.execPath, WRITER);
    expect(stderr).toBe('');
    const { opening, full, goneOn, reopened } = JSON.parse(stdout) as {
      opening: Record<string, string>;
      full: { acknowledged: number; published: number; stored: number; failures: Record<string, number> };
      goneOn: { stored: number };
      reopened: { stored: number; ids: number };
    };
    expect(opening).toEqual({ 0: 'disk_full', 8192: 'disk_full', 65536: 'disk_full' });
    expect(full.acknowledged).toBeGreaterThan(0);
    expect(full.failures).toEqual({ disk_full: 100 - full.acknowledged / 20 });
    expect(full.published).toBe(full.acknowledged);
    expect(full.stored).toBe(full.acknowledged);
    expect(goneOn.stored).toBe(full.acknowledged + 100);
    expect(reopened).toEqual({ stored: full.acknowledged + 100, ids: full.acknowledged + 100 });
  },
);
