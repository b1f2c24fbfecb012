//! The commands of the documentation do what it says: each `sh` block of the pages is run, in order,
//! against what the page starts. A `curl` that ends in `# 200` must get that status; `# 200, then 429`
//! one after the other; `# 200 "text"` a body or header with that text. Programs that serve go on until the
//! page's end, until they are started again, or until the next `gateway-ctl run`. Charts are rendered, not
//! installed. A block that cannot be run has `<!-- not run: WHY -->` on the line above it.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::process::{Process, envoy, program};

/// Requests until another status must have come.
const TRIES: usize = 25;

/// What `make demo` runs.
const DEMO: &str = "gateway-ctl run --config docs/examples/quickstart --echo 127.0.0.1:9080";

/// Programs that serve, with what their logs say when they do.
const SERVERS: [(&str, &str); 5] = [
    ("gateway-ctl run", "Ready."),
    ("gateway-ctl echo", "listening on"),
    ("ratelimit-svc", "listening for gRPC"),
    ("authz-svc", "listening for gRPC"),
    ("envoy", "starting main dispatch loop"),
];

/// Commands that need a cluster; a block with one is marked.
const CLUSTER: [&str; 3] = ["kubectl ", "docker ", "istioctl "];

/// Stands above a block that is not run, with the reason.
const MARK: &str = "<!-- not run: ";

fn top() -> PathBuf {
    e2e::root().join("..").canonicalize().unwrap()
}

/// All pages of the repository that have commands.
fn pages() -> Vec<PathBuf> {
    let (mut pages, mut folders) = (Vec::new(), vec![top()]);
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if name.ends_with(".md") {
                pages.push(path);
            }
        }
    }
    pages.retain(|page| !blocks(page).is_empty());
    pages.sort();
    pages
}

/// A `sh` block of a page, and why it is not run.
struct Block {
    text: String,
    not_run: Option<String>,
}

fn blocks(page: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(page).unwrap();
    let parts: Vec<&str> = text.split("```sh\n").collect();
    let block = |pair: &[&str]| {
        let above = pair[0].trim_end().lines().last().unwrap_or_default();
        let why = above.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(" -->"));
        let text = pair[1].split("```").next().unwrap_or_default().to_owned();
        Block { text, not_run: why.map(str::to_owned) }
    };
    parts.windows(2).map(block).collect()
}

/// What is to be done with a piece of a block.
#[derive(Debug, PartialEq)]
enum Step {
    /// Runs to its end, with success.
    Script(String),
    /// Goes on.
    Background(String),
    /// A chart is rendered with these arguments of `helm`.
    Chart(String),
    /// There is such a target.
    Make(String),
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
    if let Some(target) = line.strip_prefix("make ") {
        return Some(Step::Make(target.split_whitespace().next().unwrap_or_default().to_owned()));
    }
    if let Some(command) = line.strip_prefix("helm ") {
        // What is behind a `|` is the cluster's.
        return Some(Step::Chart(command.split(['|', '#']).next().unwrap_or_default().to_owned()));
    }
    let command = without_assignments(line);
    let serves = |(name, _): &(&str, &str)| {
        command.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let finishes = [" check", " --help", " --version"].iter().any(|word| command.contains(word));
    if SERVERS.iter().any(serves) && !finishes {
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

/// A shell in the repository's folder.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-euc", script]).current_dir(top()).env("PATH", path());
    command
}

/// What a page has started.
#[derive(Default)]
struct Running(Vec<(&'static str, Process)>);

impl Running {
    fn start(&mut self, line: &str) {
        let command = without_assignments(line);
        let (name, says) = SERVERS.iter().find(|(name, _)| command.starts_with(name)).unwrap();
        if *name == "gateway-ctl run" {
            self.end();
        } else if let Some(at) = self.0.iter().position(|(known, _)| known == name) {
            end(self.0.remove(at).1);
        }
        let top = top().display().to_string();
        // Others on the machine may have an Envoy, too.
        let more = if *name == "envoy" { " --disable-hot-restart" } else { "" };
        let command = command.split(" # ").next().unwrap_or_default().trim();
        let line = format!("cd {top}; {} exec {command}{more}", assignments(line));
        let mut process = Process::start(Path::new("sh"), &["-euc", &line], &[("PATH", &path())]);
        process.wait_log(says);
        self.0.push((name, process));
    }

    fn end(&mut self) {
        std::mem::take(&mut self.0).into_iter().for_each(|(_, process)| end(process));
    }
}

fn end(mut process: Process) {
    process.terminate();
    process.wait_end();
}

/// The programs of this workspace first, and the Envoy of the tests.
fn path() -> String {
    let folder = |program: PathBuf| program.parent().unwrap().display().to_string();
    let usual = std::env::var("PATH").unwrap_or_default();
    [folder(program("gateway-ctl")), folder(envoy()), usual].join(":")
}

/// `A=b` in front of a command.
fn assignments(line: &str) -> String {
    let before = &line[..line.len() - without_assignments(line).len()];
    if before.is_empty() { String::new() } else { format!("export {before};") }
}

fn without_assignments(line: &str) -> &str {
    let is_assignment = |word: &str| {
        let name = word.split_once('=').map_or("", |(name, _)| name);
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    };
    match line.split_once(' ') {
        Some((word, rest)) if is_assignment(word) => without_assignments(rest.trim_start()),
        _ => line,
    }
}

/// Renders a chart as `helm upgrade --install` would; false where there is no helm.
fn render(page: &str, arguments: &str) -> bool {
    // The one that the tests of the charts install.
    let helm = e2e::cache().join("bin/helm");
    if !helm.exists() {
        return false;
    }
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let Some(rest) =
        words.strip_prefix(&["upgrade", "--install"]).or_else(|| words.strip_prefix(&["template"]))
    else {
        return false;
    };
    let rest = rest.iter().filter(|w| !["--create-namespace", "--take-ownership"].contains(w));
    let output = Command::new(helm).arg("template").args(rest).current_dir(top()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{page}: helm {arguments}\n{said}");
    true
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
    let makefile = std::fs::read_to_string(top().join("Makefile")).unwrap();
    let (mut requests, mut scripts, mut charts) = (0, 0, 0);
    for page in pages() {
        let name = page.strip_prefix(top()).unwrap().display().to_string();
        let begin = Instant::now();
        let mut running = Running::default();
        for step in runnable(&page).iter().flat_map(|b| steps(b)) {
            match step {
                Step::Background(line) => running.start(&line),
                Step::Chart(arguments) => charts += usize::from(render(&name, &arguments)),
                Step::Make(target) => {
                    assert!(makefile.contains(&format!("\n{target}:")), "{name}: make {target}");
                }
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
    eprintln!("{requests} requests, {scripts} scripts, {charts} charts");
    assert!(requests > 25 && scripts > 8, "{requests} requests, {scripts} scripts");
}

/// The blocks of a page that are not marked.
fn runnable(page: &Path) -> Vec<String> {
    blocks(page).into_iter().filter(|b| b.not_run.is_none()).map(|b| b.text).collect()
}

#[test]
fn each_block_is_run_or_says_why_not() {
    let mut marked = 0;
    for page in pages() {
        let name = page.display();
        for block in blocks(&page) {
            let needs_cluster = block
                .text
                .lines()
                .any(|l| CLUSTER.iter().any(|c| l.starts_with(c) || l.contains(&format!("$({c}"))));
            match &block.not_run {
                Some(why) => {
                    marked += 1;
                    assert!(why.len() > 10, "{name}: say why\n{}", block.text);
                }
                None => {
                    assert!(
                        !steps(&block.text).is_empty(),
                        "{name}: nothing is run\n{}",
                        block.text
                    );
                    assert!(
                        !needs_cluster,
                        "{name}: put `{MARK}WHY -->` above, or the command into a block of its own\n{}",
                        block.text
                    );
                }
            }
        }
    }
    assert!(marked < 10, "{marked} blocks are not run");
}

#[test]
fn blocks_are_read_as_people_would() {
    let block = "a \\\n  b\ncat > x <<EOF\nk: v\nEOF\ncurl -i http://h/   # 200, then 429 \"w\"\nmake test\nA=b authz-svc --config x\n";
    let want = Step::Request {
        command: "curl -i http://h/".to_owned(),
        statuses: vec!["200".to_owned(), "429".to_owned()],
        text: Some("w".to_owned()),
    };
    let script = "a b\ncat > x <<EOF\nk: v\nEOF\n".to_owned();
    let serves = Step::Background("A=b authz-svc --config x".to_owned());
    assert_eq!(steps(block), [Step::Script(script), want, Step::Make("test".to_owned()), serves]);
    assert_eq!(without_assignments("A=b C_D=e authz-svc x=y"), "authz-svc x=y");
    assert_eq!(assignments("A=b authz-svc"), "export A=b ;");
}
