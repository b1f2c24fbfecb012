//! Kinds of Filter through the real program: passwords, and code of users.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::authorizer::Authorizer;
use e2e::process::Process;
use e2e::{TempDir, free_addr};

fn policy(filter: &str) -> String {
    format!(
        "---\napiVersion: getambassador.io/v3alpha1\nkind: FilterPolicy\n\
         metadata: {{name: all, namespace: edge}}\n\
         spec: {{rules: [{{filters: [{{name: {filter}}}]}}]}}\n"
    )
}

fn filter(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: getambassador.io/v3alpha1\nkind: Filter\n\
         metadata: {{name: {name}, namespace: edge}}\nspec: {{{spec}}}\n"
    )
}

#[test]
fn a_password_is_held_against_its_hash() {
    let folder = TempDir::new("basic");
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: staff, namespace: edge}\n\
                  stringData:\n  auth: |\n    \
                  ann:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/\n";
    let spec = "Basic: {users: [{secretName: staff}], \
                injectRequestHeaders: [{name: x-user, value: '{{ .user }}'}]}";
    folder.write("a.yaml", &format!("{secret}{}{}", filter("staff", spec), policy("staff")));
    let mut service = Authorizer::start(&folder, &[], &[]);
    let mut ask = |text: &str| {
        let header = format!("Basic {}", STANDARD.encode(text));
        service.get("a.test", "/", &[("authorization", &header)])
    };
    let good = ask("ann:myPassword");
    assert_eq!((good.allow, good.header("x-user")), (true, Some("ann")));
    let bad = ask("ann:yourPassword");
    assert_eq!(bad.status, 401);
    assert_eq!(
        bad.header("www-authenticate"),
        Some("Basic realm=\"staff.edge\", charset=\"UTF-8\"")
    );
    assert!(!service.process.log().contains("Password"));
}

#[test]
fn a_plugin_of_edge_stack_runs_as_a_server() {
    let (folder, source) = (TempDir::new("plugin"), TempDir::new("plugin-source"));
    source.write("go.mod", "module mine\n\ngo 1.21\n");
    source.write(
        "main.go",
        r#"package main

import "net/http"

func PluginMain(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Pass") == "" {
		w.Header().Set("X-Why", r.Host)
		http.Error(w, "not so", http.StatusTeapot)
		return
	}
	w.Header().Set("X-User", "ann")
}
"#,
    );
    let shim = folder.path().join("plugin-shim");
    let build = |source: &std::path::Path, mode: &str, to: &std::path::Path| {
        let mut go = Command::new("go");
        go.args(["build", mode, "-o"]).arg(to).arg(".").current_dir(source);
        let run = go.output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    build(&e2e::root().join("../deploy/plugin-shim"), "-buildmode=default", &shim);
    let plugin = folder.path().join("plugin.so");
    build(source.path(), "-buildmode=plugin", &plugin);
    let addr = free_addr();
    let arguments = ["-listen", &addr.to_string(), plugin.to_str().unwrap()];
    let mut server = Process::start(&shim, &arguments, &[]);
    server.wait("the plugin", |_| std::net::TcpStream::connect(addr).is_ok());

    let objects = TempDir::new("plugin-objects");
    let spec = format!("Plugin: {{name: mine, url: 'http://{addr}'}}");
    objects.write("a.yaml", &format!("{}{}", filter("mine", &spec), policy("mine")));
    let mut service = Authorizer::start(&objects, &[], &[]);
    let good = service.get("a.test", "/", &[("x-pass", "1")]);
    assert_eq!((good.allow, good.header("x-user")), (true, Some("ann")));
    let refused = service.get("a.test", "/", &[]);
    assert_eq!((refused.status, refused.body.trim()), (418, "not so"));
    assert_eq!(refused.header("x-why"), Some("a.test"));
}

#[test]
fn conditions_in_cel_judge_who_an_earlier_filter_found() {
    let folder = TempDir::new("cel");
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: staff, namespace: edge}\n\
                  stringData:\n  auth: |\n    \
                  ann:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/\n";
    let cel = "CEL: {rules: [\
        {name: own, expression: \"request.path.startsWith('/users/' + identity.subject + '/')\", \
         message: only your own}, \
        {name: tenant, expression: \"request.headers['x-tenant'] == 'acme'\", statusCode: 401}]}";
    let policy = "---\napiVersion: getambassador.io/v3alpha1\nkind: FilterPolicy\n\
         metadata: {name: all, namespace: edge}\n\
         spec: {rules: [{filters: [{name: staff}, {name: rules}]}]}\n";
    let staff = filter("staff", "Basic: {users: [{secretName: staff}]}");
    folder.write("a.yaml", &format!("{secret}{staff}{}{policy}", filter("rules", cel)));
    let mut service = Authorizer::start(&folder, &[], &[]);
    let ann = format!("Basic {}", STANDARD.encode("ann:myPassword"));
    let (ann, acme) = (("authorization", ann.as_str()), ("x-tenant", "acme"));
    assert!(service.get("a.test", "/users/ann/1", &[ann, acme]).allow);
    let other = service.get("a.test", "/users/bob/1", &[ann, acme]);
    assert_eq!((other.status, other.body.contains("only your own")), (403, true));
    assert_eq!(service.get("a.test", "/users/ann/1", &[ann]).status, 401, "an error denies");
    let decisions = e2e::http::get(service.admin, "/decisions").unwrap().body;
    assert!(decisions.contains("rule tenant: there is no `x-tenant`"), "{decisions}");
}

/// A policy in the form of those in OPA's documentation for Envoy, and what it decides.
#[test]
fn a_policy_of_opas_decides_unchanged() {
    let folder = TempDir::new("rego");
    let rego = r#"
  Rego:
    data: {roles: {ann: reader, bob: editor}}
    policies:
      authz.rego: |
        package envoy.authz

        import input.attributes.request.http as request

        default allow := {"allowed": false, "http_status": 401, "headers": {"x-why": "unknown"}}

        allow := {
            "allowed": true,
            "headers": {"x-role": role},
            "request_headers_to_remove": ["x-user"],
            "response_headers_to_add": {"x-policy": "roles"},
            "dynamic_metadata": {"role": role},
        } if permitted

        role := data.roles[request.headers["x-user"]]

        permitted if {
            role == "reader"
            request.method == "GET"
            input.parsed_path[0] == "articles"
        }

        permitted if {
            role == "editor"
            input.parsed_query.draft == ["true"]
        }
"#;
    let object = "---\napiVersion: getambassador.io/v3alpha1\nkind: Filter\n\
                  metadata: {name: roles, namespace: edge}\nspec:";
    folder.write("a.yaml", &format!("{object}{rego}{}", policy("roles")));
    let mut service = Authorizer::start(&folder, &[], &[]);
    for (user, path, role) in [
        ("ann", "/articles/1", Some("reader")),
        ("ann", "/articles", Some("reader")),
        ("ann", "/drafts?draft=true", None),
        ("bob", "/drafts?draft=true", Some("editor")),
        ("bob", "/drafts?draft=true&draft=false", None),
        ("eve", "/articles/1", None),
    ] {
        let answer = service.get("a.test", path, &[("x-user", user)]);
        assert_eq!(answer.allow, role.is_some(), "{user} {path}");
        if role.is_some() {
            assert_eq!(answer.header("x-role"), role, "{user} {path}");
        } else {
            assert_eq!((answer.status, answer.header("x-why")), (401, Some("unknown")), "{path}");
        }
    }
}
