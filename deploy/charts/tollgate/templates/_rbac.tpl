{{/* What gateway-ctl may do where it watches. */}}
{{- define "tollgate.rules.resources" }}
- apiGroups: [getambassador.io]
  resources:
  {{- include "tollgate.kinds" . | nindent 2 }}
  verbs: [get, list, watch]
- apiGroups: [getambassador.io]
  resources:
  {{- include "tollgate.kinds.status" . | trim | nindent 2 }}
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* Secrets: all of where the role holds, or `names`. */}}
{{- define "tollgate.rules.secrets" }}
- apiGroups: [""]
  resources: [secrets]
  {{- with .names }}
  resourceNames:
  {{- toYaml . | nindent 2 }}
  {{- end }}
  verbs: [get, list, watch]
{{- end }}
