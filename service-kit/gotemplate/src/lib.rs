//! Go's `text/template` with Go's exact output, for the header and body templates of resources.
//!
//! Text and data in, text out: this crate knows no resource and does no IO. Hostile templates and
//! data cost bounded time and memory and never panic.

mod ast;
mod escape;
mod exec;
mod fmt;
mod functions;
mod json;
mod lexer;
mod parser;
mod value;

pub use exec::{ExecError, Output};
pub use functions::Functions;
pub use parser::ParseError;
pub use value::Value;

use std::sync::Arc;

/// A parsed template; cheap to clone and share.
#[derive(Clone, Debug)]
pub struct Template(Arc<ast::Tree>);

impl Template {
    /// Longest template, in bytes.
    pub const MAX_LEN: usize = 64 << 10;

    /// Parses `text`.
    ///
    /// # Errors
    /// Where Go's parser refuses it too: syntax, a function that is not in `functions`, a variable
    /// that is not declared. Also when it is longer than 64 KiB or nested deeper than 100 levels.
    pub fn parse(text: &str, functions: &Functions) -> Result<Self, ParseError> {
        parser::parse(text, functions).map(|tree| Self(Arc::new(tree)))
    }

    /// Runs the template on `data`.
    ///
    /// # Errors
    /// Where Go's execution fails too (an index out of range, a comparison of different types, …),
    /// and after 10,000 loop steps or 64 KiB of output.
    pub fn execute(&self, data: &Value) -> Result<Output, ExecError> {
        exec::execute(&self.0, data)
    }
}
