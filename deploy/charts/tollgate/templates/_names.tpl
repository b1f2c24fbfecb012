{{/* Names and labels. */}}

{{- define "tollgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "tollgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "tollgate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "tollgate.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tollgate.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* Name of what is not in a namespace. */}}
{{- define "tollgate.clusterName" -}}
{{- printf "%s-%s" (include "tollgate.namespace" .) (include "tollgate.fullname" .) -}}
{{- end -}}

{{- define "tollgate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "tollgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: tollgate
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Of one component; the argument is (dict "root" $ "name" "authz" "key" "authz").
`name` is in names of objects, `key` in values.
*/}}
{{- define "tollgate.component.fullname" -}}
{{- printf "%s-%s" (include "tollgate.fullname" .root) .name -}}
{{- end -}}

{{- define "tollgate.component.labels" -}}
{{ include "tollgate.labels" .root }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "tollgate.component.selector" -}}
app.kubernetes.io/name: {{ include "tollgate.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{/* name, namespace and labels of an object that is named after its component. */}}
{{- define "tollgate.component.metadata" -}}
name: {{ include "tollgate.component.fullname" . }}
namespace: {{ include "tollgate.namespace" .root }}
labels: {{- include "tollgate.component.labels" . | nindent 2 }}
{{- end -}}

{{- define "tollgate.component.serviceAccountName" -}}
{{- $account := (index .root.Values .key).serviceAccount -}}
{{- if $account.create -}}
{{- default (include "tollgate.component.fullname" .) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}

{{/* The components that are installed: {"items": [{"name": …, "key": …}]}. */}}
{{- define "tollgate.components" -}}
items:
{{- if .Values.gateway.enabled }}
- {name: gateway, key: gateway, port: 8002}
{{- end }}
- {name: gateway-ctl, key: gatewayCtl, port: 8877}
{{- if .Values.ratelimit.enabled }}
- {name: ratelimit, key: ratelimit, port: 6070}
{{- end }}
{{- if .Values.authz.enabled }}
- {name: authz, key: authz, port: 6071}
{{- end }}
{{- if .Values.redis.enabled }}
- {name: redis, key: redis}
{{- end }}
{{- end -}}

{{/* DNS names of a Service, separated by commas. */}}
{{- define "tollgate.component.dnsNames" -}}
{{- $name := include "tollgate.component.fullname" . -}}
{{- $namespace := include "tollgate.namespace" .root -}}
{{- printf "%s.%s.svc,%s.%s.svc.%s,%s.%s,%s" $name $namespace $name $namespace .root.Values.clusterDomain $name $namespace $name -}}
{{- end -}}

{{/* Where gateway-ctl streams from. */}}
{{- define "tollgate.xds" -}}
{{- printf "%s-gateway-ctl.%s.svc:18000" (include "tollgate.fullname" .) (include "tollgate.namespace" .) -}}
{{- end -}}

{{/* How Envoy names a service of ours: (dict "root" $ "name" "authz" "port" 9001). */}}
{{- define "tollgate.serviceURL" -}}
{{- $scheme := ternary "" "https://" (eq .root.Values.tls.mode "off") -}}
{{- printf "%s%s.%s:%v" $scheme (include "tollgate.component.fullname" .) (include "tollgate.namespace" .root) .port -}}
{{- end -}}

{{- define "tollgate.hasRedis" -}}
{{- if or .Values.redis.enabled .Values.ratelimit.redis.url (and .Values.ratelimit.redis.existingSecret.name .Values.ratelimit.redis.existingSecret.urlKey) -}}
true
{{- end -}}
{{- end -}}
