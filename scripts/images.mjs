/**
 * `npm run images -- [--push] [--registry localhost:5005] [--tag TAG] [--node-image IMAGE] [--target api|agent]`: builds the images
 * of the Dockerfile with docker or podman, whichever is there, and holds each to its limit: so many MB over its base image.
 * The tag says what is in it: <version>-<commit>, with -dirty where the work tree has changes. Prints the names, one a line.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';

const LIMIT_MB = 150;
const root = dirname(import.meta.dirname);

const { values } = parseArgs({
  options: {
    push: { type: 'boolean', default: false },
    registry: { type: 'string', default: '' },
    tag: { type: 'string', default: '' },
    'node-image': { type: 'string', default: 'node:24-bookworm-slim' },
    target: { type: 'string', multiple: true, default: ['api', 'agent'] },
  },
});

class Failure extends Error {}

function output(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (error !== undefined || status !== 0)
    throw new Failure(`${command} ${args.join(' ')}: ${error?.message ?? stderr.trim()}`);
  return stdout.trim();
}

function show(command, args) {
  // What the tools say goes to stderr: stdout has the names alone.
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (error !== undefined || status !== 0) throw new Failure(`${command} ${args[0]} failed`);
}

/** The first whose server answers. */
function builder() {
  const found = ['docker', 'podman'].find((tool) => spawnSync(tool, ['info'], { stdio: 'ignore' }).status === 0);
  if (found === undefined) throw new Failure('neither `docker info` nor `podman info` works: start one of them');
  return found;
}

/** Bytes of an image as it lies on disk, all layers. */
const sizeOf = (tool, image) => Number(output(tool, ['image', 'inspect', '--format', '{{.Size}}', image]));

function main() {
  const tool = builder();
  const { version } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'));
  const revision = output('git', ['rev-parse', 'HEAD']);
  const [seconds = '0', created = ''] = output('git', ['log', '-1', '--format=%ct %cI']).split(' ');
  const dirty = output('git', ['status', '--porcelain']) === '' ? '' : '-dirty';
  const tag = values.tag === '' ? `${version}-${revision.slice(0, 9)}${dirty}` : values.tag;
  const prefix = values.registry === '' ? '' : `${values.registry.replace(/\/$/, '')}/`;
  const base = values['node-image'];

  for (const target of values.target) {
    const name = `${prefix}aideator-${target}:${tag}`;
    const facts = {
      NODE_IMAGE: base,
      VERSION: version,
      REVISION: `${revision}${dirty}`,
      CREATED: created,
      SOURCE_DATE_EPOCH: seconds,
    };
    const args = Object.entries(facts).flatMap(([key, value]) => ['--build-arg', `${key}=${value}`]);
    // BuildKit takes the time of an image from SOURCE_DATE_EPOCH, podman from a flag.
    show(tool, [
      'build',
      '--target',
      target,
      '--tag',
      name,
      ...args,
      ...(tool === 'podman' ? ['--timestamp', seconds] : []),
      '.',
    ]);
    // With BuildKit the base may not be among the images: it is fetched for its size.
    if (spawnSync(tool, ['image', 'inspect', base], { stdio: 'ignore' }).status !== 0)
      show(tool, ['pull', '--quiet', base]);
    const added = (sizeOf(tool, name) - sizeOf(tool, base)) / 1e6;
    process.stderr.write(`${name}: ${added.toFixed(1)} MB over ${base} (at most ${LIMIT_MB})\n`);
    if (added > LIMIT_MB) throw new Failure(`${name} adds more than ${LIMIT_MB} MB to its base image`);
    if (values.push) show(tool, ['push', name]);
    process.stdout.write(`${name}\n`);
  }
}

try {
  main();
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  process.stderr.write(`images: ${error.message}\n`);
  process.exitCode = 1;
}
