import { spawn, spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { createPods } from '../src/runtime/kubernetes/pods.ts';
import { seeded, writtenJournal } from './support/journal-lines.ts';
import { ATTEMPT, LINES } from './support/pod-intake.ts';
import { tempDir } from './support/temp.ts';
import { until } from './support/until.ts';

/** The server's end of an attempt in a pod, in a process that is killed, and on a disk that is full. */

const HOLDER = fileURLToPath(new URL('support/pod-intake.ts', import.meta.url));

it('killed at any moment: nothing that was acknowledged is missing, nothing is there twice', async () => {
  const { bytes, lines } = writtenJournal(ATTEMPT, LINES);
  const directory = tempDir();
  const next = seeded(5);
  let have = 0;
  for (let round = 0; round < 6; round += 1) {
    const holder = spawn(process.execPath, [HOLDER, 'steady', directory], { stdio: ['ignore', 'pipe', 'inherit'] });
    let told = have;
    holder.stdout.on('data', (chunk: Buffer) => {
      for (const word of chunk.toString().split('\n')) told = Math.max(told, Number(word) || 0);
    });
    const point = have + 200 + next(7000);
    await until(() => told >= point || holder.exitCode !== null);
    holder.kill('SIGKILL');
    await new Promise((resolve) => holder.once('close', resolve));
    const pods = createPods({ directory });
    const intake = await pods.open(ATTEMPT, null);
    expect(intake.have).toBeGreaterThanOrEqual(told);
    have = intake.have;
    await pods.release();
    const whole = readFileSync(join(directory, ATTEMPT, 'journal.ndjson'));
    expect(whole.equals(bytes.subarray(0, whole.length))).toBe(true);
    expect(whole.length).toBe(lines.slice(0, have).reduce((sum, line) => sum + line.length, 0));
  }
  expect(have).toBeLessThan(lines.length);
  const pods = createPods({ directory });
  const intake = await pods.open(ATTEMPT, null);
  await intake.lines(Buffer.concat(lines.slice(have)));
  await pods.release();
  expect(readFileSync(intake.journal).equals(bytes)).toBe(true);
}, 120_000);

const unshare = (...rest: string[]) =>
  spawnSync('unshare', ['--map-root-user', '--mount', ...rest], { encoding: 'utf8' });
const possible = unshare('sh', '-c', 'mount -t tmpfs tmpfs /tmp').status === 0;

it.skipIf(!possible)(
  'on a full disk nothing is acknowledged that was not written, and all of it comes with space',
  () => {
    const directory = tempDir();
    const script = 'mount -t tmpfs -o size=2m tmpfs "$1" && exec "$2" "$3" full "$1"';
    const { stdout, stderr } = unshare('sh', '-c', script, 'sh', directory, process.execPath, HOLDER);
    rmSync(directory, { recursive: true, force: true });
    expect(stderr).toBe('');
    const { lines } = writtenJournal(ATTEMPT, 3000);
    const told = JSON.parse(stdout) as { codes: string[]; have: number; onDisk: number };
    expect(told).toMatchObject({ claimed: true, isWhole: true, ended: true, result: { complete: true } });
    expect(told.codes).toEqual(Array.from({ length: 5 }, () => 'disk_full'));
    expect(told.have).toBeGreaterThan(5);
    expect(told.onDisk).toBe(lines.slice(0, told.have).reduce((sum, line) => sum + line.length, 0));
  },
);
