{{/*
Names, labels, images and addresses: every template takes these from here. A component is one of the words of the
labels: manager, scheduler, seed-peer, dfdaemon, jaeger, redis, postgresql.
*/}}

{{/* `{release}-{component}`: include "darner.name" (list . "scheduler") */}}
{{- define "darner.name" -}}
{{- $root := index . 0 -}}
{{- printf "%s-%s" $root.Release.Name (index . 1) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects the pods of a component; never changes between upgrades. */}}
{{- define "darner.selector" -}}
app: {{ (index . 0).Release.Name }}
release: {{ (index . 0).Release.Name }}
component: {{ index . 1 }}
{{- end -}}

{{/* All labels of an object of a component. */}}
{{- define "darner.labels" -}}
{{- $root := index . 0 -}}
{{ include "darner.selector" . }}
app.kubernetes.io/name: darner
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/part-of: darner
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The values of the daemon, under either of its two names. */}}
{{- define "darner.daemon" -}}
{{- $given := .Values.peerDaemon | default dict -}}
{{- merge (deepCopy $given) .Values.dfdaemon | toJson -}}
{{- end -}}

{{/* Whether an image is one of the three the Dragonfly documents name: ours stands in for it. */}}
{{- define "darner.dragonflyImage" -}}
{{- $image := .image -}}
{{- $name := "" -}}
{{- if kindIs "string" $image }}{{ $name = $image }}{{ else if $image }}{{ $name = $image.repository | default "" }}{{ end -}}
{{- if regexMatch "^(docker\\.io/)?dragonflyoss/(scheduler|manager|dfdaemon|client)(:.*)?$" $name -}}true{{- end -}}
{{- end -}}

{{/* The image of a component: include "darner.image" (list . "scheduler" $values) */}}
{{- define "darner.image" -}}
{{- $root := index . 0 -}}{{- $key := index . 1 -}}{{- $of := index . 2 -}}
{{- $own := $of.image | default dict -}}
{{- if kindIs "string" $own }}{{ $own = dict "repository" $own }}{{ end -}}
{{- if and $of.tag $own.tag (ne (toString $of.tag) (toString $own.tag)) -}}
{{- fail (printf "`%s.tag` says %v and `%s.image.tag` says %v: give one of them" $key $of.tag $key $own.tag) -}}
{{- end -}}
{{- if include "darner.dragonflyImage" $of }}{{ $own = dict }}{{ $of = dict }}{{ end -}}
{{- $default := $root.Values.image -}}
{{- $repository := $own.repository | default $default.repository -}}
{{- $tag := $own.tag | default $of.tag | default (ternary "" ($default.tag | default $root.Chart.AppVersion) (contains ":" (base $repository))) -}}
{{- $digest := $own.digest | default (ternary "" $default.digest (not (empty $own.repository))) -}}
{{- with $root.Values.global.imageRegistry }}{{ $repository = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" $repository "") }}{{ end -}}
{{- $repository -}}
{{- with $tag }}:{{ . }}{{ end -}}
{{- with $digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- define "darner.pullPolicy" -}}
{{- $own := (index . 1).image -}}
{{- if and (kindIs "map" $own) $own.pullPolicy }}{{ $own.pullPolicy }}{{ else }}{{ (index . 0).Values.image.pullPolicy }}{{ end -}}
{{- end -}}

{{/* Whether the cluster (or the one rendered for) is at least this version: include "darner.since" (list . "1.34") */}}
{{- define "darner.since" -}}
{{- if semverCompare (printf ">=%s.0-0" (index . 1)) (trimPrefix "v" (index . 0).Capabilities.KubeVersion.Version) -}}true{{- end -}}
{{- end -}}

{{/* How many seeds there may ever be, for their keys and addresses. */}}
{{- define "darner.seeds" -}}
{{- $seed := .Values.seedPeer -}}
{{- if not $seed.enable }}0{{ else if $seed.autoscaling.enable }}{{ max (int $seed.autoscaling.maxReplicas) (int $seed.replicas) }}{{ else }}{{ int $seed.replicas }}{{ end -}}
{{- end -}}

{{/* `host:port` of every replica of a StatefulSet: include "darner.replicas" (list . "scheduler" 3 8002) gives a JSON list. */}}
{{- define "darner.replicas" -}}
{{- $root := index . 0 -}}{{- $name := include "darner.name" (list $root (index . 1)) -}}
{{- $port := index . 3 -}}
{{- $all := list -}}
{{- range $i := until (int (index . 2)) -}}
{{- $all = append $all (printf "%s-%d.%s.%s.svc:%v" $name $i $name $root.Release.Namespace $port) -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{- define "darner.managerAddress" -}}
{{- printf "%s.%s.svc:65003" (include "darner.name" (list . "manager")) .Release.Namespace -}}
{{- end -}}

{{/* The collector of spans: the one given, or the Jaeger of this release. */}}
{{- define "darner.otlp" -}}
{{- if .Values.telemetry.otlp -}}
{{- .Values.telemetry.otlp -}}
{{- else if .Values.jaeger.enable -}}
{{- printf "http://%s.%s.svc:4317" (include "darner.name" (list . "jaeger-collector")) .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{/* The port git speaks to: `proxy.tcpListen.port` of the seed vocabulary, else `dfdaemon.port`. */}}
{{- define "darner.gitPort" -}}
{{- $daemon := include "darner.daemon" . | fromJson -}}
{{- $proxy := (get ($daemon.config | default dict) "proxy") | default dict -}}
{{- int (dig "tcpListen" "port" $daemon.port $proxy) -}}
{{- end -}}

{{/* Whether this release has a NodePort of its own: as told, else unless the seed vocabulary is used. */}}
{{- define "darner.nodePort" -}}
{{- $daemon := include "darner.daemon" . | fromJson -}}
{{- $told := $daemon.service.nodePort.enable -}}
{{- if kindIs "invalid" $told -}}
{{- if not (get ($daemon.config | default dict) "proxy") -}}true{{- end -}}
{{- else if $told -}}true{{- end -}}
{{- end -}}

{{- define "darner.serviceAccount" -}}
{{- include "darner.name" . -}}
{{- end -}}
