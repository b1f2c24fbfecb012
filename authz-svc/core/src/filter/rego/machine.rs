//! Engines that evaluate a policy, and how long they may.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, LimitError, Value};

/// Most engines that are kept for the next request.
const KEPT: usize = 16;
/// Steps between two looks at the clock.
const STEPS: NonZeroU32 = NonZeroU32::new(32).unwrap();

/// Stack that an evaluation needs at most, in bytes: the engine calls itself for each rule within a
/// rule, and one that uses it up ends the program.
/// A build without optimisation needs far more.
const STACK: usize = if cfg!(debug_assertions) { 4 << 20 } else { 1 << 20 };
const STACK_OF_RULE: usize = STACK / 16;

thread_local! {
    /// What `time.now_ns` says: the time of the request that is evaluated, since the Unix epoch.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The time of the request that this thread evaluates.
pub(super) fn now() -> Duration {
    NOW.get()
}

/// Does what reads policies: it calls itself for what is nested in them, which has a bound.
pub(super) fn with_stack<R>(read: impl FnOnce() -> R) -> R {
    stacker::maybe_grow(STACK, STACK, read)
}

/// A policy that is ready, as often as it is evaluated at a time.
#[derive(Debug)]
pub(super) struct Machine {
    prototype: Engine,
    rule: String,
    /// Bytes that an evaluation may need.
    stack: usize,
    idle: Mutex<Vec<Engine>>,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It takes longer than it may.
    TooLong,
    /// In words, without values of the request.
    Failed(String),
}

impl Machine {
    /// `engine` has all policies and data, of so many rules and functions.
    pub(super) fn new(engine: Engine, rule: String, rules: usize) -> Self {
        let stack = STACK + rules * STACK_OF_RULE;
        Self { prototype: engine, rule, stack, idle: Mutex::default() }
    }

    /// The rule that decides.
    pub(super) fn rule(&self) -> &str {
        &self.rule
    }

    /// The rule's value for an input.
    pub(super) fn evaluate(
        &self,
        input: Value,
        now: Duration,
        limit: Duration,
    ) -> Result<Value, Fault> {
        // An engine that is left in the middle is not used again.
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let mut engine = kept.unwrap_or_else(|| self.prototype.clone());
        engine.set_execution_timer_config(ExecutionTimerConfig { limit, check_interval: STEPS });
        engine.set_input(input);
        NOW.set(now);
        let rule = self.rule.clone();
        let result = stacker::maybe_grow(self.stack, self.stack, || engine.eval_rule(rule));
        if result.is_ok() {
            engine.set_input(Value::Undefined);
            // They are for nobody.
            drop(engine.take_prints());
            let mut idle = idle();
            if idle.len() < KEPT {
                idle.push(engine);
            }
        }
        result.map_err(|error| fault(&error))
    }
}

fn fault(error: &anyhow::Error) -> Fault {
    match error.downcast_ref::<LimitError>() {
        Some(LimitError::TimeLimitExceeded { .. }) => Fault::TooLong,
        _ => Fault::Failed(headline(&error.to_string())),
    }
}

/// What a message of the engine says, without the source around it: `FILE:LINE:COLUMN: WORDS`.
pub(super) fn headline(message: &str) -> String {
    let place = message.lines().find_map(|line| line.trim().strip_prefix("--> "));
    let words = message.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
    let words = words.unwrap_or_else(|| message.lines().next().unwrap_or_default());
    match place {
        Some(place) => format!("{place}: {words}"),
        None => words.to_owned(),
    }
}
