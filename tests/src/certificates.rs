//! Certificates of a test: made of the names that a case gives, by authorities that it names.

use std::collections::BTreeMap;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

use crate::cases;

/// A certificate with its key.
#[derive(Debug)]
pub struct Certificate {
    /// Its own, then that of its authority.
    pub chain: String,
    /// Its key.
    pub key: String,
    parameters: CertificateParams,
    serial: u64,
}

/// The certificates of a case, by name.
#[derive(Debug, Default)]
pub struct Certificates {
    all: BTreeMap<String, Certificate>,
    secrets: Vec<Value>,
}

impl Certificates {
    /// Makes those of `certs` (name to names, or to `{names, ca, ca_only, expired, wrong_key,
    /// secret, namespace, istio}`; `istio` names the authority in a Secret of Istio's type) and the lists of `crls` (name to `{ca, revoked}`).
    ///
    /// # Panics
    /// When an authority is not there.
    pub fn of(case: &Value) -> Self {
        let mut made = Self::default();
        let rows: Vec<_> = case["certs"].as_object().into_iter().flatten().collect();
        // Authorities first: others are signed by them.
        let (first, rest): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(_, spec)| spec["ca"].is_null());
        for (name, spec) in first.into_iter().chain(rest) {
            made.add(name, spec);
        }
        for (name, spec) in case["crls"].as_object().into_iter().flatten() {
            let pem = made.revoke(spec);
            made.secrets.push(secret(name, spec, json!({"crl.pem": pem})));
        }
        made
    }

    /// Makes one more.
    ///
    /// # Panics
    /// When its authority is not there.
    pub fn add(&mut self, name: &str, spec: &Value) {
        let names = if spec["names"].is_null() { spec } else { &spec["names"] };
        let names: Vec<String> = cases::listed(names).iter().map(cases::text).collect();
        let mut parameters = CertificateParams::new(names.clone()).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        let common_name = names.first().cloned().unwrap_or_default();
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        let serial = self.all.len() as u64 + 1;
        parameters.serial_number = Some(serial.into());
        parameters.key_identifier_method = KeyIdMethod::Sha256;
        if spec["expired"] == true {
            parameters.not_before = date_time_ymd(2001, 1, 1);
            parameters.not_after = date_time_ymd(2002, 1, 1);
        }
        if spec["ca_only"] == true {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }
        let key = KeyPair::generate().unwrap();
        let chain = match spec["ca"].as_str() {
            None => parameters.self_signed(&key).unwrap().pem(),
            Some(ca) => {
                let issuer = self.issuer(ca);
                let own = parameters.signed_by(&key, &issuer).unwrap().pem();
                format!("{own}{}", self.all[ca].chain)
            }
        };
        let mut data = json!({"tls.crt": chain});
        if spec["ca_only"] != true {
            let other = KeyPair::generate().unwrap().serialize_pem();
            let wrong = spec["wrong_key"] == true;
            data["tls.key"] = json!(if wrong { other } else { key.serialize_pem() });
        }
        if let Some(root) = spec["istio"].as_str() {
            data = json!({
                "cert-chain.pem": data["tls.crt"],
                "key.pem": data["tls.key"],
                "root-cert.pem": self.get(root).chain,
            });
        }
        if spec["secret"] != false {
            self.secrets.push(secret(name, spec, data));
        }
        let key = key.serialize_pem();
        self.all.insert(name.to_owned(), Certificate { chain, key, parameters, serial });
    }

    fn issuer(&self, name: &str) -> Issuer<'static, KeyPair> {
        let ca = self.all.get(name).unwrap_or_else(|| panic!("there is no certificate {name}"));
        Issuer::new(ca.parameters.clone(), KeyPair::from_pem(&ca.key).unwrap())
    }

    fn revoke(&self, spec: &Value) -> String {
        let names = cases::listed(&spec["revoked"]);
        let revoked = names.iter().map(|name| RevokedCertParams {
            serial_number: SerialNumber::from(self.all[name.as_str().unwrap()].serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer(spec["ca"].as_str().unwrap())).unwrap().pem().unwrap()
    }

    /// The certificate of this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn get(&self, name: &str) -> &Certificate {
        self.all.get(name).unwrap_or_else(|| panic!("there is no certificate {name}"))
    }

    /// The Secrets, as objects of Kubernetes.
    pub fn secrets(&self) -> &[Value] {
        &self.secrets
    }
}

fn secret(name: &str, spec: &Value, data: Value) -> Value {
    let name = spec["secret"].as_str().unwrap_or(name);
    let namespace = spec["namespace"].as_str().unwrap_or("default");
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": if spec["istio"].is_null() { "Opaque" } else { "istio.io/key-and-cert" },
        "stringData": data,
    })
}
