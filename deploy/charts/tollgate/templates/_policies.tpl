{{/* Rules of NetworkPolicies. */}}

{{/* Nobody when `from` is empty. */}}
{{- define "tollgate.policy.from" -}}
{{- if .from -}}
- ports:
  - {port: {{ .port }}, protocol: TCP}
  from: {{- toYaml .from | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* Anywhere when `to` is empty. */}}
{{- define "tollgate.policy.to" -}}
- ports:
  {{- range .ports }}
  - {port: {{ . }}, protocol: TCP}
  {{- end }}
  {{- with .to }}
  to: {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "tollgate.policy.dns" -}}
- ports:
  - {port: 53, protocol: UDP}
  - {port: 53, protocol: TCP}
  {{- with .Values.networkPolicy.dns }}
  to: {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
