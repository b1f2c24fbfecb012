//! `outlier_detection:` of a Mapping: when a host of a service is not used for a while because of how
//! it answers. Emissary never read it; the names are Envoy's.

use serde::Deserialize;
use serde_json::Value;
use service_kit::{Diagnostics, Reason, go};

use crate::ir::health::OutlierDetection;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Spec {
    consecutive_5xx: Option<u32>,
    consecutive_gateway_failure: Option<u32>,
    interval: Option<String>,
    base_ejection_time: Option<String>,
    max_ejection_time: Option<String>,
    max_ejection_percent: Option<u32>,
}

/// Reads it; a Mapping lives without one that is wrong.
pub(super) fn read(
    value: Option<&Value>,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Option<OutlierDetection> {
    let value = value.filter(|v| !super::fields::is_unset(v))?;
    match parse(value) {
        Ok(read) => Some(read),
        Err(why) => {
            let d = found.error(path, format!("{why}; no host is left out because of its answers"));
            // Emissary's schema takes texts, which never had a meaning.
            if !value.is_object() {
                d.reason(Reason::NotSupported);
            }
            d.hint(
                "as in {consecutive_5xx: 5, interval: 10s, base_ejection_time: 30s, max_ejection_percent: 10}; consecutive_gateway_failure and max_ejection_time are known, too",
            );
            None
        }
    }
}

fn parse(value: &Value) -> Result<OutlierDetection, String> {
    if !value.is_object() {
        return Err("it is a map of settings".to_owned());
    }
    let spec: Spec = serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
    if spec.max_ejection_percent.is_some_and(|p| p > 100) {
        return Err("max_ejection_percent is 0 to 100".to_owned());
    }
    let time = |field: &str, text: &Option<String>| match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => go::parse_duration(text)
            .ok()
            .and_then(|d| u64::try_from(d.as_millis()).ok())
            .filter(|ms| (1..1 << 31).contains(ms))
            .map(Some)
            .ok_or_else(|| format!("{field}: `{}` is no time, as in 30s", text.escape_debug())),
    };
    let read = OutlierDetection {
        consecutive_5xx: spec.consecutive_5xx,
        consecutive_gateway_failure: spec.consecutive_gateway_failure,
        interval_ms: time("interval", &spec.interval)?,
        base_ejection_ms: time("base_ejection_time", &spec.base_ejection_time)?,
        max_ejection_ms: time("max_ejection_time", &spec.max_ejection_time)?,
        max_ejection_percent: spec.max_ejection_percent,
    };
    if let (Some(base), Some(max)) = (read.base_ejection_ms, read.max_ejection_ms)
        && base > max
    {
        return Err("base_ejection_time is above max_ejection_time".to_owned());
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_meant_is_read() {
        let read = parse(&json!({"consecutive_5xx": 3, "interval": "1s"})).unwrap();
        assert_eq!((read.consecutive_5xx, read.interval_ms), (Some(3), Some(1000)));
        for wrong in [
            json!("on"),
            json!({"consecutive_errors": 3}),
            json!({"consecutive_5xx": -1}),
            json!({"interval": "0s"}),
            json!({"max_ejection_percent": 101}),
            json!({"base_ejection_time": "2s", "max_ejection_time": "1s"}),
        ] {
            assert!(parse(&wrong).is_err(), "{wrong}");
        }
    }
}
