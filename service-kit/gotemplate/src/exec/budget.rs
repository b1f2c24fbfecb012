//! What one execution may cost, whatever template and data ask for.

use super::{ExecError, Result, fail};
use crate::fmt::TooLong;

/// Longest output, and longest text that a function may give, in bytes.
pub(super) const MAX_TEXT: usize = 64 << 10;
/// Most loop steps.
const MAX_LOOPS: usize = 10_000;
/// Most nodes and commands.
const MAX_STEPS: usize = 250_000;
/// Most bytes that functions read and write.
const MAX_WORK: usize = 4 << 20;
/// Deepest nesting of blocks, parentheses and templates: bounds the stack.
const MAX_DEPTH: usize = 250;

/// What was spent.
#[derive(Default)]
pub(super) struct Budget {
    loops: usize,
    steps: usize,
    work: usize,
    depth: usize,
}

impl Budget {
    /// One more node or command.
    pub(super) fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS { fail("more than 250,000 actions ran") } else { Ok(()) }
    }

    /// One more turn of a loop.
    pub(super) fn turn(&mut self) -> Result<()> {
        self.loops += 1;
        if self.loops > MAX_LOOPS { fail("more than 10,000 loop steps") } else { Ok(()) }
    }

    /// A function reads or writes so many bytes.
    pub(super) fn work(&mut self, bytes: usize) -> Result<()> {
        self.work = self.work.saturating_add(bytes);
        if self.work > MAX_WORK { fail("functions worked on more than 4 MiB") } else { Ok(()) }
    }

    /// A block, parenthesis or template begins.
    pub(super) fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { fail("nested deeper than 250 levels") } else { Ok(()) }
    }

    /// It ended.
    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}

impl From<TooLong> for ExecError {
    fn from(_: TooLong) -> Self {
        Self("a text is longer than 64 KiB".to_owned())
    }
}
