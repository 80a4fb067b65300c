{{/*
The webhook: its certificate, and the port that it tells pods.
*/}}

{{- define "darner.webhook.host" -}}
{{- printf "%s.%s.svc" (include "darner.name" (list . "webhook")) .Release.Namespace -}}
{{- end -}}

{{/* Of the cluster, so that two releases do not meet. */}}
{{- define "darner.webhook.configuration" -}}
{{- printf "%s-%s-webhook" .Release.Namespace .Release.Name -}}
{{- end -}}

{{/* The Secret of its pair: given, cert-manager's, or made by a hook. */}}
{{- define "darner.webhook.secret" -}}
{{- .Values.webhook.tls.existingSecret | default (include "darner.name" (list . "webhook-tls")) -}}
{{- end -}}

{{/* Whether a hook makes the pair. */}}
{{- define "darner.webhook.made" -}}
{{- if and .Values.webhook.enabled (not .Values.webhook.tls.existingSecret) (not .Values.webhook.tls.certManager.issuer) -}}true{{- end -}}
{{- end -}}

{{- define "darner.webhook.gitPort" -}}
{{- $daemon := include "darner.daemon" . | fromJson -}}
{{- if int .Values.webhook.gitPort }}{{ int .Values.webhook.gitPort }}
{{- else if int $daemon.hostPort }}{{ int $daemon.hostPort }}
{{- else if include "darner.nodePort" . }}{{ int $daemon.service.nodePort.port }}
{{- else }}{{ fail "`webhook.enabled`: nodes have no port that leads to their daemon; set `dfdaemon.hostPort`, `dfdaemon.service.nodePort.enable` or, with a Service of your own, `webhook.gitPort`" }}
{{- end -}}
{{- end -}}
