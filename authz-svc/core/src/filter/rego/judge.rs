//! `Filter.spec.Rego` to a filter, and its judgement: at once, or on a thread for long work when the
//! policy takes long.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use regorus::{Engine, Value};
use serde_json::{Map, Value as Json};

use super::machine::{Fault, Machine, headline, with_stack};
use super::syntax::Syntax;
use super::{Spec, decision, functions, input, nesting};
use crate::arguments::Arguments;
use crate::compile::Compiling;
use crate::context::Context;
use crate::filter::{Judge, Judged, Verdict};
use crate::need::Job;
use crate::reply::Reply;

/// Most text of all policies, in bytes.
const MAX_TEXT: usize = 256 << 10;
/// Most data, in bytes of JSON.
const MAX_DATA: usize = 1 << 20;
/// Most rules and functions.
const MAX_RULES: usize = 1_000;
/// What the engine says of a rule that is not there.
const NO_RULE: &str = "not a valid rule path";
/// How long an evaluation may take where other requests wait for it.
const AT_ONCE: Duration = Duration::from_millis(1);
/// How long it may take on a thread of its own.
const AT_MOST: Duration = Duration::from_millis(200);
/// How long it is remembered that a policy takes long.
const SLOW: u64 = 10;

/// A compiled Rego filter.
pub(super) struct Rego {
    machine: Arc<Machine>,
    syntax: Syntax,
    /// Until then it is not tried at once; seconds since the Unix epoch.
    slow_until: AtomicU64,
}

impl fmt::Debug for Rego {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rego").field("rule", &self.machine.rule()).finish_non_exhaustive()
    }
}

impl Judge for Rego {
    fn judge(&self, context: &Context<'_>, _: &Arguments) -> Judged {
        let input = match input::build(context, &self.syntax) {
            Ok(input) => Value::from(input),
            Err(why) => {
                return Ok(Verdict::Deny(Reply::json(400, why, context.request_id())));
            }
        };
        let now = context.now;
        let mut result = Err(Fault::TooLong);
        if now.as_secs() >= self.slow_until.load(Ordering::Relaxed) {
            result = self.machine.evaluate(input.clone(), now, AT_ONCE);
        }
        if result == Err(Fault::TooLong) {
            self.slow_until.store(now.as_secs() + SLOW, Ordering::Relaxed);
            let machine = self.machine.clone();
            let job = Job::new(move || machine.evaluate(input.clone(), now, AT_MOST));
            let Some(computed) = context.compute::<Result<Value, Fault>>(job)? else {
                let words = "too many policies are being evaluated; try again";
                let reply = Reply::json(503, words, context.request_id());
                return Ok(Verdict::Error(reply.with_header("retry-after", "1")));
            };
            result = Result::clone(&computed);
        }
        Ok(match result {
            Ok(value) => self.decide(&value, context),
            Err(Fault::TooLong) => failed("it takes too long", context),
            Err(Fault::Failed(why)) => failed(&why, context),
        })
    }
}

impl Rego {
    fn decide(&self, value: &Value, context: &Context<'_>) -> Verdict {
        match decision::read(value, self.machine.rule(), context) {
            Ok(verdict) => verdict,
            Err(("", wanted)) => failed(&format!("its decision is not {wanted}"), context),
            Err((field, wanted)) => {
                failed(&format!("`{field}` of its decision is not {wanted}"), context)
            }
        }
    }
}

/// A denial, not an error that a policy could let pass: a request can make a policy fail.
fn failed(why: &str, context: &Context<'_>) -> Verdict {
    let words = "the policy could not be evaluated";
    let reply = Reply::json(500, words, context.request_id());
    if context.request.is_grpc() {
        return Verdict::Deny(reply);
    }
    Verdict::Deny(Reply { reason: format!("{words}: {why}").into(), ..reply })
}

/// Compiles `spec`. What is wrong is told to `compiling`.
pub(crate) fn compile(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    with_stack(|| read(spec, compiling))
}

fn read(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(false);
    // Otherwise they go to the standard error.
    engine.set_gather_prints(true);
    match spec.rego_version.as_deref() {
        None | Some("v1") => {}
        Some("v0") => engine.set_rego_v0(true),
        Some(other) => {
            compiling.error("regoVersion", format!("`{other}` is not v0 or v1"));
            return None;
        }
    }
    functions::declare(&mut engine).ok()?;
    let none = BTreeMap::new();
    add_policies(spec.policies.as_ref().unwrap_or(&none), &mut engine, compiling)?;
    add_data(spec.data.as_ref(), &mut engine, compiling)?;
    let rule = spec.query.as_deref().unwrap_or("data.envoy.authz.allow");
    if !rule.starts_with("data.") {
        compiling
            .error("query", format!("`{rule}` is no rule"))
            .hint("write it like data.envoy.authz.allow");
        return None;
    }
    let syntax = match Syntax::of(&engine) {
        Ok(syntax) => syntax,
        Err((why, hint)) => {
            compiling.error("policies", why).hint(hint);
            return None;
        }
    };
    if syntax.rules() > MAX_RULES {
        compiling.error("policies", format!("they have more than {MAX_RULES} rules"));
        return None;
    }
    let no_rule = |compiling: &mut Compiling<'_, '_>| {
        compiling
            .error("query", format!("the policies have no rule {rule}"))
            .hint("name one as in data.PACKAGE.RULE");
    };
    if let Err(error) = engine.compile_with_entrypoint(&rule.into()) {
        let message = headline(&error.to_string());
        if message.contains(NO_RULE) {
            no_rule(compiling);
        } else {
            compiling.error("policies", message).hint("see the policy language of OPA");
        }
        return None;
    }
    let machine = Machine::new(engine, rule.to_owned(), syntax.rules());
    // What the rule says of nothing does not matter here, only whether there is such a rule.
    let nothing = Value::from(Json::Object(Map::new()));
    match machine.evaluate(nothing, Duration::ZERO, AT_MOST) {
        Err(Fault::Failed(why)) if why.contains(NO_RULE) => {
            no_rule(compiling);
            return None;
        }
        _ => {}
    }
    let machine = Arc::new(machine);
    Some(Box::new(Rego { machine, syntax, slow_until: AtomicU64::new(0) }))
}

fn add_policies(
    policies: &BTreeMap<String, String>,
    engine: &mut Engine,
    compiling: &mut Compiling<'_, '_>,
) -> Option<()> {
    if policies.is_empty() {
        compiling
            .error("policies", "there is no policy")
            .hint("write one like policies: {authz.rego: \"package envoy.authz …\"}");
        return None;
    }
    if policies.values().map(String::len).sum::<usize>() > MAX_TEXT {
        compiling.error("policies", format!("they are longer than {} KiB", MAX_TEXT >> 10));
        return None;
    }
    let mut good = true;
    for (name, text) in policies {
        if !nesting::is_bounded(text) {
            good = false;
            compiling
                .error(&format!("policies[{name}]"), "its brackets are nested too deeply")
                .hint("make rules of its parts");
            continue;
        }
        if let Err(error) = engine.add_policy(name.clone(), text.clone()) {
            good = false;
            let hint = "rules need `if` in v1: set regoVersion: v0 for older policies";
            compiling.error(&format!("policies[{name}]"), headline(&error.to_string())).hint(hint);
        }
    }
    good.then_some(())
}

fn add_data(
    data: Option<&Map<String, Json>>,
    engine: &mut Engine,
    compiling: &mut Compiling<'_, '_>,
) -> Option<()> {
    let Some(data) = data else { return Some(()) };
    let data = Json::Object(data.clone());
    if data.to_string().len() > MAX_DATA {
        compiling.error("data", format!("it is longer than {} KiB", MAX_DATA >> 10));
        return None;
    }
    if let Err(error) = engine.add_data(Value::from(data)) {
        compiling.error("data", headline(&error.to_string()));
        return None;
    }
    Some(())
}
