//! Environment variables of Emissary that have no effect here: each that is set is told, with what
//! to do instead. Those with an effect are at the flag that they are another way to write.

mod resources;

pub(crate) use resources::of_resources;

/// Variables without an effect, and what to do instead.
#[rustfmt::skip]
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("AES_LICENSE_FILE", "there is no licence; remove it"),
    ("AES_LOG_LEVEL", "use --log-level"),
    ("AES_REPORT_DIAGNOSTICS_TO_CLOUD", "nothing is reported to anybody; remove it"),
    ("AGENT_CONFIG_RESOURCE_NAME", "there is no agent; remove it"),
    ("AMBASSADOR_AMBEX_NO_RATELIMIT", "changes are never held back for lack of memory; remove it"),
    ("AMBASSADOR_AMBEX_SNAPSHOT_COUNT", "snapshots are at /diagnostics of --admin-addr; remove it"),
    ("AMBASSADOR_CERTS_SINGLE_NAMESPACE", "only Secrets that resources name are read; limit rights to them with RBAC"),
    ("AMBASSADOR_CLUSTER_ID", "nothing is reported to anybody; remove it"),
    ("AMBASSADOR_CONFIG_BASE_DIR", "use --config"),
    ("AMBASSADOR_DEBUG", "use --log-level debug"),
    ("AMBASSADOR_DISABLE_FEATURES", "nothing is reported to anybody; remove it"),
    ("AMBASSADOR_DISABLE_SNAPSHOT_SERVER", "there is no snapshot server; remove it"),
    ("AMBASSADOR_DRAIN_TIME", "use gateway-ctl envoy-drain --timeout in the preStop of Envoy's pod"),
    ("AMBASSADOR_EDS_BYPASS", "endpoints change without their clusters; remove it"),
    ("AMBASSADOR_ENVOY_API_VERSION", "only v3 is spoken; remove it"),
    ("AMBASSADOR_ENVOY_BASE_ID", "give Envoy its --base-id itself"),
    ("AMBASSADOR_FAST_RECONFIGURE", "every change is incremental; remove it"),
    ("AMBASSADOR_FORCE_SECRET_VALIDATION", "certificates and keys are always checked; remove it"),
    ("AMBASSADOR_GRPC_METRICS_SINK", "use an OpenTelemetry collector that scrapes /stats/prometheus"),
    ("AMBASSADOR_HEALTHCHECK_BIND_ADDRESS", "use --admin-addr"),
    ("AMBASSADOR_HEALTHCHECK_BIND_PORT", "use --admin-addr"),
    ("AMBASSADOR_HEALTHCHECK_IP_FAMILY", "use --admin-addr, as in [::]:8877"),
    ("AMBASSADOR_JSON_LOGGING", "use --log-json"),
    ("AMBASSADOR_KNATIVE_SUPPORT", "Knative's Ingress is not supported"),
    ("AMBASSADOR_LEGACY_MODE", "there is one mode; remove it"),
    ("AMBASSADOR_READY_LOG", "requests to Envoy's ready port are never logged; remove it"),
    ("AMBASSADOR_READY_PORT", "use gateway-ctl envoy-bootstrap --ready-addr"),
    ("AMBASSADOR_RECONFIG_MAX_DELAY", "changes are in force within milliseconds; remove it"),
    ("AMBASSADOR_SNAPSHOT_COUNT", "snapshots are at /diagnostics of --admin-addr; remove it"),
    ("AMBASSADOR_UPDATE_MAPPING_STATUS", "status of every kind is written; remove it"),
    ("AMBASSADOR_VERIFY_SSL_FALSE", "the Kubernetes API is always verified; give its CA in KUBECONFIG"),
    ("ENVOY_CONCURRENCY", "give Envoy its --concurrency itself"),
    ("SCOUT_DISABLE", "nothing is reported to anybody; remove it"),
    ("_AMBASSADOR_TLS_SECRET_NAME", "Consul Connect's certificates are not fetched here"),
    ("_AMBASSADOR_TLS_SECRET_NAMESPACE", "Consul Connect's certificates are not fetched here"),
];

/// What is to be said of the variables that are set.
fn told(is_set: impl Fn(&str) -> bool) -> Vec<String> {
    WITHOUT_EFFECT
        .iter()
        .filter(|(name, _)| is_set(name))
        .map(|(name, advice)| format!("{name} has no effect here: {advice}"))
        .collect()
}

/// Logs each variable that is set and has no effect.
pub(crate) fn tell() {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    for line in told(is_set) {
        tracing::warn!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_is_told_and_nothing_twice() {
        assert_eq!(told(|_| false), Vec::<String>::new());
        let one = told(|name| name == "AMBASSADOR_JSON_LOGGING");
        assert_eq!(one, ["AMBASSADOR_JSON_LOGGING has no effect here: use --log-json"]);
        assert!(WITHOUT_EFFECT.is_sorted_by(|a, b| a.0 < b.0));
    }
}
