//! A real Kubernetes API: etcd and kube-apiserver on loopback, without nodes.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Client, Config};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};
use service_kit::Object;

use crate::process::{PATIENCE, Process};
use crate::{TempDir, free_port};

/// The API server, the store behind it, and a client that may do everything.
pub struct Cluster {
    folder: TempDir,
    port: u16,
    etcd_port: u16,
    apiserver: Option<Process>,
    _etcd: Process,
    runtime: tokio::runtime::Runtime,
    client: Client,
}

/// Where `scripts/cluster/install-tools.sh` puts what it builds.
fn tool(name: &str) -> PathBuf {
    let path = crate::cache().join("kube-v1.34.4").join(name);
    assert!(path.is_file(), "{} is not there; run `make tools`", path.display());
    path
}

impl Cluster {
    /// Starts both and waits until the API server is ready.
    pub fn start() -> Self {
        // Two providers may be linked into a test; the programs choose one themselves.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = TempDir::new("cluster");
        make_certificates(&folder);
        let (port, etcd_port) = (free_port(), free_port());
        let etcd = start_etcd(&folder, etcd_port);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let kubeconfig = kubeconfig(
            port,
            json!({"client-certificate": file(&folder, "admin.crt"), "client-key": file(&folder, "admin.key")}),
            &file(&folder, "ca.crt"),
        );
        folder.write("kubeconfig", &kubeconfig);
        let client = runtime.block_on(connect(&kubeconfig));
        let mut cluster =
            Self { folder, port, etcd_port, apiserver: None, _etcd: etcd, runtime, client };
        cluster.start_apiserver();
        cluster.wait("the namespace default", || {
            cluster.get("v1", "Namespace", "", "default").is_some()
        });
        cluster
    }

    /// The kubeconfig of somebody who may do everything.
    pub fn kubeconfig(&self) -> String {
        file(&self.folder, "kubeconfig")
    }

    /// The kubeconfig of a service account, which must exist.
    pub fn kubeconfig_of(&self, namespace: &str, account: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .body(
                br#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}"#
                    .to_vec(),
            )
            .unwrap();
        let answer: Value = self.runtime.block_on(self.client.request(request)).unwrap();
        let user = json!({"token": answer["status"]["token"]});
        let name = format!("{namespace}-{account}.kubeconfig");
        self.folder.write(&name, &kubeconfig(self.port, user, &file(&self.folder, "ca.crt")));
        file(&self.folder, &name)
    }

    /// Ends the API server; what it stored stays.
    pub fn stop_apiserver(&mut self) {
        if let Some(mut apiserver) = self.apiserver.take() {
            // As a node that dies: its connections end at once.
            crate::process::signal("KILL", apiserver.id());
            apiserver.wait_end();
        }
    }

    /// Starts the API server again, on the same port.
    pub fn start_apiserver(&mut self) {
        let arg = |name: &str, value: String| format!("--{name}={value}");
        let f = |name: &str| file(&self.folder, name);
        let arguments = [
            arg("etcd-servers", format!("http://127.0.0.1:{}", self.etcd_port)),
            arg("bind-address", "127.0.0.1".to_owned()),
            arg("advertise-address", "127.0.0.1".to_owned()),
            arg("secure-port", self.port.to_string()),
            arg("tls-cert-file", f("server.crt")),
            arg("tls-private-key-file", f("server.key")),
            arg("client-ca-file", f("ca.crt")),
            arg("authorization-mode", "RBAC".to_owned()),
            arg("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
            arg("service-account-key-file", f("accounts.pub")),
            arg("service-account-signing-key-file", f("accounts.key")),
            arg("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
            arg("endpoint-reconciler-type", "none".to_owned()),
            arg("cert-dir", f("run")),
            // No controller makes service accounts here.
            arg("disable-admission-plugins", "ServiceAccount".to_owned()),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut apiserver = Process::start(&tool("kube-apiserver"), &arguments, &[]);
        let ready = || http::Request::get("/readyz").body(Vec::new()).unwrap();
        apiserver.wait("ready", |_| {
            self.runtime
                .block_on(async {
                    let asked = self.client.request_text(ready());
                    tokio::time::timeout(Duration::from_secs(1), asked).await
                })
                .is_ok_and(|answer| answer.is_ok_and(|text| text == "ok"))
        });
        self.apiserver = Some(apiserver);
    }

    /// Applies the objects of a YAML text, server-side.
    pub fn apply(&self, yaml: &str) {
        let (objects, found) = Object::from_yaml(yaml, "test.yaml").unwrap();
        assert!(found.is_empty(), "{found:?}");
        for object in objects {
            self.apply_json(object.json);
        }
    }

    /// As [`Self::apply`], of one object.
    pub fn apply_json(&self, object: Value) {
        if let Err(e) = self.try_apply(object.clone()) {
            panic!("{e}\n{object}");
        }
    }

    /// Applies many objects of the gateway's group, several at a time.
    pub fn apply_all(&self, objects: impl Iterator<Item = Value>) {
        use futures::StreamExt as _;
        let applied = futures::stream::iter(objects)
            .map(|object| {
                let text = |pointer: &str| {
                    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
                };
                let api =
                    self.api(&text("/apiVersion"), &text("/kind"), &text("/metadata/namespace"));
                async move {
                    let object: DynamicObject = serde_json::from_value(object).unwrap();
                    api.create(&Default::default(), &object).await.unwrap();
                }
            })
            .buffer_unordered(16)
            .for_each(|()| async {});
        self.runtime.block_on(applied);
    }

    /// As [`Self::apply`]; the answer is the API server's words.
    pub fn try_apply(&self, object: Value) -> Result<(), String> {
        self.patch(object, &PatchParams::apply("test").force())
    }

    /// As [`Self::try_apply`]; a field that is not in the kind's schema is an error, too.
    ///
    /// # Errors
    /// What the API server says.
    pub fn try_apply_strictly(&self, object: Value) -> Result<(), String> {
        self.patch(object, &PatchParams::apply("test").force().validation_strict())
    }

    fn patch(&self, object: Value, parameters: &PatchParams) -> Result<(), String> {
        let text = |pointer: &str| {
            object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let (version, kind) = (text("/apiVersion"), text("/kind"));
        let mut namespace = text("/metadata/namespace");
        if namespace.is_empty() && is_namespaced(&kind) {
            namespace = "default".to_owned();
        }
        let api = self.api(&version, &kind, &namespace);
        let (name, patch) = (text("/metadata/name"), Patch::Apply(&object));
        let patched = self.runtime.block_on(api.patch(&name, parameters, &patch));
        patched.map(|_| ()).map_err(|e| e.to_string())
    }

    /// An object as JSON; none when it is not there.
    pub fn get(&self, version: &str, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let api = self.api(version, kind, namespace);
        let object = self.runtime.block_on(api.get_opt(name)).ok()??;
        serde_json::to_value(object).ok()
    }

    /// All objects of a kind in a namespace.
    pub fn list(&self, version: &str, kind: &str, namespace: &str) -> Vec<Value> {
        let api = self.api(version, kind, namespace);
        let list = self.runtime.block_on(api.list(&ListParams::default())).unwrap();
        list.items.into_iter().map(|o| serde_json::to_value(o).unwrap()).collect()
    }

    /// Deletes an object.
    pub fn delete(&self, version: &str, kind: &str, namespace: &str, name: &str) {
        let api = self.api(version, kind, namespace);
        self.runtime.block_on(api.delete(name, &DeleteParams::default())).unwrap();
    }

    /// Writes a part of an object's status.
    pub fn patch_status(
        &self,
        version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
        status: &Value,
    ) {
        let api = self.api(version, kind, namespace);
        let patch = Patch::Merge(json!({"status": status}));
        let parameters = PatchParams::default();
        self.runtime.block_on(api.patch_status(name, &parameters, &patch)).unwrap();
    }

    /// A condition of an object of the gateway's group: `True Accepted message`.
    pub fn condition(&self, kind: &str, name: &str, condition: &str) -> Option<Value> {
        let object = self.get("getambassador.io/v3alpha1", kind, "default", name)?;
        let generation = &object["metadata"]["generation"];
        let conditions = object["status"]["conditions"].as_array()?;
        let of_type = conditions.iter().find(|c| c["type"] == condition)?;
        (of_type["observedGeneration"] == *generation).then(|| of_type.clone())
    }

    /// Waits until a condition of the newest generation has this status, and gives it.
    pub fn wait_condition(&self, kind: &str, name: &str, condition: &str, status: &str) -> Value {
        let mut last = None;
        self.wait(&format!("{kind} {name} {condition}={status}"), || {
            last = self.condition(kind, name, condition);
            last.as_ref().is_some_and(|c| c["status"] == status)
        });
        last.unwrap()
    }

    /// Waits for anything of the cluster.
    pub fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < end, "{what} does not come");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn api(&self, version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (group, short) = version.split_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, short, kind));
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }
}

fn is_namespaced(kind: &str) -> bool {
    let cluster_wide = ["Namespace", "CustomResourceDefinition", "IngressClass"];
    !kind.starts_with("Cluster") && !kind.contains("Webhook") && !cluster_wide.contains(&kind)
}

fn start_etcd(folder: &TempDir, port: u16) -> Process {
    let client = format!("http://127.0.0.1:{port}");
    let peer = format!("http://127.0.0.1:{}", free_port());
    let cluster = format!("test={peer}");
    let mut etcd = Process::start(
        &tool("etcd"),
        &[
            "--name",
            "test",
            "--data-dir",
            &file(folder, "etcd"),
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &cluster,
            "--unsafe-no-fsync",
        ],
        &[],
    );
    etcd.wait("listening", |_| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    etcd
}

fn file(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

fn kubeconfig(port: u16, user: Value, ca: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority": ca,
        }}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    })
    .to_string()
}

async fn connect(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    Client::try_from(config).unwrap()
}

/// A CA, the API server's certificate, the administrator's, and the key of service accounts.
fn make_certificates(folder: &TempDir) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = named(&[(DnType::CommonName, "test-ca")]);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    folder.write("ca.crt", &ca.self_signed(&ca_key).unwrap().pem());
    let issuer = Issuer::new(ca, ca_key);
    let mut server = named(&[(DnType::CommonName, "kube-apiserver")]);
    server.subject_alt_names = vec![
        SanType::DnsName("localhost".try_into().unwrap()),
        SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
    ];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mut admin =
        named(&[(DnType::OrganizationName, "system:masters"), (DnType::CommonName, "admin")]);
    admin.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    for (name, parameters) in [("server", server), ("admin", admin)] {
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &issuer).unwrap();
        folder.write(&format!("{name}.crt"), &certificate.pem());
        folder.write(&format!("{name}.key"), &key.serialize_pem());
    }
    let accounts = KeyPair::generate().unwrap();
    folder.write("accounts.key", &accounts.serialize_pem());
    folder.write("accounts.pub", &accounts.public_key_pem());
}

fn named(names: &[(DnType, &str)]) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    for (kind, value) in names {
        parameters.distinguished_name.push(kind.clone(), *value);
    }
    parameters
}
