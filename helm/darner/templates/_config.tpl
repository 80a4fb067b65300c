{{/*
The configuration file of each part. What `config` says wins over what the chart would say, but for keys the chart alone
can know; those are refused by name, with the value to set instead.
*/}}

{{/* include "darner.refuse" (list "scheduler" $config (dict "grpc.listen" "is fixed")) */}}
{{- define "darner.refuse" -}}
{{- $part := index . 0 -}}{{- $config := index . 1 -}}
{{- range $key, $words := index . 2 -}}
{{- $at := $config -}}
{{- range $step := splitList "." $key -}}
{{- if kindIs "map" $at }}{{ $at = get $at $step }}{{ else }}{{ $at = "" }}{{ end -}}
{{- end -}}
{{- if not (or (kindIs "invalid" $at) (eq (toString $at) "")) -}}
{{- fail (printf "`%s.config.%s`: %s" $part $key $words) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What all processes are told: include "darner.config.shared" (list . "scheduler" $config) gives JSON. */}}
{{- define "darner.config.shared" -}}
{{- $root := index . 0 -}}{{- $part := index . 1 -}}{{- $config := index . 2 -}}
{{- include "darner.refuse" (list $part $config (dict
  "admin.listen" "is 0.0.0.0:8000, where the probes look"
  "data" "is /var/lib/darner; see `storage`"
  "readyFile" "has no meaning in a pod"
  "exitWithParent" "has no meaning in a pod"
  "host.tenant" "set `tenant`"
  "host.advertise" "is the pod's address"
  "telemetry.otlp" "set `telemetry.otlp`"
  "tls" "set `mtls`")) -}}
{{- $directory := ternary "daemon" $part (has $part (list "dfdaemon" "seed-peer")) -}}
{{- $shared := dict
  "admin" (dict "listen" "0.0.0.0:8000")
  "data" "/var/lib/darner"
  "log" (dict "file" (printf "/var/log/dragonfly/%s/core.log" $directory))
  "host" (dict "tenant" $root.Values.tenant) -}}
{{- with include "darner.otlp" $root -}}
{{- $own := not $root.Values.telemetry.otlp -}}
{{- $sample := ternary (ternary 1.0 0.05 $own) $root.Values.telemetry.sample (kindIs "invalid" $root.Values.telemetry.sample) -}}
{{- $_ := set $shared "telemetry" (dict "otlp" . "sample" $sample) -}}
{{- end -}}
{{- /* The manager takes its own from the authority. */}}
{{- if and $root.Values.mtls.enabled (ne $part "manager") -}}
{{- $_ := set $shared "tls" (dict "caCert" "/etc/darner/join/ca.crt" "joinToken" "/etc/darner/join/token") -}}
{{- end -}}
{{- toJson $shared -}}
{{- end -}}

{{/* What seeds and daemons have in common. */}}
{{- define "darner.config.reading" -}}
{{- $root := index . 0 -}}{{- $part := index . 1 -}}{{- $config := index . 2 -}}{{- $storage := index . 3 -}}
{{- include "darner.refuse" (list $part $config (dict
  "grpc.listen" "is 0.0.0.0:65000"
  "piece.listen" "is 0.0.0.0:65002"
  "schedulers" "is made of `scheduler.replicas`"
  "manager" "is made of `manager.enable`"
  "upstreams" "set `upstreams`"
  "upstreamsFromCluster" "set `manager.kubernetes.upstreams`"
  "resolve" "set `resolve`"
  "upstreamCa" "set `upstreamCa`"
  "origin.proxy" "set `upstreamProxy`"
  "keys" "set `keys.existingSecret`"
  "storage.budget" "set `storage.size`"
  "storage.reserve" "set `storage.reserve`")) -}}
{{- $reading := include "darner.config.shared" (list $root $part $config) | fromJson -}}
{{- $_ := set $reading "grpc" (dict "listen" "0.0.0.0:65000") -}}
{{- $_ := set $reading "piece" (dict "listen" "0.0.0.0:65002") -}}
{{- $_ := set $reading "schedulers" (include "darner.replicas" (list $root "scheduler" $root.Values.scheduler.replicas 8002) | fromJsonArray) -}}
{{- if $root.Values.manager.enable }}{{ $_ := set $reading "manager" (include "darner.managerAddress" $root) }}{{ end -}}
{{- $_ := set $reading "upstreams" $root.Values.upstreams -}}
{{- if and $root.Values.manager.enable $root.Values.manager.kubernetes.enable $root.Values.manager.kubernetes.upstreams }}{{ $_ := set $reading "upstreamsFromCluster" true }}{{ end -}}
{{- $_ := set $reading "resolve" $root.Values.resolve -}}
{{- if include "darner.upstreamCa.source" $root }}{{ $_ := set $reading "upstreamCa" "/etc/darner/upstream-ca/ca.crt" }}{{ end -}}
{{- with $root.Values.upstreamProxy }}{{ $_ := set $reading "origin" (dict "proxy" .) }}{{ end -}}
{{- $_ := set $reading "storage" (dict "budget" $storage.size "reserve" $storage.reserve) -}}
{{- toJson $reading -}}
{{- end -}}

{{- define "darner.config.scheduler" -}}
{{- $config := .Values.scheduler.config | default dict -}}
{{- include "darner.refuse" (list "scheduler" $config (dict
  "grpc.listen" "is 0.0.0.0:8002"
  "manager" "is made of `manager.enable`")) -}}
{{- $all := include "darner.config.shared" (list . "scheduler" $config) | fromJson -}}
{{- $_ := set $all "grpc" (dict "listen" "0.0.0.0:8002") -}}
{{- if .Values.manager.enable }}{{ $_ := set $all "manager" (include "darner.managerAddress" .) }}{{ end -}}
{{- toYaml (mergeOverwrite $all (deepCopy $config)) -}}
{{- end -}}

{{- define "darner.config.manager" -}}
{{- $config := .Values.manager.config | default dict -}}
{{- include "darner.refuse" (list "manager" $config (dict
  "http.listen" "is 0.0.0.0:8080"
  "ca" "set `mtls`"
  "grpc.listen" "is 0.0.0.0:65003"
  "kubernetes" "set `manager.kubernetes`"
  "schedulers" "is made of `scheduler.replicas`")) -}}
{{- $all := include "darner.config.shared" (list . "manager" $config) | fromJson -}}
{{- $_ := set $all "http" (dict "listen" "0.0.0.0:8080") -}}
{{- $_ := set $all "grpc" (dict "listen" "0.0.0.0:65003") -}}
{{- $_ := set $all "schedulers" (include "darner.replicas" (list . "scheduler" .Values.scheduler.replicas 8002) | fromJsonArray) -}}
{{- if .Values.mtls.enabled -}}
{{- $at := "/etc/darner/authority" -}}
{{- $_ := set $all "ca" (dict "cert" (printf "%s/ca.crt" $at) "key" (printf "%s/ca.key" $at) "lifetimeSeconds" (int .Values.mtls.lifetimeSeconds)) -}}
{{- if eq .Values.mtls.joinWith "serviceAccount" -}}
{{- $_ := set $all.ca "audience" (include "darner.identity.audience" .) -}}
{{- else -}}
{{- $_ := set $all.ca "tokens" (printf "%s/tokens" $at) -}}
{{- end -}}
{{- end -}}
{{- if .Values.manager.kubernetes.enable -}}
{{- $kubernetes := dict "enabled" true "release" .Release.Name -}}
{{- if .Values.webhook.enabled -}}
{{- $_ := set $kubernetes "webhook" (dict "listen" "0.0.0.0:9443" "gitPort" (int (include "darner.webhook.gitPort" .)) "upstreams" .Values.upstreams) -}}
{{- end -}}
{{- $_ := set $all "kubernetes" $kubernetes -}}
{{- end -}}
{{- toYaml (mergeOverwrite $all (deepCopy $config)) -}}
{{- end -}}

{{- define "darner.config.seed-peer" -}}
{{- $config := .Values.seedPeer.config | default dict -}}
{{- $all := include "darner.config.reading" (list . "seedPeer" $config .Values.seedPeer.storage) | fromJson -}}
{{- $_ := set $all.log "file" "/var/log/dragonfly/daemon/core.log" -}}
{{- $_ := set $all "keys" (dict "grants" "/etc/darner/keys/grants" "grantsPublic" "/etc/darner/keys/grants-public") -}}
{{- $daemon := include "darner.daemon" . | fromJson -}}
{{- /* The seed vocabulary promises the well-known forges without listing them. */}}
{{- if get ($daemon.config | default dict) "proxy" }}{{ $_ := set $all "forges" true }}{{ end -}}
{{- toYaml (mergeOverwrite $all (deepCopy $config)) -}}
{{- end -}}

{{- define "darner.config.dfdaemon" -}}
{{- $daemon := include "darner.daemon" . | fromJson -}}
{{- $config := $daemon.config | default dict -}}
{{- include "darner.refuse" (list "dfdaemon" $config (dict
  "git.listen" "set `dfdaemon.port`"
  "git.allowPlaintext" "set `dfdaemon.git.allowPlaintext`"
  "git.tls" "set `dfdaemon.git.tls`"
  "grpc.socket" "is /run/darner/daemon.sock"
  "seedPeers" "is made of `seedPeer.replicas`"
  "fallback" "set `fallback`"
  "public" "set `public`"
  "proxy.tcpListen.namespace" "a network namespace cannot be chosen in a pod; leave it empty")) -}}
{{- $all := include "darner.config.reading" (list . "dfdaemon" $config $daemon.storage) | fromJson -}}
{{- $git := dict "listen" (printf "0.0.0.0:%s" (include "darner.gitPort" .)) "allowPlaintext" $daemon.git.allowPlaintext -}}
{{- if include "darner.gitTls" . -}}
{{- $_ := set $git "tls" (dict "cert" "/etc/darner/git-tls/tls.crt" "key" "/etc/darner/git-tls/tls.key") -}}
{{- end -}}
{{- $_ := set $all "git" $git -}}
{{- $_ := set $all.grpc "socket" "/run/darner/daemon.sock" -}}
{{- $_ := set $all "seedPeers" (include "darner.replicas" (list . "seed-peer" (include "darner.seeds" .) 65000) | fromJsonArray) -}}
{{- $_ := set $all "keys" (dict "tickets" "/etc/darner/keys/tickets" "grantsPublic" "/etc/darner/keys/grants-public") -}}
{{- $_ := set $all "fallback" .Values.fallback -}}
{{- $_ := set $all "public" .Values.public -}}
{{- toYaml (mergeOverwrite $all (deepCopy $config)) -}}
{{- end -}}

{{/* The Secret of the git port's certificate, given or made by cert-manager. */}}
{{- define "darner.gitTls" -}}
{{- $daemon := include "darner.daemon" . | fromJson -}}
{{- $tls := $daemon.git.tls -}}
{{- if $tls.existingSecret }}{{ $tls.existingSecret }}{{ else if $tls.certManager.issuer }}{{ include "darner.name" (list . "git-tls") }}{{ end -}}
{{- end -}}

{{/* Where the roots of `upstreamCa` are, as the source of a volume; empty without any. */}}
{{- define "darner.upstreamCa.source" -}}
{{- $ca := .Values.upstreamCa -}}
{{- if kindIs "map" $ca -}}
{{- $items := list (dict "key" ($ca.key | default "ca.crt") "path" "ca.crt") -}}
{{- if and $ca.existingSecret $ca.existingConfigMap }}{{ fail "`upstreamCa`: give `existingSecret` or `existingConfigMap`, not both" }}{{ end -}}
{{- if $ca.existingSecret }}{{ toYaml (dict "secret" (dict "secretName" $ca.existingSecret "items" $items)) }}
{{- else if $ca.existingConfigMap }}{{ toYaml (dict "configMap" (dict "name" $ca.existingConfigMap "items" $items)) }}{{ end -}}
{{- else if $ca -}}
{{- if not (contains "-----BEGIN CERTIFICATE-----" $ca) }}{{ fail "`upstreamCa`: not a PEM certificate; give its text (helm's --set-file upstreamCa=ca.pem), or `{existingSecret: NAME, key: ca.crt}`" }}{{ end -}}
{{- toYaml (dict "configMap" (dict "name" (include "darner.name" (list . "upstream-ca")))) -}}
{{- end -}}
{{- end -}}
