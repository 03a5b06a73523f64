import { existsSync, lstatSync, readdirSync, readlinkSync, realpathSync } from 'node:fs';
import { join } from 'node:path';

/** A path that is shown as it is outside: a folder or file, or a symbolic link with what it says. */
export interface Shown {
  path: string;
  link?: string;
}

/** The system's programs and libraries. Whatever else is at the root (home, root, var, run, srv, mnt …) is not there inside. */
const FOLDERS = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32', '/opt', '/nix/store'];

/**
 * Of /etc what programs need to start, resolve, check certificates and know the time. Never all of it: whoever runs the server as
 * root would show /etc/shadow and /etc/ssl/private.
 */
const ETC: readonly (string | RegExp)[] = [
  'alternatives',
  'ca-certificates',
  'ca-certificates.conf',
  'crypto-policies',
  'debian_version',
  /^java-[\w.-]+$/,
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'localtime',
  'magic',
  'mime.types',
  'nsswitch.conf',
  'os-release',
  'protocols',
  'services',
  'terminfo',
  'timezone',
  'pki/ca-trust',
  'pki/tls/cert.pem',
  'pki/tls/certs',
  'pki/tls/openssl.cnf',
  'ssl/cert.pem',
  'ssl/certs',
  'ssl/openssl.cnf',
];

/** What of this machine's system every sandbox shows. */
export function systemFolders(): Shown[] {
  const names = existsSync('/etc') ? readdirSync('/etc') : [];
  const etc = ETC.flatMap((each) => (typeof each === 'string' ? [each] : names.filter((name) => each.test(name))));
  const folders = FOLDERS.filter((path) => existsSync(path)).map((path): Shown => {
    // Merged /usr: /bin is a link, and stays one.
    return lstatSync(path).isSymbolicLink() ? { path, link: readlinkSync(path) } : { path };
  });
  return [
    ...folders,
    ...etc
      .map((name) => join('/etc', name))
      .filter((path) => existsSync(path))
      .map((path) => ({ path })),
  ];
}

/**
 * Paths that are to be readable beside the system's, as they are to be shown: with the links that lead to them. What does not exist
 * is left out.
 */
export function shownPaths(paths: readonly string[]): Shown[] {
  return paths.flatMap((path): Shown[] => {
    if (!existsSync(path)) return [];
    const real = realpathSync(path);
    if (real === path) return [{ path }];
    return [lstatSync(path).isSymbolicLink() ? { path, link: real } : { path }, { path: real }];
  });
}
