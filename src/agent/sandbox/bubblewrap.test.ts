import { describe, expect, test } from 'vitest';
import { bubblewrapArguments, insideUser } from './bubblewrap.ts';
import { isWithin, mountsOf, type View } from './mounts.ts';
import { sandboxExecCommand, sandboxExecProfile } from './sandbox-exec.ts';
import { wrongWith } from './probe.ts';

const view = (more: Partial<View>): View => ({ shown: [], writable: [], hidden: [], placed: {}, ...more });
const paths = (more: Partial<View>): string[] => mountsOf(view(more)).map(({ kind, path }) => `${kind} ${path}`);

describe('the mounts of a view', () => {
  test('folders come before what is in them, and nothing is shown twice', () => {
    expect(
      paths({
        shown: [
          { path: '/usr' },
          { path: '/bin', link: 'usr/bin' },
          { path: '/usr/local/bin/node' },
          { path: '/usr2/x' },
        ],
        writable: ['/data/a/1/workspace', '/data/a/1/home'],
        placed: { '/etc/passwd': '/data/a/1/sandbox/passwd' },
      }),
    ).toEqual([
      'read /usr',
      'link /bin',
      'read /usr2/x',
      'read /etc/passwd',
      'write /data/a/1/workspace',
      'write /data/a/1/home',
    ]);
  });

  test('what is hidden is covered where something shows it, and what is in it can still be given', () => {
    const shown = [{ path: '/opt' }, { path: '/opt/data/agents/codex' }];
    expect(paths({ shown, hidden: ['/opt/data', '/home/me'], writable: ['/opt/data/attempts/1/workspace'] })).toEqual([
      'read /opt',
      'empty /opt/data',
      'read /opt/data/agents/codex',
      'write /opt/data/attempts/1/workspace',
    ]);
  });

  test('a hidden path stays hidden though it is asked for by name', () => {
    expect(paths({ shown: [{ path: '/data' }], hidden: ['/data'] })).toEqual(['empty /data']);
  });

  test('a file of ours takes the place of the system’s', () => {
    expect(mountsOf(view({ shown: [{ path: '/etc' }], placed: { '/etc/passwd': '/x/passwd' } }))).toEqual([
      { kind: 'read', path: '/etc', source: '/etc' },
      { kind: 'read', path: '/etc/passwd', source: '/x/passwd' },
    ]);
  });

  test('paths are compared by their parts', () => {
    expect(isWithin('/data-2', '/data')).toBe(false);
    expect(isWithin('/data/..x', '/data')).toBe(true);
    expect(isWithin('/data', '/data')).toBe(true);
    expect(isWithin('/', '/data')).toBe(false);
    expect(isWithin('/data', '/')).toBe(true);
  });
});

describe('bubblewrap’s arguments', () => {
  const make = (more: Partial<View>, uid = 1000): string => {
    const args = bubblewrapArguments({
      view: view(more),
      cwd: '/w',
      user: { uid, gid: uid },
      limits: { max_tmp_bytes: 4096 },
      fds: { seccomp: 5, info: 4 },
      proc: ['/proc/sys'],
      command: ['/bin/sh', '-c', 'x y', '--bind'],
    });
    return args.map((each) => (each.includes(' ') ? `'${each}'` : each)).join(' ');
  };

  test('new namespaces, nothing of /proc/sys, what can be written has a size, the command is last', () => {
    expect(make({ shown: [{ path: '/usr' }, { path: '/bin', link: 'usr/bin' }], writable: ['/w'] })).toBe(
      '--unshare-all --die-with-parent --new-session --uid 1000 --gid 1000 --hostname aideator --cap-drop ALL ' +
        '--proc /proc --ro-bind /proc/sys /proc/sys ' +
        '--dev /dev --size 4096 --perms 1777 --tmpfs /dev/shm --remount-ro /dev --size 4096 --perms 1777 --tmpfs /tmp ' +
        "--ro-bind /usr /usr --symlink usr/bin /bin --bind /w /w --remount-ro / --chdir /w --seccomp 5 --info-fd 4 -- /bin/sh -c 'x y' --bind",
    );
  });

  test('an empty folder over what is hidden cannot be filled', () => {
    expect(make({ shown: [{ path: '/opt' }], hidden: ['/opt/data'] })).toContain(
      '--ro-bind /opt /opt --tmpfs /opt/data --remount-ro /opt/data --remount-ro /',
    );
  });

  test('root is nobody special inside', () => {
    expect(insideUser({ uid: 0, gid: 0 })).toEqual({ uid: 1000, gid: 1000 });
    expect(insideUser({ uid: 501, gid: 20 })).toEqual({ uid: 501, gid: 20 });
    expect(make({}, 0)).toContain('--uid 1000 --gid 1000');
  });
});

describe('what a sandbox says of itself when it is tried', () => {
  const well = [
    'Name:\tcat',
    'CapEff:\t0000000000000000',
    'NoNewPrivs:\t1',
    'Seccomp:\t2',
    'Inter-|   Receive                                                |  Transmit',
    ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed',
    '    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0',
    'processes: /proc/1 /proc/2',
    'done',
  ].join('\n');

  test('is enough, or what is missing is named', () => {
    expect(wrongWith(well)).toBe(null);
    expect(wrongWith(well.replace('Seccomp:\t2', 'Seccomp:\t0'))).toContain('filter of system calls');
    expect(wrongWith(well.replace('NoNewPrivs:\t1', 'NoNewPrivs:\t0'))).toContain('privileges');
    expect(wrongWith(well.replace('CapEff:\t0000000000000000', 'CapEff:\t0000000000200000'))).toContain('privileges');
    expect(wrongWith(well.replace('    lo:', '  eth0:       0       0    0\n    lo:'))).toBe(
      'its network is eth0, lo.',
    );
    expect(wrongWith(well.replace('/proc/2', '/proc/2 /proc/3 /proc/4 /proc/5'))).toContain('processes from outside');
    expect(wrongWith(well.replace('done', 'leak: /proc/sys\ndone'))).toBe(
      'from inside it, /proc/sys could be reached.',
    );
    expect(wrongWith('failed: bwrap: Unknown option --size')).toBe('bwrap: Unknown option --size');
  });
});

describe('the profile for macOS (unverified: it never ran on a Mac)', () => {
  const profile = sandboxExecProfile({ readable: ['/Users/me/a "b\\c'], writable: ['/data/w', '/data/h'], port: 4321 });

  test('refuses all but what is named; the one port is the way to the models', () => {
    expect(profile.split('\n').slice(0, 2)).toEqual(['(version 1)', '(deny default)']);
    expect(profile).toContain('(allow file-write* (subpath "/data/w") (subpath "/data/h"))');
    expect(profile.match(/network/g)).toEqual(['network']);
    expect(profile).toContain('(allow network-outbound (remote ip "localhost:4321"))');
    expect(profile).not.toMatch(/\(allow default\)|"\/Users"|"\/private\/etc"|"\/"\)? \(subpath "\/"\)/);
  });

  test('a path cannot end its string', () => {
    expect(profile).toContain(String.raw`(subpath "/Users/me/a \"b\\c")`);
    expect(profile.replaceAll(/\\./g, '').split('"').length % 2).toBe(1);
    expect(profile.split('(').length).toBe(profile.split(')').length);
  });

  test('is an argument, no file that an agent could change', () => {
    expect(sandboxExecCommand('(p)', ['/bin/x', 'y'])).toEqual(['/usr/bin/sandbox-exec', '-p', '(p)', '/bin/x', 'y']);
  });
});
