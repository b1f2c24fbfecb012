//! `status`, which all kinds have alike.

use serde_json::{Value, json};

/// The schema of `status`. What other controllers wrote there stays.
pub(super) fn schema() -> Value {
    let text = |description: &str| json!({ "description": description, "type": "string" });
    json!({
        "description": "What the controller says of the object.",
        "type": "object",
        "nullable": true,
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "conditions": {
                "description": "Accepted: it is right. Programmed: it is in force.",
                "type": "array",
                "nullable": true,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": true,
                    "required": ["type", "status"],
                    "properties": {
                        "type": text("Accepted or Programmed."),
                        "status": text("True, False or Unknown."),
                        "reason": text("Why, in one word."),
                        "message": text("Why, for people."),
                        "observedGeneration": {
                            "description": "The generation of the object that was looked at.",
                            "type": "integer",
                            "format": "int64",
                        },
                        "lastTransitionTime": text("When `status` changed."),
                    },
                },
            },
            "addresses": {
                "description": "Where it can be reached.",
                "type": "array",
                "nullable": true,
                "items": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {
                        "type": text("IPAddress or Hostname."),
                        "value": text("The address."),
                    },
                },
            },
            "state": text("State in one word, as Emissary writes it."),
            "reason": text("Why, as Emissary writes it."),
        },
    })
}
