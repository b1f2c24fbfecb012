{{/*
Where counters or sessions are, as variables of envoyproxy/ratelimit:
(dict "root" $ "redis" (the values) "name" "ratelimit").
*/}}
{{- define "tollgate.redisEnv" -}}
{{- $redis := .redis -}}
{{- if .root.Values.redis.enabled }}
- name: REDIS_URL
  value: redis://{{ include "tollgate.fullname" .root }}-redis.{{ include "tollgate.namespace" .root }}.svc:6379
{{- else if $redis.url }}
- name: REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ include "tollgate.fullname" .root }}-{{ .name }}-redis, key: redis-url}}
{{- else if and $redis.existingSecret.name $redis.existingSecret.urlKey }}
- name: REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ $redis.existingSecret.name }}, key: {{ $redis.existingSecret.urlKey }}}}
{{- end }}
{{- if and $redis.existingSecret.name $redis.existingSecret.authKey }}
- name: REDIS_AUTH
  valueFrom: {secretKeyRef: {name: {{ $redis.existingSecret.name }}, key: {{ $redis.existingSecret.authKey }}}}
{{- end }}
{{- if ne $redis.type "SINGLE" }}
- name: REDIS_TYPE
  value: {{ $redis.type }}
{{- end }}
{{- if $redis.tls.enabled }}
- name: REDIS_TLS
  value: "true"
{{- if $redis.tls.secretName }}
- name: REDIS_TLS_CACERT
  value: /etc/tollgate/redis-tls/ca.crt
{{- if $redis.tls.clientCertificate }}
- name: REDIS_TLS_CLIENT_CERT
  value: /etc/tollgate/redis-tls/tls.crt
- name: REDIS_TLS_CLIENT_KEY
  value: /etc/tollgate/redis-tls/tls.key
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* "authz" when sessions have a Redis of their own, else "ratelimit": whose values say where it is. */}}
{{- define "tollgate.sessionRedis" -}}
{{- if or .Values.authz.redis.url .Values.authz.redis.existingSecret.name -}}
authz
{{- else -}}
ratelimit
{{- end -}}
{{- end -}}
