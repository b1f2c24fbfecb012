//! Which functions policies may call. Those that reach outside, or that give other answers each
//! time, are not there; those of which one call could take everything have a bound.

use anyhow::{Result, bail};
use regorus::{Engine, Value};

use super::machine;

/// Most elements that one call may make.
const MAX_ELEMENTS: u64 = 10_000;

/// Functions that are there. A call of another one is an error when a policy is loaded.
pub(super) const BUILTINS: &[&str] = &[
    "abs",
    "all",
    "any",
    "array.concat",
    "array.reverse",
    "array.slice",
    "base64.decode",
    "base64.encode",
    "base64.is_valid",
    "base64url.decode",
    "base64url.encode",
    "base64url.encode_no_pad",
    "bits.and",
    "bits.lsh",
    "bits.negate",
    "bits.or",
    "bits.rsh",
    "bits.xor",
    "ceil",
    "concat",
    "contains",
    "count",
    "endswith",
    "floor",
    "format_int",
    "glob.match",
    "glob.quote_meta",
    "graph.reachable",
    "graph.reachable_paths",
    "hex.decode",
    "hex.encode",
    "indexof",
    "indexof_n",
    "intersection",
    "io.jwt.decode",
    "is_array",
    "is_boolean",
    "is_null",
    "is_number",
    "is_object",
    "is_set",
    "is_string",
    "json.filter",
    "json.is_valid",
    "json.marshal",
    "json.marshal_with_options",
    "json.remove",
    "json.unmarshal",
    "lower",
    "max",
    "min",
    "net.cidr_contains",
    "net.cidr_is_valid",
    "numbers.range",
    "numbers.range_step",
    "object.filter",
    "object.get",
    "object.keys",
    "object.remove",
    "object.subset",
    "object.union",
    "object.union_n",
    "print",
    "product",
    "regex.find_n",
    "regex.globs_match",
    "regex.is_valid",
    "regex.match",
    "regex.replace",
    "regex.split",
    "regex.template_match",
    "replace",
    "round",
    "semver.compare",
    "semver.is_valid",
    "sort",
    "split",
    "sprintf",
    "startswith",
    "strings.any_prefix_match",
    "strings.any_suffix_match",
    "strings.count",
    "strings.replace_n",
    "strings.reverse",
    "substring",
    "sum",
    "time.add_date",
    "time.clock",
    "time.date",
    "time.diff",
    "time.format",
    "time.now_ns",
    "time.parse_duration_ns",
    "time.parse_ns",
    "time.parse_rfc3339_ns",
    "time.weekday",
    "to_number",
    "trace",
    "trim",
    "trim_left",
    "trim_prefix",
    "trim_right",
    "trim_space",
    "trim_suffix",
    "type_name",
    "union",
    "units.parse",
    "units.parse_bytes",
    "upper",
    "urlquery.decode",
    "urlquery.decode_object",
    "urlquery.encode",
    "urlquery.encode_object",
    "walk",
];

/// What to do instead, for functions of OPA that users miss.
pub(super) fn instead_of(name: &str) -> &'static str {
    match name {
        "http.send" | "net.lookup_ip_addr" => {
            "policies reach nothing outside: ask another service by the filter External"
        }
        "opa.runtime" => "policies do not see the program's environment: use data",
        "rand.intn" | "uuid.rfc4122" => "policies give the same answer to the same request",
        name if name.starts_with("io.jwt.") || name.starts_with("crypto.") => {
            "let the filter JWT verify the token before this one, and use input.identity.claims"
        }
        _ => "see docs/filters.md for the functions that are there",
    }
}

/// Gives an engine those that are not its own, or in place of its own.
pub(super) fn declare(engine: &mut Engine) -> Result<()> {
    engine.add_extension(
        "time.now_ns".to_owned(),
        0,
        Box::new(|_: Vec<Value>| {
            Ok(Value::from(u64::try_from(machine::now().as_nanos()).unwrap_or(u64::MAX)))
        }),
    )?;
    engine.add_extension(
        "numbers.range".to_owned(),
        2,
        Box::new(|arguments: Vec<Value>| range(&arguments, 1)),
    )?;
    engine.add_extension(
        "numbers.range_step".to_owned(),
        3,
        Box::new(|arguments: Vec<Value>| match arguments.get(2).map(Value::as_i64) {
            Some(Ok(step @ 1..)) => range(&arguments, step),
            _ => Ok(Value::Undefined),
        }),
    )?;
    engine.add_extension(
        "io.jwt.decode".to_owned(),
        1,
        Box::new(|arguments: Vec<Value>| Ok(decode(&arguments).unwrap_or(Value::Undefined))),
    )
}

/// From the first number to the second.
fn range(arguments: &[Value], step: i64) -> Result<Value> {
    let [from, to, ..] = arguments else { return Ok(Value::Undefined) };
    let (Ok(from), Ok(to)) = (from.as_i64(), to.as_i64()) else { return Ok(Value::Undefined) };
    let count = from.abs_diff(to) / step.unsigned_abs();
    if count >= MAX_ELEMENTS {
        bail!("a range of more than {MAX_ELEMENTS} numbers");
    }
    let sign = if to < from { -step } else { step };
    let count = i64::try_from(count)?;
    Ok(Value::from((0..=count).map(|i| Value::from(from + sign * i)).collect::<Vec<_>>()))
}

/// Header, payload and signature of a token, of which nothing is verified.
fn decode(arguments: &[Value]) -> Option<Value> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let token = arguments.first()?.as_string().ok()?;
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else { return None };
    let json = |part: &str| -> Option<Value> {
        let bytes = URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?;
        let json: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        json.is_object().then(|| Value::from(json))
    };
    let signature = URL_SAFE_NO_PAD.decode(signature.trim_end_matches('=')).ok()?;
    let signature = super::super::hexadecimal(&signature);
    Some(Value::from(vec![json(header)?, json(payload)?, Value::from(signature)]))
}
