/**
 * `npm run chart:readme`: what of the chart follows from its values.yaml and from the server's own schemas: values.schema.json, and
 * the table of values in its README. A test compares them with what is committed.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMap, isScalar, parse, parseDocument } from 'yaml';
import { z } from 'zod';
import { configSchema } from '../src/config.ts';
import { PROVIDER_KINDS } from '../src/contract/dialect.ts';
import { kubernetesSettings } from '../src/contract/kubernetes.ts';

export const chart = join(import.meta.dirname, '..', 'deploy', 'charts', 'aideator');

const settings = configSchema.shape;
const attempts = kubernetesSettings.shape;
const text = z.string();
const strings = z.array(text);
const seconds = z.int().min(0);
const portNumber = z.int().min(1).max(65_535);
const quantity = text.regex(/^\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$/).or(z.number().min(0));
const amounts = z.strictObject({
  cpu: quantity.optional(),
  memory: quantity.optional(),
  'ephemeral-storage': quantity.optional(),
});
const resources = z.strictObject({ requests: amounts, limits: amounts });
const labels = attempts.labels.unwrap();
const annotations = z.record(text, text);
const quantities = z.record(text, quantity);
const secretKey = z.strictObject({ name: text, key: text });
const pullPolicy = z.enum(['Always', 'IfNotPresent', 'Never']);
const image = z.strictObject({
  repository: text.regex(/^[a-z0-9]([a-z0-9._/-]*[a-z0-9])?$/),
  tag: text.regex(/^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$/),
  digest: text.regex(/^(sha256:[0-9a-f]{64})?$/),
  pullPolicy,
});
const toleration = z.strictObject({
  key: text.optional(),
  operator: z.enum(['Exists', 'Equal', 'Lt', 'Gt']).optional(),
  value: text.optional(),
  effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']).optional(),
  tolerationSeconds: z.int().optional(),
});

// Kubernetes' own words: checked as far as a misspelt key of theirs can be told here; the API server looks at the rest.
const required = 'requiredDuringSchedulingIgnoredDuringExecution';
const preferred = 'preferredDuringSchedulingIgnoredDuringExecution';
const any = z.record(text, z.unknown());
const podTerms = z.strictObject({ [required]: z.array(any).optional(), [preferred]: z.array(any).optional() });
const affinity = z.strictObject({
  nodeAffinity: z.strictObject({ [required]: any.optional(), [preferred]: z.array(any).optional() }).optional(),
  podAffinity: podTerms.optional(),
  podAntiAffinity: podTerms.optional(),
});
const selector = z.strictObject({
  matchLabels: z.record(text, text).optional(),
  matchExpressions: z
    .array(
      z.strictObject({
        key: text,
        operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']),
        values: strings.optional(),
      }),
    )
    .optional(),
});
const peer = z.strictObject({
  podSelector: selector.optional(),
  namespaceSelector: selector.optional(),
  ipBlock: z.strictObject({ cidr: text, except: strings.optional() }).optional(),
});
const egressRule = z.strictObject({
  to: z.array(peer).optional(),
  ports: z
    .array(
      z.strictObject({
        protocol: z.enum(['TCP', 'UDP', 'SCTP']).optional(),
        port: portNumber.or(text).optional(),
        endPort: portNumber.optional(),
      }),
    )
    .optional(),
});
const volumeKinds = ['configMap', 'secret', 'persistentVolumeClaim', 'projected', 'emptyDir', 'csi', 'nfs'];
const volume = z.strictObject({
  name: text,
  ...Object.fromEntries(volumeKinds.map((kind) => [kind, any.optional()])),
});
const mount = z.strictObject({
  name: text,
  mountPath: text,
  subPath: text.optional(),
  readOnly: z.boolean().optional(),
});

/** Settings of the server that the chart gives, or has a value of its own for. */
const {
  host: _host,
  port: _port,
  allowed_hosts: _allowedHosts,
  url: _url,
  api_key: _apiKey,
  data_dir: _dataDir,
  log_level: logLevel,
  runtime,
  door_host: _doorHost,
  door_port: _doorPort,
  door_url: _doorUrl,
  admin_key_file: _adminKeyFile,
  kubernetes: _kubernetes,
  max_parallel: _maxParallel,
  providers: _providers,
  ...free
} = settings;

const values = z.strictObject({
  // Of a chart that has this one as a part.
  global: any.optional(),
  enabled: z.boolean().optional(),
  nameOverride: text,
  fullnameOverride: text,
  commonLabels: labels,
  runtime: runtime.unwrap(),
  imageRegistry: text,
  imagePullSecrets: attempts.image_pull_secrets.unwrap(),
  server: z.strictObject({
    image,
    maxParallel: z.int().min(1).max(1000),
    logLevel: logLevel.unwrap(),
    resources,
    preStopSeconds: seconds,
    terminationGracePeriodSeconds: z.int().min(10),
    startupProbe: z.strictObject({ seconds: z.int().min(10) }),
    extraEnv: z.array(z.strictObject({ name: text, value: text.optional(), valueFrom: any.optional() })),
    extraVolumes: z.array(volume),
    extraVolumeMounts: z.array(mount),
    podLabels: labels,
    podAnnotations: annotations,
    nodeSelector: labels,
    tolerations: z.array(toleration),
    affinity,
    priorityClassName: text,
  }),
  serviceAccount: z.strictObject({ create: z.boolean(), name: text, annotations }),
  rbac: z.strictObject({ create: z.boolean() }),
  config: z.strictObject(free).partial(),
  providers: z.record(
    text.regex(/^[a-z0-9][a-z0-9._-]{0,62}$/),
    z.strictObject({
      kind: z.enum(PROVIDER_KINDS).optional(),
      baseUrl: text.regex(/^https?:\/\//).optional(),
      keyNeeded: z.boolean().optional(),
      script: text.optional(),
      key: text.optional(),
      existingSecret: secretKey.optional(),
    }),
  ),
  demo: z.strictObject({ enabled: z.boolean() }),
  auth: z.strictObject({
    existingSecret: text,
    secretKey: text.regex(/^[-._a-zA-Z0-9]+$/),
    adminKey: text.regex(/^(\S{24,})?$/),
  }),
  git: z.strictObject({ existingSecret: text, ssh: z.boolean(), credentials: text }),
  persistence: z.strictObject({
    enabled: z.boolean(),
    existingClaim: text,
    size: quantity,
    storageClass: text,
    accessModes: z.array(z.enum(['ReadWriteOnce', 'ReadWriteOncePod', 'ReadWriteMany'])).min(1),
    annotations,
    keep: z.boolean(),
    emptyDirSize: quantity,
  }),
  service: z.strictObject({ type: z.enum(['ClusterIP', 'NodePort', 'LoadBalancer']), port: portNumber, annotations }),
  doorService: z.strictObject({ port: portNumber, annotations }),
  ingress: z.strictObject({
    enabled: z.boolean(),
    className: text,
    hosts: strings,
    tls: z.array(z.strictObject({ secretName: text.optional(), hosts: strings.optional() })),
    annotations,
  }),
  httpRoute: z.strictObject({
    enabled: z.boolean(),
    parentRefs: z.array(
      z.strictObject({
        name: text,
        namespace: text.optional(),
        sectionName: text.optional(),
        port: portNumber.optional(),
      }),
    ),
    hostnames: strings,
    annotations,
  }),
  networkPolicy: z.strictObject({
    enabled: z.boolean(),
    from: z.array(peer),
    dns: z.array(peer),
    dnsPorts: z.array(portNumber),
    serverEgress: z.array(egressRule),
    agentEgress: z.array(egressRule),
  }),
  podDisruptionBudget: z.strictObject({ enabled: z.boolean(), maxUnavailable: z.int().min(0).max(1) }),
  serviceMonitor: z.strictObject({ enabled: z.boolean(), interval: text, labels, keySecret: secretKey }),
  agents: z.strictObject({
    namespace: text.regex(/^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$/),
    createNamespace: z.boolean(),
    image,
    allowedImages: attempts.images.unwrap(),
    jobTTL: attempts.job_ttl_seconds.unwrap(),
    gracePeriodSeconds: attempts.grace_seconds.unwrap(),
    holdSeconds: attempts.hold_seconds.unwrap(),
    startTimeouts: z.strictObject({
      unschedulable: z.int().min(1),
      admission: z.int().min(1),
      imagePull: z.int().min(1),
      config: z.int().min(1),
      start: z.int().min(1),
    }),
    resources,
    recorderResources: resources,
    volumes: z.strictObject({ workspace: quantity, home: quantity, tmp: quantity, journal: quantity }),
    queue: text,
    runtimeClassName: text,
    priorityClassName: text,
    nodeSelector: labels,
    tolerations: z.array(toleration),
    affinity,
    labels,
    annotations,
    resourceQuota: quantities,
    limitRange: z.array(
      z.strictObject({
        type: z.enum(['Container', 'Pod', 'PersistentVolumeClaim']),
        default: quantities.optional(),
        defaultRequest: quantities.optional(),
        min: quantities.optional(),
        max: quantities.optional(),
        maxLimitRequestRatio: quantities.optional(),
      }),
    ),
  }),
});

/** A value of values.yaml: its path, what is said of it, and its default. */
interface Described {
  path: string[];
  text: string;
  value: unknown;
}

/** The leaves of values.yaml with the comments above them, of which the first line begins with `# --`. */
export function describedValues(yaml: string): Described[] {
  const found: Described[] = [];
  const walk = (node: unknown, path: string[]): void => {
    if (!isMap(node)) return;
    for (const [place, { key, value }] of node.items.entries()) {
      if (!isScalar(key)) continue;
      const here = [...path, String(key.value)];
      // What is said above the first key is the map's own comment to the parser.
      const above = key.commentBefore ?? (place === 0 ? node.commentBefore : undefined) ?? '';
      const said = above.slice(above.indexOf('--') + 2).replaceAll(/\s*\n\s*/g, ' ');
      const isOpen = isMap(value) && value.items.length > 0 && !/annotations$/i.test(here.at(-1) ?? '');
      if (isOpen) walk(value, here);
      else found.push({ path: here, text: above.includes('--') ? said.trim() : '', value: value ?? null });
    }
  };
  walk(parseDocument(yaml).contents, []);
  return found;
}

/** values.schema.json. */
export function schemaText(yaml: string): string {
  // Every value has a default in values.yaml, so nothing is required; draft 7 is what every Helm 3 knows, too.
  const { $schema, ...schema } = z.toJSONSchema(values, { io: 'input', target: 'draft-7', unrepresentable: 'any' });
  const clean = withoutDemands(schema, true);
  for (const { path, text: said } of describedValues(yaml)) {
    const place = path.reduce<unknown>(
      (at, key) => (isRecord(at) && isRecord(at['properties']) ? at['properties'][key] : undefined),
      clean,
    );
    if (isRecord(place) && said !== '') place['description'] = said;
  }
  return `${JSON.stringify({ $schema, title: 'Values of the chart aideator', ...(isRecord(clean) ? clean : {}) }, null, 2)}\n`;
}

/** Without defaults (they are in values.yaml), and on the chart's own levels without `required`: a value may be left out everywhere. */
function withoutDemands(schema: unknown, isOwn: boolean): unknown {
  if (Array.isArray(schema)) return schema.map((each) => withoutDemands(each, false));
  if (!isRecord(schema)) return schema;
  const entries = Object.entries(schema)
    .filter(([key]) => key !== 'default' && !(key === 'required' && isOwn))
    .map(([key, value]): [string, unknown] => {
      if (key !== 'properties' || !isRecord(value)) return [key, withoutDemands(value, false)];
      return [
        key,
        Object.fromEntries(Object.entries(value).map(([name, each]) => [name, withoutDemands(each, isOwn)])),
      ];
    });
  return Object.fromEntries(entries);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** README.md with its table made anew. */
export function readmeText(readme: string, yaml: string): string {
  const defaults: unknown = parse(yaml);
  const rows = describedValues(yaml).map(({ path, text: said }) => {
    const value = path.reduce<unknown>((at, key) => (isRecord(at) ? at[key] : undefined), defaults);
    const cells = [`\`${path.join('.')}\``, said, `\`${JSON.stringify(value)}\``];
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  });
  const table = ['| value | what it is | default |', '| --- | --- | --- |', ...rows].join('\n');
  return readme.replace(
    /(<!-- values -->\n)[\s\S]*(\n<!-- end of values -->)/,
    (_all, start: string, end: string) => `${start}\n${table}\n${end}`,
  );
}

if (import.meta.main) {
  const yaml = readFileSync(join(chart, 'values.yaml'), 'utf8');
  const readme = join(chart, 'README.md');
  writeFileSync(join(chart, 'values.schema.json'), schemaText(yaml));
  writeFileSync(readme, readmeText(readFileSync(readme, 'utf8'), yaml));
}
