//! How the services are, as they say themselves.

use maud::{Markup, html};

use crate::services::Answer;

/// Is a service well: a line for each replica that is not, or one for all of them.
pub(super) fn health(name: &str, answer: &Answer) -> Markup {
    html! {
        @match answer {
            None => {}
            Some(Err(why)) => p.error { (name) " cannot be asked: " (why) }
            Some(Ok(replicas)) => {
                @let well = replicas.iter().filter(|r| r.faults().is_empty()).count();
                p class=(if well == replicas.len() { "good" } else { "error" }) {
                    (name) ": " (well) " of " (replicas.len()) " well"
                }
                @for replica in replicas {
                    @for (component, why) in replica.faults() {
                        p.error { (name) " " code { (replica.address) } ": " (component) ": " (why) }
                    }
                }
            }
        }
    }
}

/// That nobody said where a service is.
pub(super) fn unknown(name: &str, flag: &str) -> Markup {
    html! {
        p { "Where the admin port of " (name) " is was not said: start gateway-ctl with " code { (flag) " HOST:PORT" } "." }
    }
}
