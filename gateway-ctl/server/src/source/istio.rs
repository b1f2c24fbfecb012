//! Certificates that Istio's agent writes to a folder, as the Secret `istio-certs` of the own
//! namespace: put among the changes of another source, and followed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};
use service_kit::server::files::{self, Watch};
use service_kit::server::objects::Change;
use service_kit::server::shutdown::Shutdown;
use service_kit::{Diagnostic, Object, ObjectRef, Severity};
use tokio::sync::mpsc;

use super::{Noticed, WAITING};

/// The name of the Secret, as Emissary has it.
const NAME: &str = "istio-certs";
/// The files, which become keys of the Secret.
const FILES: [&str; 3] = ["cert-chain.pem", "key.pem", "root-cert.pem"];

/// A folder with Istio's certificates.
pub struct Istio {
    folder: PathBuf,
    namespace: String,
    watch: Watch,
    /// What is wrong with the folder.
    fault: Option<Diagnostic>,
    /// What was wrong with the other source last.
    others: Vec<Diagnostic>,
    known: Option<Value>,
    /// Whether the other source has told its first change; before that nobody is told anything.
    begun: bool,
}

impl Istio {
    /// Watches `folder`, for a controller in `namespace`.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn open(folder: PathBuf, namespace: String) -> io::Result<Self> {
        let watch = Watch::new(&folder)?;
        Ok(Self {
            folder,
            namespace,
            watch,
            fault: None,
            others: Vec::new(),
            known: None,
            begun: false,
        })
    }

    /// The changes of `source`, with the Secret in the first of them and a change whenever a file
    /// does.
    pub fn join(
        mut self,
        mut source: mpsc::Receiver<Noticed>,
        shutdown: Shutdown,
    ) -> mpsc::Receiver<Noticed> {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            loop {
                let noticed = tokio::select! {
                    noticed = source.recv() => {
                        let Some(mut noticed) = noticed else { return };
                        self.others.clone_from(&noticed.change.found);
                        if !self.begun {
                            self.read(&mut noticed.change);
                        }
                        noticed
                    }
                    () = self.watch.changed(), if self.begun => {
                        let mut change = Change::default();
                        self.read(&mut change);
                        change.found.clone_from(&self.others);
                        Noticed { change, at: Instant::now() }
                    }
                    () = shutdown.wait() => return,
                };
                let mut noticed = noticed;
                noticed.change.found.extend(self.fault.clone());
                if sender.send(noticed).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }

    /// Reads the files into the other source's first change, or into one of its own. What was read before stays when they are not all there:
    /// Istio's agent writes one after the other.
    pub fn read(&mut self, change: &mut Change) {
        self.begun = true;
        let read = match files::read(&self.folder) {
            Ok(files) => files,
            Err(e) => return self.fail(format!("{} cannot be read: {e}", self.folder.display())),
        };
        let mut data = Map::new();
        for name in FILES {
            match read.get(name).filter(|text| !text.is_empty()) {
                Some(text) => {
                    data.insert(name.to_owned(), json!(text));
                }
                None => return self.fail(format!("{} has no {name}", self.folder.display())),
            }
        }
        self.fault = None;
        let data = Value::Object(data);
        if self.known.as_ref() == Some(&data) {
            return;
        }
        let object = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": NAME, "namespace": self.namespace},
            // Not Istio's own type: the authorities are there to be named, but not meant unasked.
            "type": "Opaque",
            "stringData": data,
        });
        match Object::from_json(object) {
            Ok(object) => change.applied.push(Arc::new(object)),
            Err(why) => self.fault = Some(*why),
        }
        self.known = Some(data);
    }

    fn fail(&mut self, text: String) {
        let secret = ObjectRef::new("Secret", &self.namespace, NAME);
        let mut d = Diagnostic::new(Severity::Warning, secret, "", text);
        d.hint("it is read again when it changes; what was read before stays in force");
        self.fault = Some(d);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_a_secret_and_are_followed() {
        let folder = std::env::temp_dir().join(format!("istio-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("cert-chain.pem", "c1");
        write("key.pem", "k1");
        let istio = Istio::open(folder.clone(), "edge".to_owned()).unwrap();
        let (shutdown, _trigger) = Shutdown::manual();
        let (sender, receiver) = mpsc::channel(1);
        let mut joined = istio.join(receiver, shutdown);
        let first = Noticed { change: Change::default(), at: Instant::now() };
        sender.send(first).await.unwrap();
        let noticed = joined.recv().await.unwrap();
        assert!(noticed.change.applied.is_empty());
        assert!(noticed.change.found[0].message.contains("has no root-cert.pem"));
        write("root-cert.pem", "r1");
        let secret = loop {
            let noticed = joined.recv().await.unwrap();
            if let Some(object) = noticed.change.applied.first() {
                assert!(noticed.change.found.is_empty(), "{:?}", noticed.change.found);
                break object.clone();
            }
        };
        assert_eq!(secret.reference, ObjectRef::new("Secret", "edge", "istio-certs"));
        assert_eq!(secret.json["stringData"]["key.pem"], "k1");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
