//! Many Mappings in files of YAML, in two shapes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use clap::ValueEnum;

/// Mappings that share a file.
const PER_FILE: usize = 500;
/// Hosts of [`Shape::ManyHosts`].
const HOSTS: usize = 100;
/// Services that many Mappings share, where nothing else is wanted.
pub const SERVICES: usize = 1000;

/// How Mappings are spread over Hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// All are on one Host.
    OneHost,
    /// Over 100 Hosts.
    ManyHosts,
}

impl Shape {
    /// As a row of a table calls it.
    pub fn text(self, mappings: usize) -> String {
        match self {
            Self::OneHost => format!("1 × {mappings}"),
            Self::ManyHosts => format!("{HOSTS} × {}", mappings / HOSTS),
        }
    }
}

/// A configuration of many Mappings.
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    /// How they are spread.
    pub shape: Shape,
    /// How many there are.
    pub mappings: usize,
    /// How many services they share: a cluster each.
    pub services: usize,
    /// Where Envoy listens.
    pub listener: SocketAddr,
    /// The port of the backends, each at an address of its own of 127.0.0.0/8.
    pub backend: u16,
}

impl Configuration {
    /// The name that requests for a Mapping have to ask for.
    pub fn host(&self, number: usize) -> String {
        match self.shape {
            Shape::OneHost => "one.test".to_owned(),
            Shape::ManyHosts => format!("h{}.test", number % HOSTS),
        }
    }

    /// The beginning of the paths of a Mapping.
    pub fn prefix(number: usize) -> String {
        format!("/other/{number}/")
    }

    /// A version of a Mapping: it says `/vVERSION/` to the backend.
    pub fn mapping(&self, number: usize, version: usize) -> String {
        let service = number % self.services;
        let address = format!("127.1.{}.{}", service / 250, 1 + service % 250);
        format!(
            "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: other-{number}}}\n\
             spec:\n  hostname: {}\n  prefix: {}\n  rewrite: /v{version}/\n  service: {address}:{}\n",
            self.host(number),
            Self::prefix(number),
            self.backend
        )
    }

    /// All files by their names. Mapping 0 has `changed.yaml` for itself.
    pub fn files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        files.insert("gateway.yaml".to_owned(), self.gateway());
        files.insert("changed.yaml".to_owned(), self.mapping(0, 0));
        let others: Vec<usize> = (1..self.mappings).collect();
        for (file, numbers) in others.chunks(PER_FILE).enumerate() {
            let texts: Vec<String> = numbers.iter().map(|n| self.mapping(*n, 0)).collect();
            files.insert(format!("others-{file:03}.yaml"), texts.join("---\n"));
        }
        files
    }

    fn gateway(&self) -> String {
        let mut text = format!(
            "apiVersion: getambassador.io/v3alpha1\nkind: Listener\nmetadata: {{name: http}}\n\
             spec: {{port: {}, protocol: HTTP, securityModel: INSECURE, hostBinding: {{namespace: {{from: ALL}}}}}}\n",
            self.listener.port()
        );
        let hosts = if self.shape == Shape::OneHost { 1 } else { HOSTS };
        for number in 0..hosts {
            text += &format!(
                "---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {{name: host-{number}}}\n\
                 spec: {{hostname: {}, requestPolicy: {{insecure: {{action: Route}}}}}}\n",
                self.host(number)
            );
        }
        text
    }
}

/// The value below which `percent` of `sorted` are.
pub fn percentile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let last = sorted.len().saturating_sub(1);
    sorted.get((sorted.len() * percent / 100).min(last)).copied().unwrap_or_default()
}
