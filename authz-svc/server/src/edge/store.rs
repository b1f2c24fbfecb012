//! Where sessions are.

use authz_core::need::{StoreAnswer, StoreCommand, StoreError};

/// The store of sessions.
#[derive(Debug, Default)]
pub(crate) struct Store {}

impl Store {
    /// Does a command.
    pub(crate) async fn run(&self, _: StoreCommand) -> Result<StoreAnswer, StoreError> {
        Err(StoreError)
    }
}
