{{/* Where counters are, as variables of envoyproxy/ratelimit. */}}
{{- define "tollgate.redisEnv" -}}
{{- $redis := .Values.ratelimit.redis -}}
{{- if .Values.redis.enabled }}
- name: REDIS_URL
  value: redis://{{ include "tollgate.fullname" . }}-redis.{{ include "tollgate.namespace" . }}.svc:6379
{{- else if $redis.url }}
- name: REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ include "tollgate.fullname" . }}-ratelimit-redis, key: redis-url}}
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
