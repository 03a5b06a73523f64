import { execFile, type ExecFileException } from 'node:child_process';
import { isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { AppError } from '../../../errors.ts';
import type { ConfiguredProgram } from './kubeconfig.ts';

/**
 * Credentials that a program prints (`exec` in a kubeconfig: EKS, GKE, AKS, OIDC helpers).
 * Source: kubernetes.io/docs/reference/config-api/client-authentication.v1
 */
export interface CredentialProgram {
  /**
   * What it printed, kept until it expires.
   *
   * @param why `refused`: it is run again, but not within {@link PAUSE_MS} of the last time
   */
  credential(why: 'stale' | 'refused'): Promise<ProgramCredential>;
}

interface ProgramCredential {
  token: string | null;
  /** PEM. */
  cert: string | null;
  key: string | null;
  /** ms since the epoch; null = it does not say. */
  goodUntil: number | null;
}

export interface CredentialProgramOptions {
  program: ConfiguredProgram;
  /** Of the kubeconfig: a command with a slash in it is relative to it. */
  folder: string;
  env: Readonly<Record<string, string | undefined>>;
  /** Told to the program where the kubeconfig wants it to be. */
  cluster: { server: string; ca?: string };
  now(): number;
  timeoutMs?: number;
}

const VERSIONS = ['client.authentication.k8s.io/v1', 'client.authentication.k8s.io/v1beta1'];
const TIMEOUT_MS = 60_000;
/** A token that the server refuses for good must not have the program run with every request. */
const PAUSE_MS = 10_000;
/** Renewed so long before it expires that it is good when it arrives. */
const EARLY_MS = 15_000;

const answer = z.object({
  apiVersion: z.string(),
  kind: z.literal('ExecCredential'),
  status: z.object({
    token: z.string().nullish(),
    clientCertificateData: z.string().nullish(),
    clientKeyData: z.string().nullish(),
    expirationTimestamp: z.string().nullish(),
  }),
});

export function createCredentialProgram(options: CredentialProgramOptions): CredentialProgram {
  const { program, now } = options;
  if (!VERSIONS.includes(program.apiVersion)) {
    throw new AppError('invalid_config', `exec plugins of ${program.apiVersion} are not supported`, {
      hint: `Renew the kubeconfig with a newer version of “${program.command}”: ${VERSIONS.join(' or ')} is needed.`,
    });
  }
  if (program.interactiveMode === 'Always') {
    throw new AppError('invalid_config', `The credential program “${program.command}” wants to ask a person`, {
      hint: 'A server has none to ask: use credentials that work without (interactiveMode: IfAvailable or Never).',
    });
  }
  let held: ProgramCredential | null = null;
  let ranAt = -Infinity;

  return {
    credential: async (why) => {
      const isFresh = held !== null && (held.goodUntil === null || now() < held.goodUntil);
      if (held !== null && isFresh && (why === 'stale' || now() - ranAt < PAUSE_MS)) return held;
      ranAt = now();
      held = read(await run(options), program);
      return held;
    },
  };
}

function run({ program, folder, env, cluster, timeoutMs }: CredentialProgramOptions): Promise<string> {
  const command =
    program.command.includes('/') && !isAbsolute(program.command) ? join(folder, program.command) : program.command;
  const info = {
    apiVersion: program.apiVersion,
    kind: 'ExecCredential',
    spec: {
      interactive: false,
      ...(program.provideClusterInfo === true
        ? {
            cluster: {
              server: cluster.server,
              ...(cluster.ca === undefined
                ? {}
                : { 'certificate-authority-data': Buffer.from(cluster.ca).toString('base64') }),
            },
          }
        : {}),
    },
  };
  const ownEnv = Object.fromEntries((program.env ?? []).map(({ name, value }) => [name, value]));
  return new Promise((resolve, reject) => {
    const child = execFile(
      command,
      program.args ?? [],
      {
        env: { ...env, ...ownEnv, KUBERNETES_EXEC_INFO: JSON.stringify(info) },
        timeout: timeoutMs ?? TIMEOUT_MS,
        killSignal: 'SIGKILL',
        maxBuffer: 1024 * 1024,
        encoding: 'utf8',
      },
      (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else reject(failed(program, error, stderr));
      },
    );
    child.stdin?.on('error', () => undefined);
    child.stdin?.end();
  });
}

/** Neither stdout nor the arguments are shown: they may hold a secret. */
function failed(program: ConfiguredProgram, error: ExecFileException, stderr: string): AppError {
  const isMissing = error.code === 'ENOENT';
  const how = isMissing
    ? 'was not found'
    : error.killed === true
      ? 'took too long'
      : `failed (${typeof error.code === 'number' ? `exit ${error.code}` : (error.code ?? error.signal ?? 'killed')})`;
  const said = stderr.trim().slice(-1000);
  return new AppError(
    'invalid_config',
    `The credential program “${program.command}” ${how}${said ? `: ${said}` : ''}`,
    {
      hint: isMissing
        ? (program.installHint?.trim() ?? 'Install it, or see that it is on the PATH of the server.')
        : 'Run it by hand, as the user of the server, to see what it needs (a login, perhaps).',
    },
  );
}

function read(stdout: string, program: ConfiguredProgram): ProgramCredential {
  const refuse = (what: string): never => {
    throw new AppError('invalid_config', `The credential program “${program.command}” printed ${what}`, {
      hint: `It has to print an ExecCredential of ${program.apiVersion}, and nothing else, on stdout.`,
    });
  };
  let parsed: unknown;
  try {
    parsed = JSON.parse(stdout);
  } catch {
    return refuse('no JSON');
  }
  const checked = answer.safeParse(parsed);
  if (!checked.success) return refuse('something else than an ExecCredential');
  const { apiVersion, status } = checked.data;
  if (apiVersion !== program.apiVersion) return refuse(`an ExecCredential of ${apiVersion}`);
  if (!status.token && !(status.clientCertificateData && status.clientKeyData)) return refuse('no credential');
  const expires = status.expirationTimestamp ? Date.parse(status.expirationTimestamp) : Number.NaN;
  return {
    token: status.token ?? null,
    cert: status.clientCertificateData ?? null,
    key: status.clientKeyData ?? null,
    goodUntil: Number.isNaN(expires) ? null : expires - EARLY_MS,
  };
}
