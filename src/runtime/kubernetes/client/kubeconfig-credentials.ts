import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { AppError } from '../../../errors.ts';
import { keepFresh, type CredentialSources, type Credentials, type TlsMaterial } from './credentials.ts';
import { createCredentialProgram, type CredentialProgram } from './exec-credential.ts';
import { chooseContext, type ChosenContext } from './kubeconfig.ts';

/** Credentials of one context of a kubeconfig. Errors: invalid_config, what this client cannot do included. */
export async function kubeconfigCredentials(
  sources: CredentialSources,
  paths: readonly string[],
  now: () => number,
): Promise<Credentials> {
  const chosen = await chooseContext(paths, sources.context);
  const source = `context “${chosen.name}” of ${paths.join(', ')}`;
  refuseWhatIsNotDone(chosen, source);
  const server = serverOf(chosen, source);
  const { user } = chosen;
  const ca = await material(chosen.cluster, 'certificate-authority', chosen.clusterFolder);
  const program =
    user?.exec == null
      ? null
      : createCredentialProgram({
          program: user.exec,
          folder: chosen.userFolder,
          env: sources.programEnv,
          cluster: { server: chosen.cluster.server, ...(ca === null ? {} : { ca }) },
          now,
        });
  const credentials = keepFresh(
    {
      source,
      server,
      namespace: chosen.namespace,
      changing:
        program !== null ||
        Boolean(
          chosen.cluster['certificate-authority'] ??
          user?.['client-certificate'] ??
          user?.['client-key'] ??
          user?.tokenFile,
        ),
      load: (why) => load(chosen, program, why),
    },
    now,
  );
  // What cannot be read is said now, not with the first request.
  await credentials.access();
  return credentials;
}

async function load(chosen: ChosenContext, program: CredentialProgram | null, why: 'stale' | 'refused') {
  const { cluster, clusterFolder, user, userFolder } = chosen;
  const tls: TlsMaterial = { rejectUnauthorized: cluster['insecure-skip-tls-verify'] !== true };
  if (cluster['tls-server-name']) tls.servername = cluster['tls-server-name'];
  const ca = await material(cluster, 'certificate-authority', clusterFolder);
  if (ca !== null) tls.ca = ca;
  if (user === null) return { access: { tls, authorization: null }, goodUntil: null };

  const cert = await material(user, 'client-certificate', userFolder);
  const key = await material(user, 'client-key', userFolder);
  if (cert !== null) tls.cert = cert;
  if (key !== null) tls.key = key;
  if (user.tokenFile) {
    const token = (await readMaterial(resolve(userFolder, user.tokenFile), 'tokenFile')).trim();
    return { access: { tls, authorization: `Bearer ${token}` }, goodUntil: null };
  }
  if (user.token) return { access: { tls, authorization: `Bearer ${user.token}` }, goodUntil: null };
  if (user.username) {
    const basic = Buffer.from(`${user.username}:${user.password ?? ''}`).toString('base64');
    return { access: { tls, authorization: `Basic ${basic}` }, goodUntil: null };
  }
  if (program === null) return { access: { tls, authorization: null }, goodUntil: null };
  const got = await program.credential(why);
  if (got.cert !== null) tls.cert = got.cert;
  if (got.key !== null) tls.key = got.key;
  return {
    access: { tls, authorization: got.token === null ? null : `Bearer ${got.token}` },
    goodUntil: got.goodUntil,
  };
}

function serverOf(chosen: ChosenContext, source: string): URL {
  const url = URL.parse(chosen.cluster.server);
  if (url !== null && (url.protocol === 'https:' || url.protocol === 'http:')) return url;
  throw new AppError('invalid_config', `${source}: “${chosen.cluster.server}” is no http(s) address of an API server`);
}

/** Better a clear no than a request that goes out by another way or as somebody else. */
function refuseWhatIsNotDone({ cluster, user }: ChosenContext, source: string): void {
  const refuse = (what: string, hint: string): never => {
    throw new AppError('invalid_config', `${source}: ${what} is not supported`, { hint });
  };
  if (cluster['proxy-url']) {
    refuse(
      'proxy-url',
      'Use an address of the API server that can be reached directly, or run the server in the cluster.',
    );
  }
  if (user?.['auth-provider'] != null) {
    refuse(
      'auth-provider',
      'kubectl has dropped it as well: use the provider’s exec plugin (client.authentication.k8s.io/v1).',
    );
  }
  if ([user?.as, user?.['as-uid'], user?.['as-groups'], user?.['as-user-extra']].some((each) => each != null)) {
    refuse('impersonation (as, as-uid, as-groups)', 'Use credentials of the account itself.');
  }
}

/** A PEM text: `<name>-data` in base64, else the file `<name>`; null where there is neither. */
async function material<Name extends string>(
  of: { [Key in Name | `${Name}-data`]?: string | null | undefined },
  name: Name,
  folder: string,
): Promise<string | null> {
  const data = of[`${name}-data`];
  if (data) return Buffer.from(data, 'base64').toString('utf8');
  const path = of[name];
  return path ? readMaterial(resolve(folder, path), name) : null;
}

async function readMaterial(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new AppError('invalid_config', `The ${what} of the kubeconfig cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
