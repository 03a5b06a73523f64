/**
 * macOS: a profile for `sandbox-exec` (Seatbelt, `man sandbox-exec`; the language is Apple's own and is not documented). UNVERIFIED: it
 * was written on Linux, from profiles that other programs ship, and never ran on a Mac. Wherever it is shown, it says so.
 */

export const SANDBOX_EXEC = '/usr/bin/sandbox-exec';

export interface ProfileOptions {
  /** Absolute, without links: what may be read and run beside the system. */
  readable: readonly string[];
  /** Absolute, without links: workspace, HOME, TMPDIR. */
  writable: readonly string[];
  /** The recorder's proxy on loopback. */
  port: number;
}

/** System folders that programs are read from and started in. */
const SYSTEM = [
  '/usr',
  '/bin',
  '/sbin',
  '/System',
  '/Library/Apple',
  '/Library/Developer/CommandLineTools',
  '/Applications/Xcode.app',
  '/opt/homebrew',
  '/private/etc/ssl',
  '/private/etc/localtime',
  '/private/etc/passwd',
  '/private/var/db/timezone',
  '/private/var/select',
  '/dev',
];

/**
 * The profile's text: everything is refused but what is named. Paths are strings of its language, quotes and backslashes escaped.
 * There are no own processes, no own memory and no own loopback on macOS: signals go to the same sandbox only, and of loopback the one
 * port is open.
 */
export function sandboxExecProfile({ readable, writable, port }: ProfileOptions): string {
  const within = (paths: readonly string[]): string => paths.map((path) => `(subpath ${quoted(path)})`).join(' ');
  return [
    '(version 1)',
    '(deny default)',
    '(allow process-exec process-fork)',
    '(allow signal (target same-sandbox))',
    '(allow process-info* (target same-sandbox))',
    '(allow sysctl-read)',
    '(allow mach-lookup (global-name "com.apple.system.opendirectoryd.libinfo") (global-name "com.apple.system.logger"))',
    '(allow file-read-metadata)',
    `(allow file-read* file-map-executable (literal "/") ${within([...SYSTEM, ...readable, ...writable])})`,
    `(allow file-write* ${within(writable)})`,
    '(allow file-write-data (literal "/dev/null") (literal "/dev/zero"))',
    '(allow pseudo-tty)',
    `(allow network-outbound (remote ip "localhost:${port}"))`,
    '',
  ].join('\n');
}

/** The command that runs another in a profile. */
export function sandboxExecCommand(profile: string, command: readonly string[]): [string, ...string[]] {
  return [SANDBOX_EXEC, '-p', profile, ...command];
}

function quoted(path: string): string {
  return `"${path.replaceAll(/["\\]/g, '\\$&')}"`;
}
