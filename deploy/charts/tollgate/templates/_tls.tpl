{{/* Certificates between the parts. */}}

{{/* Components that have a certificate. The gateway's is there without the gateway, too: the Envoy that is there shows it. */}}
{{- define "tollgate.tlsComponents" -}}
items:
{{- if or .Values.gateway.enabled .Values.bundle.clientCertificate }}
- {name: gateway, key: gateway}
{{- end }}
- {name: gateway-ctl, key: gatewayCtl}
{{- if .Values.ratelimit.enabled }}
- {name: ratelimit, key: ratelimit}
{{- end }}
{{- if .Values.authz.enabled }}
- {name: authz, key: authz}
{{- end }}
{{- end -}}

{{- define "tollgate.tlsSecret" -}}
{{- $default := printf "%s-tls" (include "tollgate.component.fullname" .) -}}
{{- if eq .root.Values.tls.mode "existing" -}}
{{- default $default (get .root.Values.tls.existingSecrets .name) -}}
{{- else -}}
{{- $default -}}
{{- end -}}
{{- end -}}

{{- define "tollgate.caSecret" -}}
{{- printf "%s-ca" (include "tollgate.fullname" .) -}}
{{- end -}}

{{/* SECRET=dns,dns of each component, as a list of arguments after `flag`. */}}
{{- define "tollgate.certificateArgs" -}}
{{- $root := .root -}}
{{- $flag := .flag -}}
{{- range (include "tollgate.tlsComponents" $root | fromYaml).items }}
{{- $component := dict "root" $root "name" .name "key" .key }}
- {{ $flag }}
- {{ printf "%s=%s" (include "tollgate.tlsSecret" $component) (include "tollgate.component.dnsNames" $component) }}
{{- end }}
{{- end -}}

{{/* Names of all Secrets that gateway-ctl keeps. */}}
{{- define "tollgate.certificateSecrets" -}}
- {{ include "tollgate.caSecret" . }}
{{- range (include "tollgate.tlsComponents" . | fromYaml).items }}
- {{ include "tollgate.tlsSecret" (dict "root" $ "name" .name "key" .key) }}
{{- end }}
{{- end -}}
