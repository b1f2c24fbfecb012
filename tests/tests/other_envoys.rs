//! The objects of docs/other-envoys.md are taken by a real API server with the
//! CustomResourceDefinitions of the gateways they are for, with no field too many.

#![allow(clippy::unwrap_used)]

use e2e::kubernetes::Cluster;
use service_kit::Object;

/// Gateways whose definitions `scripts/install-other-envoys.sh` gets, and the API groups they have.
const GATEWAYS: [(&str, &str); 5] = [
    ("contour", "projectcontour.io"),
    ("istio", "security.istio.io"),
    ("envoy-gateway", "gateway.envoyproxy.io"),
    ("kgateway", "gateway.kgateway.dev"),
    ("gateway-api", "gateway.networking.k8s.io"),
];

fn definitions(name: &str) -> String {
    let cache = e2e::cache().join("other-envoys").join(format!("{name}.yaml"));
    std::fs::read_to_string(&cache)
        .unwrap_or_else(|e| panic!("{}: {e}; run `make tools`", cache.display()))
}

#[test]
fn a_real_api_server_takes_what_the_page_says() {
    let cluster = Cluster::start();
    for namespace in ["edge", "apps", "istio-system"] {
        cluster.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}"));
    }
    for (name, _) in GATEWAYS {
        cluster.apply(&definitions(name));
    }
    let page = std::fs::read_to_string(e2e::root().join("../docs/other-envoys.md")).unwrap();
    let mut seen = Vec::new();
    let blocks = page.split("```yaml\n").skip(1).filter_map(|b| b.split("```").next());
    for block in blocks.filter(|b| b.contains("apiVersion:")) {
        let (objects, found) = Object::from_yaml(block, "page.yaml").unwrap();
        assert!(found.is_empty(), "{found:?}");
        for object in objects {
            let group = object.api_version.split('/').next().unwrap().to_owned();
            if group == "getambassador.io" {
                continue;
            }
            cluster.wait(&format!("the definition of {}", object.reference.kind), || {
                match cluster.try_apply_strictly(object.json.clone()) {
                    Ok(()) => true,
                    // A definition takes a moment until its objects are taken.
                    Err(e) if e.contains("404") || e.contains("not find") => false,
                    Err(e) => panic!("{}: {e}", object.reference),
                }
            });
            seen.push(group);
        }
    }
    for (_, group) in GATEWAYS {
        assert!(seen.iter().any(|g| g == group), "no object of {group} on the page");
    }
}
