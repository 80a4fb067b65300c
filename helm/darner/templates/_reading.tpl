{{/* What seeds and daemons mount besides: the roots of upstreams. */}}
{{- define "darner.reading.mounts" -}}
{{- if include "darner.upstreamCa.source" . -}}
- {name: upstream-ca, mountPath: /etc/darner/upstream-ca, readOnly: true}
{{- end -}}
{{- end -}}

{{- define "darner.reading.volumes" -}}
{{- with include "darner.upstreamCa.source" . -}}
- name: upstream-ca
  {{- . | nindent 2 }}
{{- end -}}
{{- end -}}
