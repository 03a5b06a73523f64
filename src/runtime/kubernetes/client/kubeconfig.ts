import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { AppError } from '../../../errors.ts';

/**
 * Reads kubeconfig files as kubectl does: of several, the first that names a thing has it; a path in a file is relative to that
 * file. Source: kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig.
 */

const text = z.string().nullish();

const cluster = z.object({
  server: z.string(),
  'certificate-authority': text,
  'certificate-authority-data': text,
  'insecure-skip-tls-verify': z.boolean().nullish(),
  'tls-server-name': text,
  'proxy-url': text,
});

const program = z.object({
  apiVersion: z.string(),
  command: z.string().min(1),
  args: z.array(z.string()).nullish(),
  env: z.array(z.object({ name: z.string(), value: z.string() })).nullish(),
  installHint: text,
  provideClusterInfo: z.boolean().nullish(),
  interactiveMode: z.enum(['Never', 'IfAvailable', 'Always']).nullish(),
});

const user = z.object({
  'client-certificate': text,
  'client-certificate-data': text,
  'client-key': text,
  'client-key-data': text,
  token: text,
  tokenFile: text,
  username: text,
  password: text,
  exec: program.nullish(),
  'auth-provider': z.unknown().optional(),
  as: z.unknown().optional(),
  'as-uid': z.unknown().optional(),
  'as-groups': z.unknown().optional(),
  'as-user-extra': z.unknown().optional(),
});

const context = z.object({ cluster: z.string(), user: text, namespace: text });

const file = z.object({
  'current-context': text,
  clusters: z.array(z.object({ name: z.string(), cluster })).nullish(),
  users: z.array(z.object({ name: z.string(), user: user.nullish() })).nullish(),
  contexts: z.array(z.object({ name: z.string(), context })).nullish(),
});

export type ConfiguredCluster = z.infer<typeof cluster>;
export type ConfiguredUser = z.infer<typeof user>;
export type ConfiguredProgram = z.infer<typeof program>;

/** One context with all it refers to. Folders are those of the files that have it. */
export interface ChosenContext {
  name: string;
  namespace: string | null;
  cluster: ConfiguredCluster;
  clusterFolder: string;
  user: ConfiguredUser | null;
  userFolder: string;
}

/** Which files are to be read, in order: the named one, else those of KUBECONFIG, else ~/.kube/config where it is there. */
export function kubeconfigPaths(sources: {
  kubeconfig: string | null;
  kubeconfigList: string | undefined;
  home: string | undefined;
}): string[] {
  if (sources.kubeconfig !== null) return [sources.kubeconfig];
  const listed = (sources.kubeconfigList ?? '').split(delimiter).filter((path) => path !== '');
  if (listed.length > 0) return listed;
  if (sources.home === undefined) return [];
  const usual = join(sources.home, '.kube', 'config');
  return existsSync(usual) ? [usual] : [];
}

/** Errors: invalid_config, with the file, and with the names there are where one is not found. */
export async function chooseContext(paths: readonly string[], wanted: string | null): Promise<ChosenContext> {
  const files = (await Promise.all(paths.map((path) => readOne(path, paths.length === 1)))).filter(
    (one) => one !== null,
  );
  const where = paths.join(', ');
  if (files.length === 0) {
    throw new AppError('invalid_config', `No kubeconfig was found: ${where}`, {
      hint: 'Set kubernetes.kubeconfig or KUBECONFIG to a file that is there.',
    });
  }
  const first = <T extends { name: string }>(kind: string, name: string, of: (one: OneFile) => readonly T[]) => {
    for (const one of files) {
      const found = of(one).find((each) => each.name === name);
      if (found !== undefined) return { found, folder: one.folder };
    }
    const names = files.flatMap((one) => of(one).map((each) => each.name));
    throw new AppError('invalid_config', `There is no ${kind} “${name}” in ${where}`, {
      hint: names.length === 0 ? `It has no ${kind} at all.` : `There are: ${names.join(', ')}.`,
    });
  };

  const name = wanted ?? files.map((one) => one.config['current-context']).find((each) => each);
  if (!name) {
    throw new AppError('invalid_config', `${where} has no current context`, {
      hint: 'Set kubernetes.context, or: kubectl config use-context NAME',
    });
  }
  const { context } = first('context', name, (one) => one.config.contexts ?? []).found;
  const chosenCluster = first('cluster', context.cluster, (one) => one.config.clusters ?? []);
  const chosenUser = context.user ? first('user', context.user, (one) => one.config.users ?? []) : null;
  return {
    name,
    namespace: context.namespace || null,
    cluster: chosenCluster.found.cluster,
    clusterFolder: chosenCluster.folder,
    user: chosenUser?.found.user ?? null,
    userFolder: chosenUser?.folder ?? '',
  };
}

interface OneFile {
  config: z.infer<typeof file>;
  folder: string;
}

async function readOne(path: string, mustBeThere: boolean): Promise<OneFile | null> {
  let content: string;
  try {
    content = await readFile(path, 'utf8');
  } catch (error) {
    if (!mustBeThere && (error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new AppError('invalid_config', `The kubeconfig ${path} cannot be read: ${(error as Error).message}`, {
      cause: error,
      hint: 'Set kubernetes.kubeconfig or KUBECONFIG to a file that is there and may be read.',
    });
  }
  let document: unknown;
  try {
    document = parse(content);
  } catch (error) {
    // The parser's message shows lines of the file, which may hold a token: only where it stopped is told.
    const line = /at line (\d+)/.exec((error as Error).message)?.[1];
    throw new AppError('invalid_config', `The kubeconfig ${path} is not YAML${line ? ` (line ${line})` : ''}`);
  }
  const checked = file.safeParse(document ?? {});
  if (!checked.success) {
    const issue = checked.error.issues[0];
    throw new AppError(
      'invalid_config',
      `The kubeconfig ${path} is not valid: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not a kubeconfig'}`,
    );
  }
  return { config: checked.data, folder: dirname(path) };
}
