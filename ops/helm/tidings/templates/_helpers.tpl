{{/* Names, labels and the sums that several templates need. */}}

{{/* A Service's name begins with a letter; a release's may begin with a digit. It is the job of the rules, which look
for "tidings" in it, so that must not be cut off. */}}
{{- define "tidings.name" -}}
{{- $release := .Release.Name | trunc 42 | trimSuffix "-" }}
{{- $name := contains "tidings" $release | ternary $release (printf "%s-tidings" $release) }}
{{- regexMatch "^[0-9]" $name | ternary (printf "tidings-%s" $release) $name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "tidings.selector" -}}
app.kubernetes.io/name: tidings
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: node
{{- end }}

{{- define "tidings.labels" -}}
{{ include "tidings.selector" . }}
{{- /* A tag may be followed by a digest, which is no text for a label. */}}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | splitList "@" | first | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Labels or annotations: those of the first map before those of the second, and so on. Each once, since a name that
stands twice in YAML is refused by some tools, and taken from either place by others. */}}
{{- define "tidings.firstOf" -}}
{{- $all := dict }}
{{- range $map := . }}
  {{- range $name, $value := $map }}{{ if not (hasKey $all $name) }}{{ $_ := set $all $name $value }}{{ end }}{{ end }}
{{- end }}
{{- toYaml $all }}
{{- end }}

{{- define "tidings.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What every pod of the chart needs to get its image and a machine. */}}
{{- define "tidings.pod" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Seconds over which a node ends its streams; 10 is the node's own default. */}}
{{- define "tidings.drainSeconds" -}}
{{ (hasKey .Values.settings "DRAIN_SECONDS") | ternary .Values.settings.DRAIN_SECONDS 10 }}
{{- end }}

{{/* From the decision to end a pod to the end of its last stream. */}}
{{- define "tidings.leavingSeconds" -}}
{{ add .Values.preStopSeconds (include "tidings.drainSeconds" .) }}
{{- end }}

{{/* The selector and the labels of the stub. */}}
{{- define "tidings.stubSelector" -}}
app.kubernetes.io/name: tidings
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: stub
{{- end }}

{{/* Not empty if REDIS_URL stands in the values and names Sentinels. */}}
{{- define "tidings.hasSentinels" -}}
{{ regexFind "^rediss?[+]sentinel:" (.Values.settings.REDIS_URL | default "") }}
{{- end }}

{{/* The ports of the Redis that REDIS_URL names, where it stands in the values; those of the scheme if it names none. */}}
{{- define "tidings.redisPorts" -}}
{{- $url := .Values.settings.REDIS_URL | default "" }}
{{- $hosts := regexReplaceAll "[/?].*$" (regexReplaceAll "^[a-z+]+://([^/?]*@)?" $url "") "" }}
{{- range $host := splitList "," $hosts }}
{{- if $host }}{{ regexFind "[0-9]+$" (regexFind ":[0-9]+$" $host) | default (include "tidings.hasSentinels" $ | empty | ternary "6379" "26379") }} {{ end }}
{{- end }}
{{- end }}

{{/* The port of the key server; 443 where only a secret knows it. */}}
{{- define "tidings.keysPort" -}}
{{- $url := urlParse (.Values.settings.JWKS_URL | default "https://") }}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (eq $url.scheme "http" | ternary "80" "443") }}
{{- end }}

{{/* What cannot be said in values.schema.json, in sentences. */}}
{{- define "tidings.check" -}}
{{- $keys := 0 }}
{{- range $name := list "JWT_SECRET" "JWT_PUBLIC_KEY" "JWKS_URL" }}
  {{- if or (hasKey $.Values.settings $name) (hasKey $.Values.secrets $name) }}{{ $keys = add1 $keys }}{{ end }}
{{- end }}
{{- if ne (int $keys) 1 }}
  {{- fail (printf "exactly one of secrets.JWT_SECRET, secrets.JWT_PUBLIC_KEY and settings.JWKS_URL must be set, not %d" (int $keys)) }}
{{- end }}
{{- range $name, $_ := .Values.secrets }}
  {{- if hasKey $.Values.settings $name }}{{ fail (printf "%s stands under settings and under secrets; keep one" $name) }}{{ end }}
{{- end }}
{{- if not (or (hasKey .Values.settings "REDIS_URL") (hasKey .Values.secrets "REDIS_URL")) }}
  {{- fail "REDIS_URL is needed, under secrets or settings: several nodes without Redis are several services" }}
{{- end }}
{{- if .Values.networkPolicy.enabled }}
  {{- /* In a NetworkPolicy no ports are all ports, and without "to" all of them everywhere. */}}
  {{- if not .Values.networkPolicy.redis.ports }}
    {{- fail "networkPolicy.redis.ports must have the port of Redis: without one a node could reach everything" }}
  {{- end }}
  {{- $allowed := list }}
  {{- range .Values.networkPolicy.redis.ports }}{{ $allowed = append $allowed (printf "%d" (int .)) }}{{ end }}
  {{- $named := splitList " " (include "tidings.redisPorts" . | trim) }}
  {{- $hasSentinels := include "tidings.hasSentinels" . }}
  {{- $both := $hasSentinels | empty | not | ternary ". It must have the Sentinels' ports and the masters', for example [26379, 6379]" "" }}
  {{- range $port := $named }}
    {{- if and $port (not (has $port $allowed)) }}
      {{- fail (printf "REDIS_URL leads to port %s, which networkPolicy.redis.ports does not have: no node could reach Redis%s" $port $both) }}
    {{- end }}
  {{- end }}
  {{- $others := list }}
  {{- range $port := $allowed }}{{ if not (has $port $named) }}{{ $others = append $others $port }}{{ end }}{{ end }}
  {{- if and $hasSentinels (not $others) }}
    {{- fail (printf "networkPolicy.redis.ports has only the Sentinels' ports: no node could reach a master%s" $both) }}
  {{- end }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
  {{- fail (printf "autoscaling.minReplicas (%d) must not be above autoscaling.maxReplicas (%d)" (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- end }}
{{- if and .Values.gateway.enabled (not .Values.gateway.create.enabled) (not .Values.gateway.parentRefs) }}
  {{- fail "gateway.parentRefs must name the gateway to join, or gateway.create.enabled make one, or gateway.enabled be false" }}
{{- end }}
{{- if and .Values.gateway.create.enabled (not .Values.gateway.create.className) }}
  {{- fail "gateway.create.className must name a GatewayClass of your cluster (kubectl get gatewayclass)" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
  {{- fail "ingress.hosts must name at least one host" }}
{{- end }}
{{- end }}
