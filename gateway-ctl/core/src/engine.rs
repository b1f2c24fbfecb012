//! The incremental engine.

use std::sync::Arc;

use service_kit::{Diagnostic, Object, ObjectRef};

use crate::output::{Output, Resource, ResourceType};
use crate::overview::Overview;

/// What the engine is told once, at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which objects are taken: those whose `ambassador_id` has it. `default` unless told.
    pub ambassador_id: String,
    /// The controller's own namespace: services of its Mappings need no qualification.
    pub namespace: String,
    /// The address of Listeners that name none.
    pub bind_address: String,
    /// Where Envoy writes its access log.
    pub access_log_path: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ambassador_id: "default".to_owned(),
            namespace: "default".to_owned(),
            bind_address: "0.0.0.0".to_owned(),
            access_log_path: "/dev/stdout".to_owned(),
        }
    }
}

/// Keeps the resources in step with the objects.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    resources: Vec<Resource>,
}

impl Engine {
    /// An engine that knows no object yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, resources: Vec::new() }
    }

    /// What it was told at the start.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes new and changed objects and deletions, in this order, as one change.
    pub fn apply(&mut self, _applied: Vec<Arc<Object>>, _deleted: Vec<ObjectRef>) -> Output {
        Output::default()
    }

    /// Takes Envoy's refusal of a resource: what it had before stays until the inputs change.
    pub fn reject(&mut self, _kind: ResourceType, _name: &str, _message: &str) -> Output {
        Output::default()
    }

    /// Everything in force, in the order of [`ResourceType`], then by name.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter()
    }

    /// Everything wrong now, sorted.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        Vec::new()
    }

    /// What is in force, for people.
    pub fn overview(&self) -> Overview {
        Overview::default()
    }
}
