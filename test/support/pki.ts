import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A certificate authority and what it signed. PEM texts. */
export interface Pki {
  ca: string;
  server: { cert: string; key: string };
  client: { cert: string; key: string };
}

/** Makes a real one with openssl: a server at 127.0.0.1, 127.0.0.2, localhost (which npm takes an address for) and api.test, a client `aideator`. */
export function createPki(): Pki {
  const folder = mkdtempSync(join(tmpdir(), 'pki-'));
  const at = (name: string): string => join(folder, name);
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
  };
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  try {
    openssl('req', '-x509', ...ec, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', '/CN=test-ca');
    const sign = (name: string, subject: string, extension: string) => {
      writeFileSync(at(`${name}.ext`), extension);
      openssl('req', ...ec, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', subject);
      const signer = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', `${name}.ext`];
      openssl('x509', '-req', '-in', `${name}.csr`, '-out', `${name}.crt`, ...signer);
      return { cert: readFileSync(at(`${name}.crt`), 'utf8'), key: readFileSync(at(`${name}.key`), 'utf8') };
    };
    return {
      ca: readFileSync(at('ca.crt'), 'utf8'),
      server: sign(
        'server',
        '/CN=kube-apiserver',
        'subjectAltName=IP:127.0.0.1,IP:127.0.0.2,DNS:api.test,DNS:localhost',
      ),
      client: sign('client', '/CN=aideator', 'extendedKeyUsage=clientAuth'),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
