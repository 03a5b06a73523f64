import { spawn } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';

/**
 * Keeps an agent's hands off its launcher. Both have one uid, and where Yama does not forbid it (`kernel.yama.ptrace_scope` = 0) a
 * process may trace any other of its uid, write its memory and take its connections: a launcher that is traced says that the agent
 * is gone while it goes on writing. A process of a Landlock domain can do none of that to one outside of it (landlock(7): ptrace,
 * and with it /proc/<pid>/mem, process_vm_writev, pidfd_getfd), whatever its uid and capabilities. A domain needs no right to be made, and
 * this one forbids nothing else that a container may do.
 */
export interface WayApart {
  /** The command that starts a command in a domain of its own. Its program is there already: see {@link isThere}. */
  wrap(command: readonly [string, ...string[]]): [string, ...string[]];
}

/** What the image has without being asked: perl-base is essential to Debian, and git needs it. Node has no system calls of one's own. */
const PERL = '/usr/bin/perl';

/** prctl(2) has a number of its own on each machine; Landlock's three calls have the same everywhere. */
const PRCTL: Partial<Record<NodeJS.Architecture, number>> = { x64: 157, arm64: 167 };

/**
 * Handled, and so forbidden, are block devices, which are not made without root; and moving things between folders, which is forbidden
 * in every domain unless it is allowed somewhere: so both are allowed below `/`. That needs Landlock's second version (Linux 5.19).
 */
const SCRIPT = `
my ($prctl, @command) = @ARGV;
my $rights = (1 << 11) | (1 << 13);
sub failed { print STDERR "aideator: $_[0]: $!\\n"; exit 125 }
failed('Landlock') if syscall(444, 0, 0, 1) < 2;
my $domain = syscall(444, pack('Q', $rights), 8, 0);
failed('landlock_create_ruleset') if $domain < 0;
sysopen(my $root, '/', 0x200000) or failed('/');
failed('landlock_add_rule') if syscall(445, $domain, 1, pack('Ql', $rights, fileno($root)), 0) < 0;
failed('no_new_privs') if syscall($prctl, 38, 1, 0, 0, 0) < 0;
failed('landlock_restrict_self') if syscall(446, $domain, 0) < 0;
exec { $command[0] } @command;
print STDERR "$command[0]: $!\\n";
exit 127;
`;

/** Tries it. Null where it does not work: no Landlock in the kernel, calls that are filtered, an image without perl. */
export async function findWayApart(): Promise<WayApart | null> {
  const prctl = PRCTL[process.arch];
  if (process.platform !== 'linux' || prctl === undefined) return null;
  const wrap: WayApart['wrap'] = (command) => [PERL, '-e', SCRIPT, String(prctl), ...command];
  const [program, ...args] = wrap(['/bin/true']);
  const works = await new Promise<boolean>((resolve) => {
    const tried = spawn(program, args, { stdio: 'ignore', env: {}, timeout: 5000, killSignal: 'SIGKILL' });
    tried.once('error', () => resolve(false));
    tried.once('exit', (code) => resolve(code === 0));
  });
  return works ? { wrap } : null;
}

/** Whether the kernel keeps an agent from tracing its launcher, which is its parent, without our help. */
export function isTracingRestricted(): boolean {
  try {
    return Number(readFileSync('/proc/sys/kernel/yama/ptrace_scope', 'utf8')) >= 1;
  } catch {
    return false;
  }
}

/** Whether a program can be started, by path or by PATH: what is not is better found out by who has the words for it. */
export function isThere(program: string, { cwd, env }: { cwd: string; env: Record<string, string> }): boolean {
  const places = program.includes('/')
    ? [resolve(cwd, program)]
    : (env['PATH'] ?? '').split(delimiter).map((folder) => join(resolve(cwd, folder), program));
  return places.some((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
