import { probeSandbox } from '../../src/agent/sandbox/probe.ts';
import { sandboxLimits } from '../../src/contract/sandbox.ts';

const probed = await probeSandbox(process.env, sandboxLimits.parse({}));

/** Why no sandbox can be made on this machine, loudly; null where one can. */
export const noSandbox: string | null = probed.works ? null : probed.reason;
if (noSandbox !== null) process.stderr.write(`SKIPPED: tests in a real sandbox, because ${noSandbox}\n`);

/** Whether memory and processes of a whole attempt are bounded here. */
export const hasGroups = probed.works && probed.words.includes('control group') && !probed.words.includes('rlimits');
