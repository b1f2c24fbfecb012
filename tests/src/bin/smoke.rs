//! `make smoke`: runs the demo as README does, makes its requests, and shows each status and why.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::process::ExitCode;

use e2e::http::{self, Request};
use e2e::process::{Process, program};

/// A request of the demo.
struct Row {
    what: &'static str,
    path: &'static str,
    header: Option<(&'static str, String)>,
    /// The statuses of requests in turn; 429 may come later when a minute ends in between.
    want: &'static [u16],
    why: &'static str,
}

fn rows() -> Vec<Row> {
    let token = |user: &str| {
        let path = e2e::root().join(format!("../docs/examples/tokens/{user}.jwt"));
        Some(("authorization", format!("Bearer {}", std::fs::read_to_string(path).unwrap().trim())))
    };
    let row = |what, path, header, want, why| Row { what, path, header, want, why };
    vec![
        row(
            "GET /backend/hello",
            "/backend/hello",
            None,
            &[200],
            "open to all; the prefix is replaced by /",
        ),
        row("GET /nowhere", "/nowhere", None, &[404], "no Mapping"),
        row(
            "GET /private/hello",
            "/private/hello",
            None,
            &[401],
            "FilterPolicy wants a token, there is none",
        ),
        row(
            "… with a broken token",
            "/private/hello",
            Some(("authorization", "Bearer x.y.z".to_owned())),
            &[401],
            "not a JWT",
        ),
        row(
            "… as alice",
            "/private/hello",
            token("alice"),
            &[200],
            "her token is good; the backend sees x-user: alice",
        ),
        row(
            "… as alice, again and again",
            "/private/hello",
            token("alice"),
            &[200, 429],
            "3 a minute per user",
        ),
        row("… as bob", "/private/hello", token("bob"), &[200], "his own limit is not used up"),
        row("GET /partner/hello", "/partner/hello", None, &[401], "FilterPolicy wants an API key"),
        row(
            "… with the wrong key",
            "/partner/hello",
            Some(("x-api-key", "guess".to_owned())),
            &[401],
            "not one of the Secret's keys",
        ),
        row(
            "… with the key",
            "/partner/hello",
            Some(("x-api-key", "quickstart-partner".to_owned())),
            &[200],
            "one of the Secret's keys",
        ),
        row(
            "GET /backend/, again and again",
            "/backend/x",
            None,
            &[200, 429],
            "10 a minute per client address",
        ),
    ]
}

fn main() -> ExitCode {
    let top = e2e::root().join("..");
    let folder = top.join("docs/examples/quickstart");
    println!("Starting the demo of docs/examples/quickstart …");
    let arguments = ["run", "--config", folder.to_str().unwrap(), "--echo", "127.0.0.1:9080"];
    let mut demo = Process::start(&program("gateway-ctl"), &arguments, &[]);
    demo.wait_log("Ready.");
    let listener = SocketAddr::from(([127, 0, 0, 1], 8080));
    let mut good = true;
    println!("\n{:<34} {:<12} {:<4} why", "request", "status", "");
    for row in rows() {
        let got = ask(listener, &row);
        let as_wanted = got == row.want;
        good &= as_wanted;
        let text = got.iter().map(u16::to_string).collect::<Vec<_>>().join(", then ");
        let mark = if as_wanted { "ok" } else { "WRONG" };
        println!("{:<34} {text:<12} {mark:<4} {}", row.what, row.why);
        if !as_wanted {
            println!("    expected {:?}", row.want);
        }
    }
    demo.terminate();
    good &= demo.wait_end().success();
    if good {
        println!("\nAll as documented.");
        return ExitCode::SUCCESS;
    }
    println!("\nNot as documented. What the demo said:\n{}", demo.log());
    ExitCode::FAILURE
}

/// The statuses that come in turn, each once, until the wanted ones did (at most 25 requests).
fn ask(listener: SocketAddr, row: &Row) -> Vec<u16> {
    let mut got: Vec<u16> = Vec::new();
    for _ in 0..25 {
        let mut request = Request::get(row.path, "127.0.0.1:8080");
        if let Some((name, value)) = &row.header {
            request = request.header(name, value);
        }
        let status = http::send(listener, &request).map_or(0, |r| r.status);
        if got.last() != Some(&status) {
            got.push(status);
        }
        if got.len() >= row.want.len() {
            break;
        }
    }
    got
}
