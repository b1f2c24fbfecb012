//! A bound on what the evaluation of expressions may cost. An expression is rewritten when it is
//! loaded (`check.rs`): it pays for each turn of a loop and for the size of what it works on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::common::types::CelString;
use cel::common::value::{BuiltinRef, CowVal, Val};
use cel::{Context, DeclarationError, ExecutionError, FunctionContext};
use regex::Regex;

/// For all rules of a filter on one request. A unit is an operation, or 32 bytes that it reads.
const UNITS: u64 = 50_000;
/// What a byte of a `matches` costs more than that of other functions.
const PATTERN: u64 = 8;

/// Pays for a turn of a loop: `@spend(units)` is `true`. No expression can write this name.
pub(super) const SPEND: &str = "@spend";
/// Pays for a value's size: `@weigh(value)` is the value.
pub(super) const WEIGH: &str = "@weigh";
/// The function that searches a pattern.
pub(super) const MATCHES: &str = "matches";

/// What is left.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicU64>);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(UNITS)))
    }

    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Takes so much. One thread evaluates.
    fn take(&self, units: u64) -> Result<(), ExecutionError> {
        let left = self.0.load(Ordering::Relaxed).saturating_sub(units);
        self.0.store(left, Ordering::Relaxed);
        if left == 0 {
            return Err(ExecutionError::function_error("", "too many steps"));
        }
        Ok(())
    }

    /// Takes for a value and all in it.
    fn weigh(&self, value: &dyn Val) -> Result<(), ExecutionError> {
        let bytes = |length: usize| 1 + length as u64 / 32;
        match value.as_builtin() {
            BuiltinRef::String(text) => self.take(bytes(text.inner().len())),
            BuiltinRef::Bytes(data) => self.take(bytes(data.inner().len())),
            BuiltinRef::List(list) => {
                self.take(1)?;
                list.inner().iter().try_for_each(|item| self.weigh(item.as_ref()))
            }
            BuiltinRef::Map(map) => {
                self.take(1)?;
                map.inner().values().try_for_each(|item| self.weigh(item.as_ref()))
            }
            _ => self.take(1),
        }
    }
}

type Function = Box<
    dyn for<'context, 'call> Fn(
            &mut FunctionContext<'context, 'call>,
        ) -> Result<CowVal<'context, 'call>, ExecutionError>
        + Send
        + Sync,
>;

/// Declares what rewritten expressions call.
pub(super) fn declare(
    scope: &mut Context<'_, '_>,
    budget: &Budget,
    patterns: &Arc<HashMap<String, Regex>>,
) -> Result<(), DeclarationError> {
    let own = budget.clone();
    let spend: Function = Box::new(move |call| {
        let units = call.args.first().and_then(|v| v.downcast_ref::<cel::common::types::CelUInt>());
        own.take(units.map_or(1, |units| *units.inner()))?;
        Ok(CowVal::owned(cel::common::types::CelBool::from(true)))
    });
    let own = budget.clone();
    let weigh: Function = Box::new(move |call| {
        let value = call.args.pop().ok_or_else(ExecutionError::missing_argument_or_target)?;
        own.weigh(value.as_ref())?;
        Ok(value)
    });
    let (own, patterns) = (budget.clone(), patterns.clone());
    let matches: Function = Box::new(move |call| {
        let pattern = call.args.pop();
        let text = call.this.take().or_else(|| call.args.pop());
        let both = text.as_ref().zip(pattern.as_ref());
        let both = both.and_then(|(text, pattern)| {
            let text = text.downcast_ref::<CelString<'_>>()?;
            Some((text, pattern.downcast_ref::<CelString<'_>>()?))
        });
        let Some((text, pattern)) = both else {
            return Err(ExecutionError::no_such_overload(MATCHES, Vec::new()));
        };
        own.take(text.inner().len() as u64 * PATTERN / 32)?;
        let pattern = patterns.get(pattern.inner());
        let pattern = pattern.ok_or_else(|| ExecutionError::function_error(MATCHES, ""))?;
        let found = pattern.is_match(text.inner());
        Ok(CowVal::owned(cel::common::types::CelBool::from(found)))
    });
    scope.add_function(SPEND, spend)?;
    scope.add_function(WEIGH, weigh)?;
    scope.add_function(MATCHES, matches)
}
