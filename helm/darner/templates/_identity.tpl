{{/*
Who is who: the Secrets with which the parts come by their certificates. Nobody mounts more than its role needs.
*/}}

{{/* include "darner.identity.secret" (list . "authority"): of authority, scheduler, seedPeer, dfdaemon. */}}
{{- define "darner.identity.secret" -}}
{{- $root := index . 0 -}}{{- $whose := index . 1 -}}
{{- $own := dict "authority" "authority" "scheduler" "join-scheduler" "seedPeer" "join-seed-peer" "dfdaemon" "join-dfdaemon" -}}
{{- get $root.Values.mtls.existingSecrets $whose | default (include "darner.name" (list $root (get $own $whose))) -}}
{{- end -}}

{{/* The trust domain of an authority that is made. */}}
{{- define "darner.identity.domain" -}}
{{- .Values.mtls.trustDomain | default (printf "%s.%s" .Release.Name .Release.Namespace) -}}
{{- end -}}

{{/* For whom a pod's token is made, when pods join with theirs. */}}
{{- define "darner.identity.audience" -}}
{{- printf "darner/%s/%s" .Release.Namespace .Release.Name -}}
{{- end -}}

{{- define "darner.identity.mounts" -}}
{{- if .Values.mtls.enabled -}}
- {name: join, mountPath: /etc/darner/join, readOnly: true}
{{- end -}}
{{- end -}}

{{/* include "darner.identity.volumes" (list . "scheduler") */}}
{{- define "darner.identity.volumes" -}}
{{- if (index . 0).Values.mtls.enabled -}}
{{- if eq (index . 0).Values.mtls.joinWith "serviceAccount" -}}
- name: join
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "darner.identity.secret" . }}
          items: [{key: ca.crt, path: ca.crt}]
      # Good for the manager alone, for an hour, and for as long as the pod lives.
      - serviceAccountToken: {audience: {{ include "darner.identity.audience" (index . 0) }}, expirationSeconds: 3600, path: token}
{{- else -}}
- name: join
  secret:
    secretName: {{ include "darner.identity.secret" . }}
    defaultMode: 0440
    items:
      - {key: ca.crt, path: ca.crt}
      - {key: token, path: token}
{{- end -}}
{{- end -}}
{{- end -}}
