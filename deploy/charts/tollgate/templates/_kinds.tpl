{{/* The kinds of getambassador.io that gateway-ctl reads: the one place where they are listed. */}}
{{- define "tollgate.kinds" -}}
- authservices
- consulresolvers
- devportals
- filterpolicies
- filters
- hosts
- kubernetesendpointresolvers
- kubernetesserviceresolvers
- listeners
- logservices
- mappings
- modules
- ratelimits
- ratelimitservices
- tcpmappings
- tlscontexts
- tracingservices
{{- end -}}

{{- define "tollgate.kinds.status" -}}
{{- range $index, $kind := (include "tollgate.kinds" . | fromYamlArray) }}
{{- if $index }}{{ "\n" }}{{ end -}}
- {{ $kind }}/status
{{- end }}
{{- end -}}
