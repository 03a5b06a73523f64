import { z } from 'zod';

/**
 * Settings of the runtime `kubernetes`: what of an attempt's Job depends on the cluster. Checked when the server starts, label
 * syntax and quantities included, not when the first Job is refused.
 */

/** A quantity as Kubernetes writes it: `500m`, `1Gi`, `0.5`. */
const quantity = z
  .string()
  .regex(/^\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$/, 'a Kubernetes quantity, e.g. 500m, 1Gi')
  .or(z.number().min(0).transform(String));

/** RFC 1123 label: names of namespaces, and of objects that become labels. */
const label = z
  .string()
  .regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'lower-case letters, digits and dashes; at most 63');
const objectName = z
  .string()
  .regex(/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/, 'a Kubernetes name: lower-case letters, digits, dots and dashes');
const labelKey = z
  .string()
  .regex(
    /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/,
    'a Kubernetes label key',
  );
const labelValue = z.string().regex(/^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/, 'a Kubernetes label value');
const image = z.string().regex(/^\S{1,512}$/, 'an image reference');

const amounts = z.strictObject({
  cpu: quantity.optional(),
  memory: quantity.optional(),
  'ephemeral-storage': quantity.optional(),
});
const resources = z.strictObject({ requests: amounts.prefault({}), limits: amounts.prefault({}) });

/** Anything that goes into the pod's spec as it is; Kubernetes checks it (`aideator doctor --kubernetes` by a dry run). */
const verbatim = z.record(z.string(), z.unknown());

export const kubernetesSettings = z.strictObject({
  namespace: label.nullable().default(null).meta({ description: 'Where Jobs are made; none = the server’s own.' }),
  kubeconfig: z.string().nullable().default(null).meta({
    description: 'A kubeconfig file; none = the pod’s service account, else KUBECONFIG or ~/.kube/config.',
  }),
  context: z
    .string()
    .nullable()
    .default(null)
    .meta({ description: 'A context of the kubeconfig; none = its current one.' }),
  image: image.default('aideator-agent').meta({ description: 'Of the recorder, and of agents that name none.' }),
  images: z
    .array(image)
    .default([])
    .meta({ description: 'More images that a run may ask for; `*` at the end stands for any ending.' }),
  admin_key_secret: objectName.nullable().default(null).meta({
    description:
      'The first start makes an API key of scope admin and puts it into this Secret of the server’s namespace.',
  }),
  image_pull_policy: z.enum(['Always', 'IfNotPresent', 'Never']).default('IfNotPresent'),
  image_pull_secrets: z.array(objectName).default([]),
  resources: resources
    .prefault({
      requests: { cpu: '100m', memory: '256Mi', 'ephemeral-storage': '512Mi' },
      limits: { cpu: '500m', memory: '1Gi', 'ephemeral-storage': '6Gi' },
    })
    .meta({ description: 'Of the agent’s container.' }),
  recorder_resources: resources
    .prefault({
      requests: { cpu: '50m', memory: '96Mi', 'ephemeral-storage': '128Mi' },
      limits: { cpu: '500m', memory: '384Mi', 'ephemeral-storage': '2Gi' },
    })
    .meta({ description: 'Of the recorder’s container: its own, so that it survives the agent’s.' }),
  volumes: z
    .strictObject({
      workspace: quantity.default('4Gi'),
      home: quantity.default('1Gi'),
      tmp: quantity.default('1Gi'),
      journal: quantity.default('1Gi'),
    })
    .prefault({})
    .meta({ description: 'Size limits of the pod’s emptyDirs.' }),
  job_ttl_seconds: z
    .int()
    .min(0)
    .default(3600)
    .meta({ description: 'How long a finished Job stays, once all of it is stored.' }),
  grace_seconds: z
    .int()
    .min(5)
    .max(3600)
    .default(60)
    .meta({ description: 'terminationGracePeriodSeconds of the pod.' }),
  hold_seconds: z.int().min(0).max(86_400).default(3600).meta({
    description: 'How long a finished attempt waits for a server that is away to take its result and its log.',
  }),
  start_timeouts: z
    .strictObject({
      unschedulable: z.int().min(1).default(300),
      admission: z.int().min(1).default(60),
      image_pull: z.int().min(1).default(120),
      config: z.int().min(1).default(60),
      start: z.int().min(1).default(120),
    })
    .prefault({})
    .meta({ description: 'Seconds until a pod that cannot start has failed, by what is in its way.' }),
  queue: label
    .nullable()
    .default(null)
    .meta({ description: 'A Kueue LocalQueue: Jobs are made suspended and it admits them.' }),
  runtime_class: objectName.nullable().default(null),
  priority_class: objectName.nullable().default(null),
  node_selector: z.record(labelKey, labelValue).default({}),
  tolerations: z.array(verbatim).default([]),
  affinity: verbatim.nullable().default(null),
  labels: z.record(labelKey, labelValue).default({}).meta({ description: 'Added to Jobs and pods.' }),
  annotations: z.record(labelKey, z.string()).default({}).meta({ description: 'Added to Jobs and pods.' }),
});
export type KubernetesSettings = z.infer<typeof kubernetesSettings>;
