{{/* Resources of getambassador.io that the chart makes. */}}

{{/* The selector of gateway-ctl must find them: `a=b,c in (d)` gives the label a. */}}
{{- define "tollgate.resource.labels" -}}
{{ include "tollgate.labels" . }}
{{- range (splitList "," .Values.labelSelector) }}
{{- if regexMatch "^ *[^!=() ]+ *==? *[^!=() ]+ *$" . }}
{{- $parts := regexSplit " *==? *" (trim .) 2 }}
{{ first $parts }}: {{ last $parts | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tollgate.resource.metadata" -}}
name: {{ include "tollgate.fullname" .root }}-{{ .name }}
namespace: {{ include "tollgate.namespace" .root }}
labels: {{- include "tollgate.resource.labels" .root | nindent 2 }}
{{- end -}}

{{- define "tollgate.resource.id" -}}
{{- if ne .Values.ambassadorId "default" -}}
ambassador_id: [{{ .Values.ambassadorId | quote }}]
{{- end -}}
{{- end -}}

{{/* (dict "root" $ "id" ID "tls" CONTEXT) */}}
{{- define "tollgate.authService" -}}
{{- if .root.Values.authz.enabled }}
---
apiVersion: getambassador.io/v3alpha1
kind: AuthService
metadata:
  {{- include "tollgate.resource.metadata" (dict "root" .root "name" "authz") | nindent 2 }}
spec:
  {{- if ne .id "default" }}
  ambassador_id: [{{ .id | quote }}]
  {{- end }}
  auth_service: {{ include "tollgate.serviceURL" (dict "root" .root "name" "authz" "port" 9001) | quote }}
  {{- with .tls }}
  tls: {{ . }}
  {{- end }}
  proto: grpc
  protocol_version: v3
  timeout_ms: {{ .root.Values.authz.timeoutMs }}
  status_on_error: {code: 503}
{{- end }}
{{- end -}}

{{- define "tollgate.rateLimitService" -}}
{{- if .root.Values.ratelimit.enabled }}
---
apiVersion: getambassador.io/v3alpha1
kind: RateLimitService
metadata:
  {{- include "tollgate.resource.metadata" (dict "root" .root "name" "ratelimit") | nindent 2 }}
spec:
  {{- if ne .id "default" }}
  ambassador_id: [{{ .id | quote }}]
  {{- end }}
  service: {{ include "tollgate.serviceURL" (dict "root" .root "name" "ratelimit" "port" 8081) | quote }}
  {{- with .tls }}
  tls: {{ . }}
  {{- end }}
  domain: {{ .root.Values.ratelimit.domain | quote }}
  protocol_version: v3
  timeout_ms: {{ .root.Values.ratelimit.timeoutMs }}
  failure_mode_deny: {{ .root.Values.ratelimit.failureModeDeny }}
{{- end }}
{{- end -}}

{{/* What an Emissary that is there needs to ask our services: (dict "root" $). */}}
{{- define "tollgate.bundleResources" -}}
{{- $values := .root.Values -}}
{{- $tls := "" -}}
{{- if and (ne $values.tls.mode "off") $values.bundle.clientCertificate -}}
{{- $tls = printf "%s-services" (include "tollgate.fullname" .root) }}
---
apiVersion: getambassador.io/v3alpha1
kind: TLSContext
metadata:
  {{- include "tollgate.resource.metadata" (dict "root" .root "name" "services") | nindent 2 }}
spec:
  {{- if ne $values.bundle.ambassadorId "default" }}
  ambassador_id: [{{ $values.bundle.ambassadorId | quote }}]
  {{- end }}
  secret: {{ include "tollgate.tlsSecret" (dict "root" .root "name" "gateway" "key" "gateway") }}
  alpn_protocols: h2
  {{- if eq $values.tls.mode "gateway-ctl" }}
  ca_secret: {{ include "tollgate.caSecret" .root }}
  {{- end }}
{{- end }}
{{- include "tollgate.authService" (dict "root" .root "id" $values.bundle.ambassadorId "tls" $tls) }}
{{- include "tollgate.rateLimitService" (dict "root" .root "id" $values.bundle.ambassadorId "tls" $tls) }}
{{- end -}}
