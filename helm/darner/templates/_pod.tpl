{{/*
What the pods of all parts have in common: who they run as, what they may, how they are watched and how they leave.
*/}}

{{/* include "darner.pod" (list . "scheduler" $values): the fields of a pod's spec besides containers and volumes. */}}
{{- define "darner.pod" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}{{- $of := index . 2 -}}
serviceAccountName: {{ include "darner.name" (list $root $component) }}
automountServiceAccountToken: {{ and (eq $component "manager") $root.Values.manager.kubernetes.enable }}
enableServiceLinks: false
terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with $of.priorityClassName | default (ternary (printf "%s-%s" $root.Release.Namespace $root.Release.Name) "" $root.Values.priorityClass.create) }}
priorityClassName: {{ . }}
{{- end }}
{{- with $of.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $of.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $of.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- if ne $component "dfdaemon" }}
topologySpreadConstraints:
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "darner.selector" (list $root $component) | nindent 8 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* include "darner.podMetadata" (list . "scheduler" $configText) */}}
{{- define "darner.podMetadata" -}}
{{- $root := index . 0 -}}
labels: {{ include "darner.labels" (list $root (index . 1)) | nindent 2 }}
annotations:
  checksum/config: {{ index . 2 | sha256sum }}
  prometheus.io/scrape: "true"
  prometheus.io/port: "8000"
  prometheus.io/path: /metrics
{{- with $root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* include "darner.container" (list . "scheduler" "scheduler" $values): image, program and limits. */}}
{{- define "darner.container" -}}
{{- $root := index . 0 -}}{{- $of := index . 3 -}}
image: {{ include "darner.image" (list $root (index . 1) $of) }}
imagePullPolicy: {{ include "darner.pullPolicy" (list $root $of) }}
command: [/usr/bin/{{ index . 2 }}, --config, /etc/darner/config/config.yaml]
securityContext: {{ include "darner.contained" . | nindent 2 }}
lifecycle:
  preStop:
    exec: {command: [/bin/sleep, {{ $root.Values.preStopSeconds | quote }}]}
startupProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 1
  timeoutSeconds: 3
  failureThreshold: 300
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
  timeoutSeconds: 3
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- with $of.resources }}
resources: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "darner.contained" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Who the process is; node names and zones are known to the pod alone. */}}
{{- define "darner.environment" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: DARNER__HOST__ID
  value: $(POD_NAME)
- name: DARNER__HOST__ADVERTISE
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: DARNER__HOST__NAME
  valueFrom: {fieldRef: {fieldPath: {{ . }}}}
# Kubernetes 1.35+ copies the zone of the node to its pods; empty before, and the manager tells it then.
- name: DARNER__HOST__ZONE
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['topology.kubernetes.io/zone']"}}
{{- end -}}

{{/* Mounts and volumes every part has. */}}
{{- define "darner.mounts" -}}
- {name: config, mountPath: /etc/darner/config, readOnly: true}
- {name: data, mountPath: /var/lib/darner}
- {name: log, mountPath: /var/log/dragonfly}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{/* include "darner.volumes" (list . "scheduler") */}}
{{- define "darner.volumes" -}}
- name: config
  configMap: {name: {{ include "darner.name" . }}}
- name: log
  emptyDir: {sizeLimit: 256Mi}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- end -}}

{{/* Hands the data directory to the user of the process: for volumes that belong to root and ignore `fsGroup`. */}}
{{- define "darner.prepare" -}}
initContainers:
  # The only thing here that runs as root, with the right to hand files over and no other.
  - name: own-the-directory
    image: {{ include "darner.image" . }}
    imagePullPolicy: {{ include "darner.pullPolicy" (list (index . 0) (index . 2)) }}
    command: [/bin/busybox, chown, "65532:65532", /var/lib/darner]
    securityContext:
      runAsNonRoot: false
      runAsUser: 0
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL], add: [CHOWN]}
    volumeMounts:
      - {name: data, mountPath: /var/lib/darner}
{{- end -}}

{{/* Apart from the daemons' keys: a machine may read every Secret of its pods, whole. */}}
{{- define "darner.seedKeysSecret" -}}
{{- .Values.keys.existingSeedSecret | default .Values.keys.existingSecret | default (include "darner.name" (list . "seed-keys")) -}}
{{- end -}}

{{- define "darner.keysSecret" -}}
{{- .Values.keys.existingSecret | default (include "darner.name" (list . "keys")) -}}
{{- end -}}
