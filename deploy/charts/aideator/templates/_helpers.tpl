{{- define "aideator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* At most 48 characters: the longest ending of ours has 15. */}}
{{- define "aideator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- else if contains (include "aideator.name" .) .Release.Name }}
{{- .Release.Name | trunc 48 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "aideator.name" .) | trunc 48 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Never changes in an upgrade: a Deployment's selector cannot. */}}
{{- define "aideator.selector" -}}
app.kubernetes.io/name: {{ include "aideator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{/* Of everything; the component is the caller's: (list $ "server"). */}}
{{- define "aideator.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "aideator.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: aideator
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What the server puts on every Job and pod of an attempt (src/contract/pod.ts). */}}
{{- define "aideator.agentSelector" -}}
app.kubernetes.io/name: aideator-agent
app.kubernetes.io/component: agent
{{- end }}

{{- define "aideator.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- with $root.Values.imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default $root.Chart.AppVersion $image.tag }}{{ end -}}
{{- end }}

{{- define "aideator.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "aideator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "aideator.agentsNamespace" -}}
{{- default .Release.Namespace .Values.agents.namespace }}
{{- end }}

{{/* The Secret with the API key of scope admin: given, made by the chart, or made by the server at its first start. */}}
{{- define "aideator.adminKeySecret" -}}
{{- if .Values.auth.existingSecret }}
{{- .Values.auth.existingSecret }}
{{- else if .Values.auth.adminKey }}
{{- include "aideator.fullname" . }}-api-key
{{- else }}
{{- include "aideator.fullname" . }}-admin-key
{{- end }}
{{- end }}

{{/* Not empty where that Secret is there before the server is. */}}
{{- define "aideator.adminKeyGiven" -}}
{{- if or .Values.auth.existingSecret .Values.auth.adminKey }}true{{ end }}
{{- end }}

{{- define "aideator.gitSecret" -}}
{{- if .Values.git.existingSecret }}
{{- .Values.git.existingSecret }}
{{- else if .Values.git.credentials }}
{{- include "aideator.fullname" . }}-git
{{- end }}
{{- end }}

{{/* Of every container of ours: the profile `restricted`, and nothing written but to volumes. */}}
{{- define "aideator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
{{- define "aideator.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* What would render, and then not work. */}}
{{- define "aideator.check" -}}
{{- $own := eq (include "aideator.agentsNamespace" .) .Release.Namespace -}}
{{- if and .Values.agents.createNamespace $own }}
{{- fail "agents.createNamespace: the release's own namespace is there already; name another in agents.namespace" }}
{{- end }}
{{- if and $own (or .Values.agents.resourceQuota .Values.agents.limitRange) }}
{{- fail "agents.resourceQuota and agents.limitRange would hold for the server, too: name a namespace for attempts in agents.namespace" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.hosts: an Ingress needs at least one host" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs: an HTTPRoute needs a Gateway" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (not .Values.serviceMonitor.keySecret.name) }}
{{- fail "serviceMonitor.keySecret.name: Prometheus needs an API key of scope read" }}
{{- end }}
{{- if and .Values.auth.existingSecret .Values.auth.adminKey }}
{{- fail "auth: give existingSecret or adminKey, not both" }}
{{- end }}
{{- if and .Values.git.existingSecret .Values.git.credentials }}
{{- fail "git: give existingSecret or credentials, not both" }}
{{- end }}
{{- range $name, $provider := .Values.providers }}
{{- if and $provider.key $provider.existingSecret }}
{{- fail (printf "providers.%s: give existingSecret or key, not both" $name) }}
{{- end }}
{{- if not (or $provider.kind (has $name (list "anthropic" "openai" "gemini"))) }}
{{- fail (printf "providers.%s.kind: which protocol it speaks has to be said" $name) }}
{{- end }}
{{- if and $.Values.demo.enabled (eq $name "demo") }}
{{- fail "providers.demo is the chart's own name while demo.enabled is true" }}
{{- end }}
{{- end }}
{{- end }}
