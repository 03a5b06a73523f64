import { execa } from 'execa';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { tempDir } from './support/temp.ts';

const root = join(import.meta.dirname, '..');
const rooms = ['contract', 'store', 'git', 'agent', 'gateway', 'runtime', 'flow', 'http', 'attempt-api', 'cli'];

/** Who may import whom; everything else has to be refused. */
const open: Record<string, string[]> = {
  contract: [],
  store: ['contract'],
  git: ['contract'],
  agent: ['contract', 'git'],
  gateway: ['contract'],
  runtime: ['contract', 'git', 'agent'],
  flow: ['contract', 'store', 'git', 'agent', 'gateway', 'runtime'],
  http: ['contract', 'store', 'git', 'agent', 'gateway', 'runtime', 'flow'],
  'attempt-api': ['contract', 'store', 'git', 'agent', 'gateway', 'runtime', 'flow'],
  cli: ['contract'],
};

const report = z.object({
  diagnostics: z.array(z.object({ code: z.string(), filename: z.string(), message: z.string() })),
});

it('lint refuses every import through a wall, of a value, a type or lazily, and no other', async () => {
  const planted = tempDir();
  cpSync(join(root, '.oxlintrc.json'), join(planted, '.oxlintrc.json'));
  symlinkSync(join(root, 'node_modules'), join(planted, 'node_modules'));
  for (const room of rooms) {
    mkdirSync(join(planted, 'src', room, 'inner'), { recursive: true });
    const others = [...rooms.filter((other) => other !== room).map((other) => `${other}/x.ts`), 'compose.ts'];
    const lines = others.flatMap((other) => [
      `import '../../${other}';`,
      `export type { T } from '../../${other}';`,
      `void import('../../${other}');`,
    ]);
    writeFileSync(join(planted, 'src', room, 'inner/x.ts'), lines.join('\n'));
  }

  const { stdout } = await execa(join(root, 'node_modules/.bin/oxlint'), ['--format', 'json', 'src'], {
    cwd: planted,
    reject: false,
  });
  const refused: Record<string, Record<string, number>> = {};
  for (const { code, filename, message } of report.parse(JSON.parse(stdout)).diagnostics) {
    const room = filename.split('/')[1];
    const other = /'\.\.\/\.\.\/([a-z-]+)[^']*' import is restricted/.exec(message)?.[1];
    if (!code.includes('no-restricted-imports') || room === undefined || other === undefined) continue;
    const counts = (refused[room] ??= {});
    counts[other] = (counts[other] ?? 0) + 1;
  }

  const closed = (room: string) =>
    [...rooms, 'compose'].filter((other) => other !== room && !open[room]?.includes(other));
  expect(refused).toEqual(
    Object.fromEntries(rooms.map((room) => [room, Object.fromEntries(closed(room).map((other) => [other, 3]))])),
  );
});

it('the bin loads nothing but Node before it has looked at the version', () => {
  const main = readFileSync(join(root, 'src/main.ts'), 'utf8');
  const loaded = [...main.matchAll(/^import (?!type ).*from '(.+)';$/gm)].map(([, from]) => from);
  expect(loaded).not.toEqual([]);
  expect(loaded.filter((from) => !from?.startsWith('node:'))).toEqual([]);
});
