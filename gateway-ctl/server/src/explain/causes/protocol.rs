//! What Envoy or a filter of the Module refuses before anything else is looked at.

use super::{Cause, Found, Look, certain, possible};
use crate::explain::facts::Facts;

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "too-many-connections",
        title: "Envoy has too many connections",
        statuses: &[],
        flags: &[],
        words: &["connection reset", "empty reply", "connection closed", "unexpected end of file"],
        proof: &["downstream_global_cx_overflow"],
        sees: "new connections are closed at once; `listener.…downstream_global_cx_overflow` grows",
        why: "The bootstrap bounds the connections of clients (50000), so that Envoy does not die of them: there are that many, often idle ones.",
        next: "`curl -s 127.0.0.1:8001/stats?filter=downstream_global_cx_overflow`; run more Envoys, or set `listener_idle_timeout_ms` of the Module",
        look: |facts| match facts.symptom.status {
            None | Some(0) => possible(Vec::new()),
            Some(_) => None,
        },
    },
    Cause {
        id: "headers-too-large",
        title: "The request headers are too large",
        statuses: &[431],
        flags: &["DPE"],
        words: &[],
        proof: &[
            "headers_too_large",
            "headers too large",
            "request_headers_too_large",
            "too_many_headers",
        ],
        sees: "`http1.headers_too_large`",
        why: "All headers together are longer than `max_request_headers_kb` of the Module (60 unless told), or there are more than 100. Often a cookie has grown.",
        next: "clear the cookies, or raise `max_request_headers_kb` of the Module (8192 at most)",
        look: |facts| {
            let kb =
                facts.module("max_request_headers_kb").map_or("60".to_owned(), ToString::to_string);
            possible(vec![Found::new(format!("max_request_headers_kb is {kb}"), "", None)])
        },
    },
    Cause {
        id: "request-malformed",
        title: "The request is no HTTP",
        statuses: &[400],
        flags: &["DPE"],
        words: &["bad request", "client sent an http request"],
        proof: &[
            "codec_error",
            "codec error",
            "invalid_characters",
            "missing_host_header",
            "invalid_header",
        ],
        sees: "`http1.codec_error` and such",
        why: "Envoy cannot read it: TLS sent to a port that does not speak it, a header with forbidden characters, both `content-length` and `transfer-encoding`, no `host`.",
        next: "`curl -v` the same URL; for both a length and chunks see `allow_chunked_length` of the Module",
        look: |_| possible(Vec::new()),
    },
    Cause {
        id: "http10-refused",
        title: "HTTP/1.0 is not answered",
        statuses: &[426],
        flags: &["DPE"],
        words: &["upgrade required"],
        proof: &["low_version"],
        sees: "`low_version`",
        why: "The client speaks HTTP/1.0, as old health checks and `ab` do.",
        next: "let it speak HTTP/1.1, or set `enable_http10: true` in the Module",
        look: |facts| match facts.module("enable_http10") {
            Some(serde_json::Value::Bool(true)) => None,
            _ => possible(Vec::new()),
        },
    },
    Cause {
        id: "path-refused",
        title: "The path is refused",
        statuses: &[400],
        flags: &[],
        words: &["bad request"],
        proof: &["path_normalization_failed"],
        sees: "`path_normalization_failed`",
        why: "The path cannot be normalized, or has escaped slashes (`%2F`) and the Module says `reject_requests_with_escaped_slashes`.",
        next: "send the path without `%2F` and `%5C`, or set `reject_requests_with_escaped_slashes: false`",
        look: |facts| {
            let escaped = facts
                .request
                .map(|r| r.path.to_lowercase())
                .is_some_and(|p| p.contains("%2f") || p.contains("%5c"));
            let rejects =
                facts.module("reject_requests_with_escaped_slashes").is_some_and(|v| v == true);
            if escaped && rejects {
                return certain(vec![Found::new(
                    "the path has escaped slashes, and the Module rejects them",
                    "",
                    None,
                )]);
            }
            possible(Vec::new())
        },
    },
    Cause {
        id: "underscore-refused",
        title: "A header with an underscore is refused",
        statuses: &[400],
        flags: &["DPE"],
        words: &["bad request"],
        proof: &["unexpected_underscore"],
        sees: "`unexpected_underscore`",
        why: "The Module says `headers_with_underscores_action: REJECT_REQUEST`.",
        next: "rename the header, or set the action to `ALLOW` or `DROP_HEADER`",
        look: |facts| {
            let action = facts.module("headers_with_underscores_action")?;
            (action == "REJECT_REQUEST").then_some(())?;
            let with = facts
                .request
                .filter(|r| r.has_headers)
                .and_then(|r| r.headers.iter().find(|(n, _)| n.contains('_')));
            match with {
                Some((name, _)) => certain(vec![Found::new(
                    format!("the header `{name}` has an underscore"),
                    "",
                    None,
                )]),
                None => possible(Vec::new()),
            }
        },
    },
    Cause {
        id: "body-too-large",
        title: "The body is too large",
        statuses: &[413],
        flags: &[],
        words: &["payload too large", "request_payload_too_large"],
        proof: &[],
        sees: "`Payload Too Large`",
        why: "The Module buffers requests (`buffer.max_request_bytes`), and this one is longer.",
        next: "raise `buffer.max_request_bytes` of the Module, or remove `buffer`",
        look: |facts| {
            let most = facts.module("buffer")?.get("max_request_bytes")?;
            if facts
                .symptom
                .bytes_received
                .zip(most.as_u64())
                .is_some_and(|(got, most)| got <= most)
            {
                return None;
            }
            possible(vec![Found::new(
                format!("the Module's buffer.max_request_bytes is {most}"),
                "",
                None,
            )])
        },
    },
    Cause {
        id: "upgrade-refused",
        title: "The Mapping does not allow the upgrade",
        statuses: &[403],
        flags: &[],
        words: &[],
        proof: &["upgrade_failed"],
        sees: "`upgrade_failed`",
        why: "The client asks to change the protocol (WebSocket, `CONNECT`), and the Mapping does not list it.",
        next: "add `allow_upgrade: [websocket]` to the Mapping",
        look: |facts| {
            let Some(route) = facts.route() else { return possible(Vec::new()) };
            let asked = facts.request.filter(|r| r.has_headers).and_then(|r| r.header("upgrade"));
            if let Some(asked) = &asked
                && route.upgrades.iter().any(|u| u.eq_ignore_ascii_case(asked))
            {
                return None;
            }
            let allowed = if route.upgrades.is_empty() {
                "none".to_owned()
            } else {
                route.upgrades.join(", ")
            };
            let words = format!("{} allows upgrades to: {allowed}", route.mapping);
            Some(Look {
                is_certain: asked.is_some(),
                found: vec![Found::new(words, "", Some(&route.mapping))],
            })
        },
    },
    Cause {
        id: "script-answered",
        title: "A Lua script answered",
        statuses: &[],
        flags: &[],
        words: &[],
        proof: &["lua_response"],
        sees: "`lua_response`",
        why: "`lua_scripts` of the Module has a script that responds by itself.",
        next: "look at `lua_scripts` of the Module",
        look: |facts| {
            if facts.overview().closed.is_some() {
                return None;
            }
            facts.module("lua_scripts")?;
            let module = facts.of_kind("Module").find(|o| o.reference.name == "ambassador")?;
            possible(vec![Found::new(
                format!("{} has lua_scripts", module.reference),
                "",
                Some(&module.reference),
            )])
        },
    },
    Cause {
        id: "script-failed",
        title: "A Lua script has an error",
        statuses: &[200],
        flags: &[],
        words: &["lua error", "script error", "lua_scripts"],
        proof: &["script log: [string"],
        sees: "the request goes on without the script; Envoy logs `script log: [string …]:LINE: …`, and `lua.errors` of its statistics grows",
        why: "`lua_scripts` of the Module failed while it ran. Envoy gives up this script for this request or response, and what the script should have done, a refusal, too, is not done.",
        next: "mend the line of `lua_scripts` that Envoy's log names; a script that guards something must not be able to fail: let authz-svc guard it",
        look: script_error,
    },
];

/// The line of the script that a log names.
fn script_error(facts: &Facts<'_>) -> Option<Look> {
    let script = facts.module("lua_scripts")?.as_str()?;
    let module = facts.of_kind("Module").find(|o| o.reference.name == "ambassador")?;
    let words = match facts.symptom.script_error {
        None => format!("{} has lua_scripts", module.reference),
        Some((line, ref why)) => {
            let text = script.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
            format!("line {line} of lua_scripts, `{text}`: {why}")
        }
    };
    possible(vec![Found::new(words, "", Some(&module.reference))])
}
