//! What clients of configuration streams tell: the server, how an update went, and people, why a
//! stream ended.

use proto::google::rpc::Status;
use tokio::sync::oneshot;

/// Tells the server whether an update is in force. Dropped, it means yes.
#[derive(Debug)]
pub struct Reply(Option<oneshot::Sender<Result<(), String>>>);

impl Reply {
    /// A reply, and where it comes out.
    pub(super) fn new() -> (Self, oneshot::Receiver<Result<(), String>>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Some(sender)), receiver)
    }

    /// It is in force.
    pub fn ack(mut self) {
        self.send(Ok(()));
    }

    /// It is not; `message` says why.
    pub fn nack(mut self, message: impl Into<String>) {
        self.send(Err(message.into()));
    }

    fn send(&mut self, result: Result<(), String>) {
        if let Some(sender) = self.0.take() {
            // The stream may be gone meanwhile; then nobody asks.
            let _ = sender.send(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.send(Ok(()));
    }
}

/// As the detail of a NACK.
pub(super) fn refusal(message: String) -> Status {
    Status { code: tonic::Code::InvalidArgument.into(), message, details: Vec::new() }
}

/// Why a call failed.
pub(super) fn reason(status: &tonic::Status) -> String {
    match status.message() {
        "" => status.code().to_string(),
        message => message.to_owned(),
    }
}

/// An error with what caused it.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        // Some wrap what they say already.
        if !text.ends_with(&inner_text) {
            text += &format!(": {inner_text}");
        }
        source = inner.source();
    }
    text
}
