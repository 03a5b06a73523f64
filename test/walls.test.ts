import { execa } from 'execa';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { tempDir } from './support/temp.ts';

const root = join(import.meta.dirname, '..');
const rooms = [
  'contract',
  'redaction',
  'store',
  'git',
  'agent',
  'gateway',
  'runtime',
  'flow',
  'http',
  'attempt-api',
  'cli',
];

/** Who may import whom; everything else has to be refused. */
const open: Record<string, string[]> = {
  contract: [],
  redaction: ['contract'],
  store: ['contract', 'redaction'],
  git: ['contract', 'redaction'],
  agent: ['contract', 'redaction', 'git'],
  gateway: ['contract', 'redaction'],
  runtime: ['contract', 'redaction', 'git', 'agent'],
  flow: ['contract', 'redaction', 'store', 'git', 'agent', 'gateway', 'runtime'],
  http: ['contract', 'redaction', 'store', 'git', 'agent', 'gateway', 'runtime', 'flow'],
  'attempt-api': ['contract', 'redaction', 'store', 'git', 'agent', 'gateway', 'runtime', 'flow'],
  cli: ['contract'],
};

/** Folders of a room with a wall of their own, and what they may import beside the room itself. */
const annexes: Record<string, { room: string; open: string[] }> = {
  // A run on a server far away is sent from, and shipped to, the person's own clone: by the code that the server ships with.
  'cli/clone': { room: 'cli', open: ['contract', 'git'] },
};

const report = z.object({
  diagnostics: z.array(z.object({ code: z.string(), filename: z.string(), message: z.string() })),
});

it('lint refuses every import through a wall, of a value, a type or lazily, and no other', async () => {
  const planted = tempDir();
  cpSync(join(root, '.oxlintrc.json'), join(planted, '.oxlintrc.json'));
  symlinkSync(join(root, 'node_modules'), join(planted, 'node_modules'));
  const folders = [
    ...rooms.map((room) => ({ folder: `${room}/inner`, room, allowed: open[room] })),
    ...Object.entries(annexes).map(([folder, annex]) => ({ folder, room: annex.room, allowed: annex.open })),
  ];
  for (const { folder, room } of folders) {
    mkdirSync(join(planted, 'src', folder), { recursive: true });
    const others = [...rooms.filter((other) => other !== room).map((other) => `${other}/x.ts`), 'compose.ts'];
    const lines = others.flatMap((other) => [
      `import '../../${other}';`,
      `export type { T } from '../../${other}';`,
      `void import('../../${other}');`,
    ]);
    writeFileSync(join(planted, 'src', folder, 'x.ts'), lines.join('\n'));
  }

  const { stdout } = await execa(join(root, 'node_modules/.bin/oxlint'), ['--format', 'json', 'src'], {
    cwd: planted,
    reject: false,
  });
  const refused: Record<string, Record<string, number>> = {};
  for (const { code, filename, message } of report.parse(JSON.parse(stdout)).diagnostics) {
    const folder = filename.split('/').slice(1, 3).join('/');
    const other = /'\.\.\/\.\.\/([a-z-]+)[^']*' import is restricted/.exec(message)?.[1];
    if (!code.includes('no-restricted-imports') || other === undefined) continue;
    const counts = (refused[folder] ??= {});
    counts[other] = (counts[other] ?? 0) + 1;
  }

  expect(refused).toEqual(
    Object.fromEntries(
      folders.map(({ folder, room, allowed }) => [
        folder,
        Object.fromEntries(
          [...rooms, 'compose']
            .filter((other) => other !== room && allowed?.includes(other) !== true)
            .map((other) => [other, 3]),
        ),
      ]),
    ),
  );
});

it('the bin loads nothing but Node before it has looked at the version', () => {
  const main = readFileSync(join(root, 'src/main.ts'), 'utf8');
  const loaded = [...main.matchAll(/^import (?!type ).*from '(.+)';$/gm)].map(([, from]) => from);
  expect(loaded).not.toEqual([]);
  expect(loaded.filter((from) => !from?.startsWith('node:'))).toEqual([]);
});

it('the agent image has the rooms that an agent may import, and no other', () => {
  const [, folders = ''] =
    /image-tree\.mjs \/out\/agent (.*)/.exec(readFileSync(join(root, 'Dockerfile'), 'utf8')) ?? [];
  const expected = ['agent', ...(open['agent'] ?? [])].map((room) => `dist/${room}`);
  expect(folders.split(' ').toSorted()).toEqual([...expected, 'dist/errors.js'].toSorted());
});
