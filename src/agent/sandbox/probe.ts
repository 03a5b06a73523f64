import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SandboxKind, SandboxLimits } from '../../contract/sandbox.ts';
import { findProgram } from '../catalog/find-agent.ts';
import { runProgram } from '../run-program.ts';
import { makeGroup, type Group } from './cgroup.ts';
import { limitWords } from './limits.ts';
import { makeSandbox } from './make.ts';
import { SANDBOX_EXEC, sandboxExecCommand, sandboxExecProfile } from './sandbox-exec.ts';
import { hasFilter, seccompFilter } from './seccomp.ts';
import { systemFolders } from './system-folders.ts';

/** What was found when a sandbox was really made and looked at from inside. */
export type Probed =
  | {
      works: true;
      kind: Exclude<SandboxKind, 'none'>;
      program: string;
      /** What it protects, in words people are shown: nothing that was not seen. */
      words: string;
    }
  | { works: false; reason: string; hint: string };

const INSTALL =
  'Install bubblewrap 0.7 or newer (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap; Arch: pacman -S bubblewrap); the running server finds it.';
const NO_SANDBOX =
  'Or run without one: `aideator run --no-sandbox`, or `sandbox: { mode: off }` in the configuration. An agent can then do what you can.';
const APPARMOR =
  'This system forbids user namespaces to programs without an AppArmor profile (Ubuntu 23.10 and newer). Put one into /etc/apparmor.d/bwrap:\n' +
  'abi <abi/4.0>, include <tunables/global> profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }\n' +
  'then: sudo systemctl reload apparmor. Where the kernel itself forbids them: sysctl kernel.unprivileged_userns_clone=1 and user.max_user_namespaces.';

/** How long the whole probe may take (ms). */
const PROBE_MS = 10_000;

/** Says what a sandbox is like from inside. With no program but the shell and cat, which every system has. */
const LOOK = `set -e
echo x > /tmp/probe
echo x > probe
cat /proc/self/status /proc/net/dev
echo "processes:" /proc/[0-9]*
if echo x 2>/dev/null > /proc/sys/kernel/hostname; then echo "leak: /proc/sys"; fi
if echo x 2>/dev/null > /probe; then echo "leak: /"; fi
if cat "$1" 2>/dev/null; then echo "leak: files"; fi
echo done`;

/**
 * Makes a sandbox as an attempt's, with all of its arguments, and looks at it from inside. Never rejects.
 *
 * @param env the server's: bubblewrap is looked for on its PATH, never on an agent's
 */
export async function probeSandbox(
  env: Readonly<Record<string, string | undefined>>,
  limits: SandboxLimits,
): Promise<Probed> {
  if (process.platform === 'darwin') return probeMac();
  if (process.platform !== 'linux') {
    return { works: false, reason: `There is no sandbox for ${process.platform}.`, hint: NO_SANDBOX };
  }
  const { arch } = process;
  if (!hasFilter(arch)) {
    return {
      works: false,
      reason: `There is no filter of system calls for the architecture ${arch}.`,
      hint: NO_SANDBOX,
    };
  }
  const program = findBubblewrap(env['PATH']);
  if (program === null) {
    return { works: false, reason: 'bubblewrap (bwrap) is not on the PATH.', hint: `${INSTALL}\n${NO_SANDBOX}` };
  }
  const root = mkdtempSync(join(tmpdir(), 'aideator-probe-'));
  const group = makeGroup({ name: `probe-${process.pid}`, limits });
  try {
    const said = await lookInside(program, root, limits, group, seccompFilter(arch));
    const wrong = wrongWith(said);
    if (wrong !== null)
      return { works: false, reason: `bubblewrap (${program}) makes no sandbox here: ${wrong}`, hint: hintFor(wrong) };
    return {
      works: true,
      kind: 'bubblewrap',
      program,
      words: `sandbox (bubblewrap and a seccomp filter): of files its workspace and, read-only, the system’s programs; no network but the models; none but its own processes; ${limitWords(limits, group !== null)}`,
    };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { works: false, reason: `bubblewrap (${program}) could not be tried: ${reason}`, hint: NO_SANDBOX };
  } finally {
    await group?.remove();
    rmSync(root, { recursive: true, force: true });
  }
}

async function lookInside(
  program: string,
  root: string,
  limits: SandboxLimits,
  group: Group | null,
  filter: Buffer,
): Promise<string> {
  const work = join(root, 'work');
  mkdirSync(work);
  const secret = join(root, 'sandbox', 'passwd');
  const { command } = await makeSandbox({
    program,
    folder: join(root, 'sandbox'),
    home: work,
    cwd: work,
    shown: systemFolders(),
    writable: [work],
    hidden: [root],
    placed: {},
    limits,
    groups: group?.folders ?? [],
    user: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
    command: ['/bin/sh', '-c', LOOK, 'sh', secret],
  });
  const [maker, ...rest] = command;
  const how = { cwd: '/', env: { PATH: '/usr/bin:/bin' }, signal: new AbortController().signal, timeoutMs: PROBE_MS };
  const { said } = await runProgram(maker, rest, how, filter);
  return said.endsWith('done\n') ? said : `failed: ${said.trim()}`;
}

/** What is not as it must be, in words; null where all is. */
export function wrongWith(said: string): string | null {
  if (said.startsWith('failed:')) return said.slice(8).trim() || 'it ended without a word.';
  const leak = /^leak: (.*)$/m.exec(said)?.[1];
  if (leak !== undefined) return `from inside it, ${leak} could be reached.`;
  if (!/^Seccomp:\s*2$/m.test(said)) return 'its filter of system calls is not in force.';
  if (!/^NoNewPrivs:\s*1$/m.test(said) || !/^CapEff:\s*0+$/m.test(said)) return 'programs in it have privileges.';
  const [, net = ''] = said.split(/^Inter-\|.*\n.*\n/m);
  const networks = [...net.matchAll(/^\s*([\w.-]+):\s+\d+\s+\d+\s/gm)].map(([, name]) => name);
  if (networks.join() !== 'lo') return `its network is ${networks.join(', ') || 'not to be seen'}.`;
  // Its first process, the shell, and cat.
  const processes = /^processes: (.*)$/m.exec(said)?.[1]?.split(' ') ?? [];
  return processes.length > 4 ? 'it shows processes from outside.' : null;
}

function hintFor(wrong: string): string {
  if (/Unknown option/i.test(wrong)) return `${INSTALL}\n${NO_SANDBOX}`;
  if (/namespace|uid map|RTM_NEWADDR|permission|not permitted/i.test(wrong)) return `${APPARMOR}\n${NO_SANDBOX}`;
  return NO_SANDBOX;
}

/** bubblewrap on a PATH; null where it is not there. */
export function findBubblewrap(path: string | undefined): string | null {
  return findProgram('bwrap', path);
}

async function probeMac(): Promise<Probed> {
  if (findProgram(SANDBOX_EXEC, undefined) === null)
    return { works: false, reason: `${SANDBOX_EXEC} is not there.`, hint: NO_SANDBOX };
  try {
    const profile = sandboxExecProfile({ readable: [], writable: [], port: 9 });
    const [maker, ...rest] = sandboxExecCommand(profile, ['/usr/bin/true']);
    const how = { cwd: '/', env: {}, signal: new AbortController().signal, timeoutMs: PROBE_MS };
    const { code } = await runProgram(maker, rest, how);
    if (code !== 0)
      return { works: false, reason: `${SANDBOX_EXEC} ends with ${code ?? 'a signal'}.`, hint: NO_SANDBOX };
  } catch (error) {
    return { works: false, reason: error instanceof Error ? error.message : String(error), hint: NO_SANDBOX };
  }
  return {
    works: true,
    kind: 'sandbox-exec',
    program: SANDBOX_EXEC,
    words:
      'sandbox-exec with a profile that was never verified on a Mac: it is meant to leave an agent its workspace, the system’s programs and the models, and nobody has looked whether it does; no limits on memory and processes',
  };
}
