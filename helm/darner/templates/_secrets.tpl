{{/*
The Jobs that make what no template may: keys, the authority, the webhook's pair. Each is a hook with an account of its own
that is there only while it runs.
*/}}

{{/* The hooks of this release as JSON: name, when, the arguments of `darner keys`, and the Secrets they touch. */}}
{{- define "darner.secrets.hooks" -}}
{{- $secrets := list -}}{{- $made := list -}}{{- $removed := list "--remove" -}}{{- $gone := list -}}
{{- if not .Values.keys.existingSecret -}}
{{- $names := list (include "darner.keysSecret" .) (include "darner.seedKeysSecret" .) -}}
{{- $keys := list (printf "--secret=%s" (first $names)) (printf "--seed-secret=%s" (last $names)) -}}
{{- $secrets = concat $secrets $names -}}{{- $made = concat $made $keys -}}
{{- range $i := until (max 1 (int (include "darner.seeds" .)) | int) -}}
{{- $made = append $made (printf "--seed=%s-%d" (include "darner.name" (list $ "seed-peer")) $i) -}}
{{- end -}}
{{- $removed = concat $removed $keys -}}{{- $gone = concat $gone $names -}}
{{- end -}}
{{- if not .Values.mtls.existingSecrets.authority -}}
{{- $authority := list (printf "--authority=%s" (include "darner.identity.secret" (list . "authority"))) -}}
{{- $authority = append $authority (printf "--trust-domain=%s" (include "darner.identity.domain" .)) -}}
{{- $names := list (include "darner.identity.secret" (list . "authority")) -}}
{{- range $role := list "scheduler" "seed-peer" "peer-daemon" -}}
{{- $name := include "darner.identity.secret" (list $ (get (dict "scheduler" "scheduler" "seed-peer" "seedPeer" "peer-daemon" "dfdaemon") $role)) -}}
{{- $authority = append $authority (printf "--join=%s=%s" $role $name) -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- if .Values.mtls.enabled -}}{{- $made = concat $made $authority -}}{{- $secrets = concat $secrets $names -}}{{- end -}}
{{- /* Also what an earlier revision made. */}}
{{- $removed = concat $removed $authority -}}{{- $gone = concat $gone $names -}}
{{- end -}}
{{- if not .Values.webhook.tls.existingSecret -}}
{{- $pair := list (printf "--webhook=%s" (include "darner.webhook.secret" .)) (printf "--webhook-host=%s" (include "darner.webhook.host" .)) -}}
{{- if include "darner.webhook.made" . -}}
{{- $made = concat $made $pair -}}{{- $secrets = append $secrets (include "darner.webhook.secret" .) -}}
{{- end -}}
{{- $removed = concat $removed $pair -}}{{- $gone = append $gone (include "darner.webhook.secret" .) -}}
{{- end -}}
{{- $hooks := list -}}
{{- if $made -}}
{{- range $label := list "app" "release" -}}
{{- $made = append $made (printf "--label=%s=%s" $label $.Release.Name) -}}
{{- end -}}
{{- $made = concat $made (list (printf "--label=app.kubernetes.io/instance=%s" .Release.Name) "--label=app.kubernetes.io/part-of=darner") -}}
{{- $hooks = append $hooks (dict "name" "make-keys" "when" "pre-install,pre-upgrade,pre-rollback" "arguments" $made "secrets" $secrets) -}}
{{- $hooks = append $hooks (dict "name" "remove-keys" "when" "post-delete" "arguments" $removed "secrets" $gone) -}}
{{- end -}}
{{- toJson $hooks -}}
{{- end -}}

{{/* include "darner.secrets.hook" (list $hook "-10"): the annotations of an object of a hook. */}}
{{- define "darner.secrets.hook" -}}
helm.sh/hook: {{ (index . 0).when }}
helm.sh/hook-weight: {{ index . 1 | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* include "darner.secrets.job" (list . $hook) */}}
{{- define "darner.secrets.job" -}}
{{- $root := index . 0 -}}{{- $hook := index . 1 -}}
{{- $daemon := include "darner.daemon" $root | fromJson -}}
{{- $name := include "darner.name" (list $root $hook.name) -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  labels: {{ include "darner.labels" (list $root "keys") | nindent 4 }}
  annotations: {{ include "darner.secrets.hook" (list $hook "-5") | nindent 4 }}
spec:
  backoffLimit: 4
  activeDeadlineSeconds: 120
  template:
    metadata:
      labels: {{ include "darner.labels" (list $root "keys") | nindent 8 }}
    spec:
      restartPolicy: OnFailure
      serviceAccountName: {{ $name }}
      automountServiceAccountToken: true
      enableServiceLinks: false
      securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets:
      {{- range . }}
        - name: {{ . }}
      {{- end }}
      {{- end }}
      containers:
        - name: keys
          image: {{ include "darner.image" (list $root "dfdaemon" $daemon) }}
          imagePullPolicy: {{ include "darner.pullPolicy" (list $root $daemon) }}
          securityContext: {{ include "darner.contained" $root | nindent 12 }}
          command:
            - /usr/bin/darner
            - keys
            {{- range $hook.arguments }}
            - {{ . }}
            {{- end }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- with $hook.root }}
            - {name: root, mountPath: /etc/darner/webhook, readOnly: true}
            {{- end }}
      volumes:
        # Keys pass through it: memory, not a disk.
        - name: tmp
          emptyDir: {medium: Memory, sizeLimit: 16Mi}
        {{- with $hook.root }}
        - name: root
          secret:
            secretName: {{ . }}
            items: [{key: ca.crt, path: ca.crt}]
        {{- end }}
{{- end -}}
