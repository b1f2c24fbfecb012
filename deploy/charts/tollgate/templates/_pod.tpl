{{/* What pods have in common. The argument is a component: (dict "root" $ "name" "authz" "key" "authz"). */}}

{{- define "tollgate.image" -}}
{{- $registry := .root.Values.global.imageRegistry -}}
{{- $image := .image -}}
{{- $name := $image.repository -}}
{{- if and $registry (not .foreign) -}}{{- $name = printf "%s/%s" (trimSuffix "/" $registry) $name -}}{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "tollgate.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ kindIs "string" . | ternary . (get (kindIs "map" . | ternary . dict) "name") }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tollgate.podSecurityContext" -}}
{{- $restricted := dict "runAsNonRoot" true "runAsUser" 65532 "runAsGroup" 65532 "fsGroup" 65532 "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- toYaml (mergeOverwrite $restricted (deepCopy (. | default dict))) -}}
{{- end -}}

{{- define "tollgate.containerSecurityContext" -}}
{{- $restricted := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "runAsNonRoot" true "capabilities" (dict "drop" (list "ALL")) "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- toYaml (mergeOverwrite $restricted (deepCopy (. | default dict))) -}}
{{- end -}}

{{/* metadata of a pod; `checksums` is a dict of more annotations. */}}
{{- define "tollgate.podMetadata" -}}
{{- $values := index .root.Values .key -}}
{{- $annotations := merge (deepCopy $values.podAnnotations) (.checksums | default dict) -}}
labels: {{- include "tollgate.component.labels" . | nindent 2 }}
{{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where a pod runs, and as who. */}}
{{- define "tollgate.podBase" -}}
{{- $values := index .root.Values .key -}}
{{- include "tollgate.pullSecrets" .root }}
serviceAccountName: {{ include "tollgate.component.serviceAccountName" . }}
automountServiceAccountToken: {{ eq .name "gateway-ctl" }}
enableServiceLinks: false
securityContext: {{- include "tollgate.podSecurityContext" $values.podSecurityContext | nindent 2 }}
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if $values.topologySpreadConstraints }}
{{- toYaml $values.topologySpreadConstraints | nindent 0 }}
{{- else }}
{{- range (list "topology.kubernetes.io/zone" "kubernetes.io/hostname") }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "tollgate.component.selector" $ | nindent 6 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* startup, readiness and liveness by HTTP: (dict … "port" "admin" "ready" "/readyz" "live" "/healthz"). */}}
{{- define "tollgate.probes" -}}
{{- $values := index .root.Values .key -}}
{{- $startup := dict "httpGet" (dict "path" (.startup | default .live) "port" .port) "periodSeconds" 1 "timeoutSeconds" 2 "failureThreshold" 60 -}}
{{- $ready := dict "httpGet" (dict "path" .ready "port" .port) "periodSeconds" 5 "timeoutSeconds" 2 "failureThreshold" 2 -}}
{{- $live := dict "httpGet" (dict "path" .live "port" .port) "periodSeconds" 10 "timeoutSeconds" 5 "failureThreshold" (.liveFailures | default 3) -}}
startupProbe: {{- toYaml (mergeOverwrite $startup (deepCopy $values.startupProbe)) | nindent 2 }}
readinessProbe: {{- toYaml (mergeOverwrite $ready (deepCopy $values.readinessProbe)) | nindent 2 }}
livenessProbe: {{- toYaml (mergeOverwrite $live (deepCopy $values.livenessProbe)) | nindent 2 }}
{{- end -}}

{{/* Endpoints forget a pod a little later than it is told to end. */}}
{{- define "tollgate.preStopSleep" -}}
lifecycle:
  preStop:
    sleep: {seconds: 5}
{{- end -}}

{{- define "tollgate.volumes" -}}
{{- $values := index .root.Values .key -}}
{{- if ne .root.Values.tls.mode "off" }}
- name: tls
  secret:
    secretName: {{ include "tollgate.tlsSecret" . }}
    defaultMode: 0440
{{- end }}
{{- with $values.extraVolumes }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}

{{- define "tollgate.volumeMounts" -}}
{{- $values := index .root.Values .key -}}
{{- if ne .root.Values.tls.mode "off" }}
- name: tls
  mountPath: /etc/tollgate/tls
  readOnly: true
{{- end }}
{{- with $values.extraVolumeMounts }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}

{{- define "tollgate.tlsArgs" -}}
{{- if ne .Values.tls.mode "off" }}
- --tls-dir
- /etc/tollgate/tls
{{- end }}
{{- end -}}

{{- define "tollgate.replicas" -}}
{{- $values := index .root.Values .key -}}
{{- if not (($values.autoscaling | default dict).enabled) }}
replicas: {{ $values.replicas }}
{{- end }}
{{- end -}}

{{/* Whether more than one pod is wanted. */}}
{{- define "tollgate.manyPods" -}}
{{- $values := index .root.Values .key -}}
{{- $autoscaling := $values.autoscaling | default dict -}}
{{- if eq .name "redis" -}}
{{- else if and (eq .name "gateway") (eq $values.kind "DaemonSet") -}}true
{{- else if $autoscaling.enabled -}}{{- if gt (int $autoscaling.minReplicas) 1 -}}true{{- end -}}
{{- else if gt (int $values.replicas) 1 -}}true
{{- end -}}
{{- end -}}
