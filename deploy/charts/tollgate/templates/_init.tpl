{{/*
Every template begins with this: takes over values of Emissary's chart, once, and refuses what cannot
be meant.
*/}}
{{- define "tollgate.init" -}}
{{- if not (hasKey .Values "initialized") -}}
{{- /* `off` without quotes is false in YAML. */ -}}
{{- if kindIs "bool" .Values.tls.mode -}}{{- $_ := set .Values.tls "mode" "off" -}}{{- end -}}
{{- include "tollgate.aliases" . -}}
{{- include "tollgate.validate" . -}}
{{- $_ := set .Values "initialized" true -}}
{{- end -}}
{{- end -}}

{{/* (dict "from" "service" "given" {…} "to" .Values.gateway.service "keys" (list …) "place" "gateway.service") */}}
{{- define "tollgate.takeOver" -}}
{{- range $key, $value := .given -}}
{{- if has $key $.keys -}}
{{- if not (kindIs "invalid" $value) -}}{{- $_ := set $.to $key $value -}}{{- end -}}
{{- else -}}
{{- fail (printf "\n\n%s.%s of Emissary's chart has no counterpart here; leave it out. Its neighbours are under %s.\n" $.from $key $.place) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tollgate.aliases" -}}
{{- $values := .Values -}}
{{- $gateway := $values.gateway -}}
{{- $ctl := $values.gatewayCtl -}}

{{- if not (kindIs "invalid" $values.replicaCount) -}}{{- $_ := set $gateway "replicas" $values.replicaCount -}}{{- end -}}
{{- if $values.daemonSet -}}{{- $_ := set $gateway "kind" "DaemonSet" -}}{{- end -}}
{{- $renamed := dict "resources" "resources" "nodeSelector" "nodeSelector" "tolerations" "tolerations" "affinity" "affinity" "topologySpreadConstraints" "topologySpreadConstraints" "priorityClassName" "priorityClassName" "podAnnotations" "podAnnotations" "podLabels" "podLabels" "volumes" "extraVolumes" "volumeMounts" "extraVolumeMounts" "sidecarContainers" "extraContainers" "initContainers" "extraInitContainers" "terminationGracePeriodSeconds" "terminationGracePeriodSeconds" "deploymentStrategy" "updateStrategy" "module" "module" -}}
{{- range $old, $new := $renamed -}}
{{- with (get $values $old) -}}{{- $_ := set $gateway $new . -}}{{- end -}}
{{- end -}}
{{- include "tollgate.takeOver" (dict "from" "service" "given" $values.service "to" $gateway.service "place" "gateway.service" "keys" (list "type" "ports" "annotations" "loadBalancerIP" "loadBalancerSourceRanges" "externalTrafficPolicy" "externalIPs")) -}}
{{- include "tollgate.takeOver" (dict "from" "adminService" "given" $values.adminService "to" $ctl.adminService "place" "gatewayCtl.adminService" "keys" (list "create" "type" "port" "annotations")) -}}
{{- include "tollgate.takeOver" (dict "from" "autoscaling" "given" $values.autoscaling "to" $gateway.autoscaling "place" "gateway.autoscaling" "keys" (list "enabled" "minReplicas" "maxReplicas" "metrics" "behavior")) -}}
{{- include "tollgate.takeOver" (dict "from" "podDisruptionBudget" "given" $values.podDisruptionBudget "to" $gateway.podDisruptionBudget "place" "gateway.podDisruptionBudget" "keys" (list "minAvailable" "maxUnavailable")) -}}
{{- include "tollgate.takeOver" (dict "from" "serviceAccount" "given" $values.serviceAccount "to" $ctl.serviceAccount "place" "gatewayCtl.serviceAccount" "keys" (list "create" "name")) -}}
{{- if $values.createDefaultListeners -}}
{{- $_ := set $gateway "createListeners" true -}}
{{- $_ := set $gateway "createHttpsListener" true -}}
{{- else if kindIs "bool" $values.createDefaultListeners -}}
{{- $_ := set $gateway "createListeners" false -}}
{{- $_ := set $gateway "createHttpsListener" false -}}
{{- end -}}
{{- with $values.imagePullSecrets -}}{{- $_ := set $values.global "imagePullSecrets" . -}}{{- end -}}
{{- if ($values.scope | default dict).singleNamespace -}}
{{- $_ := set $values "watchNamespaces" (list (include "tollgate.namespace" .)) -}}
{{- end -}}

{{- $environment := list -}}
{{- range $name, $value := $values.env -}}{{- $environment = append $environment (dict "name" $name "value" (toString $value)) -}}{{- end -}}
{{- $environment = concat $environment ($values.envRaw | default list) -}}
{{- range $environment -}}
{{- if eq .name "AMBASSADOR_ID" -}}{{- $_ := set $values "ambassadorId" .value -}}
{{- else if eq .name "AMBASSADOR_LABEL_SELECTOR" -}}{{- $_ := set $values "labelSelector" .value -}}
{{- else if eq .name "AMBASSADOR_SINGLE_NAMESPACE" -}}
{{- if has (lower (toString .value)) (list "true" "yes" "1") -}}{{- $_ := set $values "watchNamespaces" (list (include "tollgate.namespace" $)) -}}{{- end -}}
{{- else if regexMatch "^(STATSD_(ENABLED|HOST|PORT|FLUSH_INTERVAL)|DOGSTATSD)$" .name -}}
{{- $_ := set $gateway "extraEnv" (append $gateway.extraEnv .) -}}
{{- else if regexMatch "^(AMBASSADOR|AES|STATSD|DD|AGENT|SCOUT|KUBE)_" .name -}}
{{- fail (printf "\n\nenv: nothing here reads %s; leave it out. What Envoy does is in the Module (gateway.module); other variables go to gatewayCtl.extraEnv, ratelimit.extraEnv and authz.extraEnv.\n" .name) -}}
{{- else -}}{{- $_ := set $ctl "extraEnv" (append $ctl.extraEnv .) -}}
{{- end -}}
{{- end -}}

{{- $gone := include "tollgate.refused" . | fromYaml -}}
{{- range $name, $words := $gone -}}
{{- $given := get $values $name -}}
{{- $nothing := or (not $given) (and (kindIs "map" $given) (or (eq (toString $given.enabled) "false") (eq (toString $given.create) "false"))) -}}
{{- if not $nothing -}}{{- fail (printf "\n\n%s is a value of Emissary's chart. %s\n" $name $words) -}}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tollgate.refused" -}}
image: "It names Emissary's image; set gateway.image and gatewayCtl.image, or global.imageRegistry for all."
test: "Set tests.enabled and tests.url."
agent: "There is no agent; leave it out."
ambassadorConfig: "There is no configuration by annotation or ConfigMap; apply resources of getambassador.io."
authService: "Set authz; the AuthService is made by gateway.createServices."
rateLimit: "Set ratelimit; the RateLimitService is made by gateway.createServices."
canary: "Install a second release with an ambassadorId of its own."
containerNameOverride: "Containers are named after their component; leave it out."
crds: "CRDs are in the chart tollgate-crds; install it first."
createNamespace: "Use helm install --create-namespace."
namespace: "Set namespaceOverride, or install into the namespace."
deploymentAnnotations: "Use gateway.podAnnotations."
deploymentLabels: "Use commonLabels or gateway.podLabels."
deploymentTool: "Leave it out."
dnsPolicy: "Pods keep the default; leave it out."
hostAliases: "Leave it out; give names by DNS."
hostNetwork: "Pods never use the host's network; use gateway.service, or hostPort in gateway.service.ports."
ingressClassResources: "Ingress is not read; write Mappings."
lifecycle: "The gateway drains by itself; set gateway.drain."
livenessProbe: "Set gateway.livenessProbe; only its timing can be changed."
readinessProbe: "Set gateway.readinessProbe; only its timing can be changed."
startupProbe: "Set gateway.startupProbe; only its timing can be changed."
minReadySeconds: "Leave it out; readiness is Envoy's own."
progressDeadlineSeconds: "Leave it out."
prometheusExporter: "Envoy's port 8002 has /stats/prometheus; set metrics.serviceMonitor."
resolvers: "Apply the resolvers yourself."
restartPolicy: "Leave it out."
security: "Pods are restricted already; set gateway.podSecurityContext and gateway.containerSecurityContext."
securityContext: "Pods are restricted already; set gateway.podSecurityContext."
podSecurityContext: "Pods are restricted already; set gateway.podSecurityContext."
waitForApiext: "There is no apiext; leave it out."
{{- end -}}

{{- define "tollgate.validate" -}}
{{- $values := .Values -}}
{{- if not (or $values.gateway.enabled $values.ratelimit.enabled $values.authz.enabled) -}}
{{- fail "\n\nNothing to install: gateway.enabled, ratelimit.enabled and authz.enabled are all false; turn one on.\n" -}}
{{- end -}}
{{- if and $values.watchNamespaces (eq $values.rbac.secrets "cluster") -}}
{{- fail "\n\nrbac.secrets: cluster gives Secrets of all namespaces while watchNamespaces names some; leave rbac.secrets empty.\n" -}}
{{- end -}}
{{- if and (not $values.watchNamespaces) (eq $values.rbac.secrets "namespaces") -}}
{{- fail "\n\nrbac.secrets: namespaces needs watchNamespaces; name them, or use `names` or `cluster`.\n" -}}
{{- end -}}
{{- if and (eq $values.rbac.secrets "names") (not $values.rbac.secretNames) -}}
{{- fail "\n\nrbac.secrets: names needs rbac.secretNames.\n" -}}
{{- end -}}
{{- if and $values.rbac.secretNames (ne $values.rbac.secrets "names") -}}
{{- fail "\n\nrbac.secretNames has no effect without rbac.secrets: names.\n" -}}
{{- end -}}
{{- if and $values.webhook.enabled (eq $values.tls.mode "off") -}}
{{- fail "\n\nThe API server calls webhooks over TLS only: set tls.mode, or webhook.enabled: false.\n" -}}
{{- end -}}
{{- if and $values.webhook.enabled (eq $values.tls.mode "existing") (not $values.webhook.caBundle) -}}
{{- fail "\n\nwith tls.mode: existing the webhook needs webhook.caBundle (base64 of the CA).\n" -}}
{{- end -}}
{{- if and $values.gateway.enabled (le (int $values.gateway.terminationGracePeriodSeconds) (int $values.gateway.drain.timeoutSeconds)) -}}
{{- fail "\n\ngateway.terminationGracePeriodSeconds must be longer than gateway.drain.timeoutSeconds.\n" -}}
{{- end -}}
{{- if and $values.redis.enabled $values.ratelimit.redis.url -}}
{{- fail "\n\nredis.enabled and ratelimit.redis.url are two places for counters; keep one.\n" -}}
{{- end -}}
{{- if and $values.redis.enabled $values.ratelimit.redis.existingSecret.name -}}
{{- fail "\n\nredis.enabled has no password and is its own place for counters; leave ratelimit.redis.existingSecret out.\n" -}}
{{- end -}}
{{- if and $values.ratelimit.redis.url $values.ratelimit.redis.existingSecret.name $values.ratelimit.redis.existingSecret.urlKey -}}
{{- fail "\n\nratelimit.redis.url and existingSecret.urlKey both give the URL: empty one of them.\n" -}}
{{- end -}}
{{- if and $values.ratelimit.redis.tls.clientCertificate (not $values.ratelimit.redis.tls.secretName) -}}
{{- fail "\n\nratelimit.redis.tls.clientCertificate needs ratelimit.redis.tls.secretName.\n" -}}
{{- end -}}
{{- if and $values.redis.enabled (or $values.authz.redis.url $values.authz.redis.existingSecret.name) -}}
{{- fail "\n\nredis.enabled and authz.redis are two places for sessions; keep one.\n" -}}
{{- end -}}
{{- if and $values.authz.redis.url $values.authz.redis.existingSecret.name $values.authz.redis.existingSecret.urlKey -}}
{{- fail "\n\nauthz.redis.url and existingSecret.urlKey both give the URL: empty one of them.\n" -}}
{{- end -}}
{{- if and $values.authz.redis.tls.clientCertificate (not $values.authz.redis.tls.secretName) -}}
{{- fail "\n\nauthz.redis.tls.clientCertificate needs authz.redis.tls.secretName.\n" -}}
{{- end -}}
{{- if and $values.bundle.createServices $values.gateway.enabled -}}
{{- fail "\n\nbundle.createServices is for gateway.enabled: false; with the gateway use gateway.createServices.\n" -}}
{{- end -}}
{{- end -}}
