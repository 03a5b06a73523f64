#!/usr/bin/env node
// Node's own modules only up here: everything else is imported after the version was looked at.
import { createRequire } from 'node:module';

const needed = [24, 15] as const;
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < needed[0] || (major === needed[0] && minor < needed[1])) {
  process.stderr.write(
    `error: AIdeator needs Node ${needed.join('.')} or newer; this is ${process.versions.node}.\n hint: https://nodejs.org, or in a clone: npm run aideator\n code: tool_missing\n`,
  );
  process.exit(5);
}

const { processIo } = await import('./cli/process-io.ts');
const { runCli } = await import('./cli/program.ts');

const { version } = createRequire(import.meta.url)('../package.json') as { version: string };
const io = processIo({
  version,
  program: [process.execPath, import.meta.filename],
  startHouse: async (config, options) => (await import('./compose.ts')).startHouse(config, options),
});
const exit = await runCli(process.argv.slice(2), io);
await io.flushed();
process.exit(exit);
