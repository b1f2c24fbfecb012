//! The commands of the documentation do what it says: each `sh` block of the pages is run, in order,
//! against what the page starts. A `curl` that ends in `# 200` must get that status; `# 200, then 429`
//! one after the other; `# 200 "text"` a body or header with that text. `gateway-ctl run` and `echo` go
//! on until the page's end, or until the next `run`.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::process::{Process, program};

/// Requests until another status must have come.
const TRIES: usize = 25;

/// What `make demo` runs.
const DEMO: &str = "gateway-ctl run --config docs/examples/quickstart --echo 127.0.0.1:9080";

/// Commands that need a cluster or whole other programs; they are tried elsewhere.
const ELSEWHERE: [&str; 4] = ["make ", "helm ", "kubectl ", "docker "];

fn top() -> PathBuf {
    e2e::root().join("..").canonicalize().unwrap()
}

/// The pages whose commands run on one machine.
fn pages() -> Vec<PathBuf> {
    let docs = top().join("docs");
    let mut pages: Vec<PathBuf> =
        ["index.md", "concepts.md", "explain.md", "operations.md"].map(|p| docs.join(p)).to_vec();
    for folder in ["guides", "migration"] {
        let entries = std::fs::read_dir(docs.join(folder)).unwrap().flatten();
        pages
            .extend(entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "md")));
    }
    pages.push(top().join("README.md"));
    pages.sort();
    pages
}

/// The `sh` blocks of a page.
fn blocks(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    text.split("```sh\n").skip(1).filter_map(|b| b.split("```").next()).map(str::to_owned).collect()
}

/// What is to be done with a piece of a block.
#[derive(Debug, PartialEq)]
enum Step {
    /// Runs to its end, with success.
    Script(String),
    /// Goes on.
    Background(String),
    /// A request with what it is to get.
    Request { command: String, statuses: Vec<String>, text: Option<String> },
}

/// Lines of a block, those that end in `\` joined; a here-document stays what it is.
fn steps(block: &str) -> Vec<Step> {
    let (mut steps, mut script) = (Vec::new(), String::new());
    let mut lines = block.lines();
    while let Some(line) = lines.next() {
        let mut line = line.to_owned();
        while line.ends_with('\\') {
            line.pop();
            line += lines.next().unwrap_or_default().trim_start();
        }
        if let Some((_, word)) = line.split_once("<<") {
            let word = word.trim().to_owned();
            script += &format!("{line}\n");
            for inner in lines.by_ref() {
                script += &format!("{inner}\n");
                if inner == word {
                    break;
                }
            }
            continue;
        }
        match special(&line) {
            Some(step) => {
                steps.extend(flush(&mut script));
                steps.push(step);
            }
            None if ELSEWHERE.iter().any(|e| line.starts_with(e)) => {}
            None => script += &format!("{line}\n"),
        }
    }
    steps.extend(flush(&mut script));
    steps
}

fn flush(script: &mut String) -> Option<Step> {
    let whole = std::mem::take(script);
    (!whole.trim().is_empty()).then_some(Step::Script(whole))
}

fn special(line: &str) -> Option<Step> {
    if line.starts_with("make demo") {
        return Some(Step::Background(DEMO.to_owned()));
    }
    if ["gateway-ctl run", "gateway-ctl echo"].iter().any(|c| line.contains(c)) {
        return Some(Step::Background(line.to_owned()));
    }
    let (command, wanted) = line.rsplit_once(" # ").filter(|_| line.contains("curl "))?;
    let (wanted, text) = match wanted.split_once('"') {
        Some((statuses, text)) => (statuses, Some(text.trim_end_matches('"').to_owned())),
        None => (wanted, None),
    };
    let statuses = wanted.split(", then ").map(|s| s.trim().to_owned()).collect();
    Some(Step::Request { command: command.trim().to_owned(), statuses, text })
}

/// A shell in the repository's folder that finds the programs of this workspace first.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    let path = std::env::var("PATH").unwrap_or_default();
    let folder = program("gateway-ctl").parent().unwrap().display().to_string();
    command.args(["-euc", script]).current_dir(top()).env("PATH", format!("{folder}:{path}"));
    command
}

/// What a page has started.
#[derive(Default)]
struct Running(Vec<Process>);

impl Running {
    fn start(&mut self, line: &str) {
        let run = line.contains("gateway-ctl run");
        if run {
            self.end();
        }
        let top = top().display().to_string();
        let folder = program("gateway-ctl").parent().unwrap().display().to_string();
        let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
        let line = format!("cd {top}; {} exec {}", assignments(line), without_assignments(line));
        let mut process = Process::start(Path::new("sh"), &["-euc", &line], &[("PATH", &path)]);
        process.wait_log(if run { "Ready." } else { "listening on" });
        self.0.push(process);
    }

    fn end(&mut self) {
        for mut process in std::mem::take(&mut self.0) {
            process.terminate();
            process.wait_end();
        }
    }
}

/// `A=b` in front of a command.
fn assignments(line: &str) -> String {
    let before = line.split("gateway-ctl").next().unwrap_or_default();
    if before.trim().is_empty() { String::new() } else { format!("export {before};") }
}

fn without_assignments(line: &str) -> &str {
    line.find("gateway-ctl").map_or(line, |at| &line[at..])
}

/// Makes a request until the last of its statuses came, each after the one before.
fn request(page: &str, command: &str, statuses: &[String], text: Option<&str>) {
    let ask = || {
        // The status goes to the end of what curl writes.
        let line = command.replacen("curl ", "curl -s -w '\\n%{http_code}' ", 1);
        let output = shell(&format!("{line} || true")).stderr(Stdio::inherit()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (said, status) = said.rsplit_once('\n').unwrap_or(("", said.as_str()));
        (said.to_owned(), status.to_owned())
    };
    let (mut got, mut said) = (Vec::new(), String::new());
    for _ in 0..TRIES {
        let (words, status) = ask();
        said = words;
        if got.last() != Some(&status) {
            got.push(status);
        }
        if got.len() >= statuses.len() {
            break;
        }
    }
    assert_eq!(got, statuses, "{page}: {command}\n{said}");
    if let Some(text) = text {
        assert!(said.contains(text), "{page}: {command}\nis without `{text}`:\n{said}");
    }
}

#[test]
fn commands_of_the_pages_do_what_the_pages_say() {
    let (mut requests, mut scripts) = (0, 0);
    for page in pages() {
        let name = page.strip_prefix(top()).unwrap().display().to_string();
        let begin = Instant::now();
        let mut running = Running::default();
        for step in blocks(&page).iter().flat_map(|b| steps(b)) {
            match step {
                Step::Background(line) => running.start(&line),
                Step::Script(script) => {
                    let output = shell(&script).output().unwrap();
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    assert!(output.status.success(), "{name}:\n{script}\n{said}");
                    scripts += 1;
                }
                Step::Request { command, statuses, text } => {
                    request(&name, &command, &statuses, text.as_deref());
                    requests += 1;
                }
            }
        }
        running.end();
        assert!(begin.elapsed() < Duration::from_secs(60), "{name} takes {:?}", begin.elapsed());
    }
    eprintln!("{requests} requests and {scripts} scripts");
    assert!(requests > 15 && scripts > 5, "{requests} requests, {scripts} scripts");
}

#[test]
fn blocks_are_read_as_people_would() {
    let block = "a \\\n  b\ncat > x <<EOF\nk: v\nEOF\ncurl -i http://h/   # 200, then 429 \"w\"\nmake test\n";
    let want = Step::Request {
        command: "curl -i http://h/".to_owned(),
        statuses: vec!["200".to_owned(), "429".to_owned()],
        text: Some("w".to_owned()),
    };
    let script = "a b\ncat > x <<EOF\nk: v\nEOF\n".to_owned();
    assert_eq!(steps(block), [Step::Script(script), want]);
}
