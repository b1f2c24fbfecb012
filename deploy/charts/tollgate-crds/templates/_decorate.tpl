{{/*
A definition with labels and annotations. Only its metadata is read and written again: numbers of a
schema would come back as floating point.
*/}}
{{- define "tollgate-crds.decorate" -}}
{{- $block := regexFind "(?m)^metadata:.*\n(?:[ #].*\n|\n)*" .text -}}
{{- $metadata := get ($block | fromYaml) "metadata" -}}
{{- $labels := include "tollgate-crds.labels" .root | fromYaml -}}
{{- $annotations := deepCopy .root.Values.annotations -}}
{{- if .root.Values.keep -}}{{- $_ := set $annotations "helm.sh/resource-policy" "keep" -}}{{- end -}}
{{- $_ := set $metadata "labels" (merge $labels ($metadata.labels | default dict)) -}}
{{- with (merge $annotations ($metadata.annotations | default dict)) -}}
{{- $_ := set $metadata "annotations" . -}}
{{- end -}}
{{- .text | trimPrefix "---\n" | replace $block (printf "%s\n" (toYaml (dict "metadata" $metadata))) | trim }}
{{- end -}}

{{- define "tollgate-crds.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: tollgate
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}
