//! Filter kind CEL: conditions in the Common Expression Language, all of which must hold. What of an
//! expression can be known to be wrong is told when it is loaded; whatever goes wrong with a
//! request denies it.

mod budget;
mod check;
mod depth;
mod types;
mod variables;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::types::CelBool;
use cel::{Env, ExecutionError, IdedExpr as Expression, Value};
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Judge, Judged, Verdict};
use crate::arguments::Arguments;
use crate::compile::Compiling;
use crate::context::Context;
use crate::reply::Reply;
use crate::spec::unset_if_empty;
use budget::Budget;
use variables::Variable;

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &[];

/// Most rules of a filter.
const MAX_RULES: usize = 64;
/// Longest message, in bytes.
const MAX_MESSAGE: usize = 1024;

/// `Filter.spec.CEL`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(extend("required" = ["rules"]))]
pub struct Spec {
    /// The conditions, in order; the first that does not hold denies.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    pub rules: Option<Vec<Rule>>,
}

/// A condition.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["expression"]))]
pub struct Rule {
    /// What it is called in logs. Default: its place, as in `rules[0]`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub name: Option<String>,
    /// The expression. Requests pass for which it is `true`; for `false`, and when it cannot be
    /// evaluated, they do not.
    #[serde(default)]
    #[schemars(length(min = 1, max = 4096))]
    pub expression: String,
    /// What a client is told that does not pass. Default: that the request is not permitted.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub message: Option<String>,
    /// The status of that answer, 400 to 499. Default: 403.
    #[serde(default)]
    #[schemars(range(min = 400, max = 499))]
    pub status_code: Option<u16>,
}

/// Functions and types of all expressions.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    // It fails only for names that are taken, and these are not.
    let _ = environment.add_extension(cel::extensions::strings);
    Arc::new(environment)
});

/// A compiled CEL filter.
pub struct Cel {
    rules: Vec<Condition>,
    /// What the rules look at.
    variables: BTreeSet<Variable>,
    /// Patterns of `matches`.
    patterns: Arc<HashMap<String, Regex>>,
}

struct Condition {
    name: String,
    expression: Expression,
    /// As it was written.
    source: String,
    message: Option<String>,
    status: u16,
}

impl fmt::Debug for Cel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.rules.iter().map(|rule| rule.name.as_str()).collect();
        f.debug_struct("Cel").field("rules", &names).finish_non_exhaustive()
    }
}

impl Judge for Cel {
    fn judge(&self, context: &Context<'_>, _: &Arguments) -> Judged {
        let budget = Budget::new();
        let mut scope = cel::Context::with_env(ENVIRONMENT.clone());
        if budget::declare(&mut scope, &budget, &self.patterns).is_err() {
            let words = "the conditions of this request cannot be evaluated";
            return Ok(Verdict::Fail(Reply::json(500, words, context.request_id())));
        }
        for variable in &self.variables {
            scope.add_variable_as_val(variable.name(), variable.value(context));
        }
        for rule in &self.rules {
            if let Some(why) = rule.fault(&scope, &budget) {
                return Ok(Verdict::Deny(rule.refusal(why, context)));
            }
        }
        Ok(Verdict::allow())
    }
}

impl Condition {
    /// Why it does not hold; none when it does.
    fn fault(&self, scope: &cel::Context<'_, '_>, budget: &Budget) -> Option<String> {
        let result = Value::resolve_val(&self.expression, scope);
        // Also when an operator made nothing of the error.
        if budget.is_spent() {
            return Some("it takes too many steps".to_owned());
        }
        match result {
            Ok(value) => match value.downcast_ref::<CelBool>() {
                Some(holds) if *holds.inner() => None,
                Some(_) => Some("it does not hold".to_owned()),
                None => Some(format!("its result is of type {}", value.get_type().name())),
            },
            Err(error) => Some(self.explain(&error)),
        }
    }

    /// Without values of the request: this is logged.
    fn explain(&self, error: &ExecutionError) -> String {
        match error {
            ExecutionError::NoSuchKey(key) if self.source.contains(key.as_str()) => {
                format!("there is no `{key}`")
            }
            ExecutionError::NoSuchKey(_) => "there is no such key".to_owned(),
            ExecutionError::IndexOutOfBounds(_) => "an index is out of bounds".to_owned(),
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                "it divides by zero".to_owned()
            }
            ExecutionError::Overflow(..) => "a number is too large".to_owned(),
            ExecutionError::NoSuchOverload(overload) => format!(
                "`{}` is not for ({})",
                overload.function().trim_matches('_'),
                overload.argument_types().join(", ")
            ),
            _ => "its values are not of the types it needs".to_owned(),
        }
    }

    fn refusal(&self, why: String, context: &Context<'_>) -> Reply {
        let words = self.message.as_deref().unwrap_or("the request is not permitted");
        let reply = Reply::json(self.status, words.to_owned(), context.request_id());
        // A client that reads the reason, as of gRPC, learns no more than the others.
        if context.request.is_grpc() {
            return reply;
        }
        Reply { reason: format!("rule {}: {why}", self.name).into(), ..reply }
    }
}

/// Compiles `spec`. What is wrong is told to `compiling`.
pub(crate) fn compile(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    let given = spec.rules.as_deref().unwrap_or_default();
    if given.is_empty() || given.len() > MAX_RULES {
        compiling
            .error("rules", format!("use 1 to {MAX_RULES} rules"))
            .hint("write them like rules: [{expression: \"request.method == 'GET'\"}]");
    }
    let mut rules = Vec::new();
    let (mut variables, mut patterns) = (BTreeSet::new(), HashMap::new());
    for (i, rule) in given.iter().enumerate().take(MAX_RULES) {
        let status = rule.status_code.unwrap_or(403);
        if !(400..=499).contains(&status) {
            compiling
                .error(&format!("rules[{i}].statusCode"), format!("{status} is not 400 to 499"))
                .hint("leave it out for 403");
        }
        if rule.message.as_ref().is_some_and(|m| m.len() > MAX_MESSAGE) {
            compiling.error(&format!("rules[{i}].message"), format!("over {MAX_MESSAGE} bytes"));
        }
        match check::check(&rule.expression) {
            Ok(checked) => {
                variables.extend(checked.variables);
                patterns.extend(checked.patterns);
                rules.push(Condition {
                    name: rule.name.clone().unwrap_or_else(|| format!("rules[{i}]")),
                    expression: checked.expression,
                    source: rule.expression.clone(),
                    message: rule.message.clone(),
                    status,
                });
            }
            Err(fault) => {
                let error = compiling.error(&format!("rules[{i}].expression"), fault.message);
                if let Some(hint) = fault.hint {
                    error.hint(hint);
                }
            }
        }
    }
    Some(Box::new(Cel { rules, variables, patterns: Arc::new(patterns) }))
}

#[cfg(test)]
mod tests;
