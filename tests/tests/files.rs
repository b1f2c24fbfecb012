//! ratelimit-svc and files that change, by the variables of envoyproxy/ratelimit and by the ways in
//! which people and Kubernetes change files.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use e2e::TempDir;
use e2e::http;
use e2e::limiter::Limiter;

const LOADED: &str = "ratelimit_config_loads_total{outcome=\"loaded\"}";

fn limit(requests: u32) -> String {
    format!(
        "domain: d\ndescriptors:\n- key: k\n  rate_limit: {{unit: day, requests_per_unit: {requests}}}\n"
    )
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A link that takes its place in one step, as `mv -T` does it.
fn swap(link: &Path, to: &str) {
    let new = link.with_file_name("..data_tmp");
    symlink(to, &new).unwrap();
    std::fs::rename(new, link).unwrap();
}

/// Starts the service for `ROOT/ratelimit/config`.
fn start(root: &Path, more: &[(&str, &str)]) -> Limiter {
    let root = root.display().to_string();
    let mut variables = vec![
        ("RUNTIME_ROOT", root.as_str()),
        ("RUNTIME_SUBDIRECTORY", "ratelimit"),
        ("USE_STATSD", "false"),
    ];
    variables.extend(more);
    let mut service = Limiter::start(&variables);
    service.process.wait("open", |p| p.log().contains("listening for gRPC"));
    service
}

#[test]
fn another_root_is_a_new_configuration() {
    let folder = TempDir::new("root");
    for (version, requests) in [("v1", 1), ("v2", 2), ("v3", 3)] {
        let file = folder.path().join(version).join("ratelimit/config/a.yaml");
        write(&file, &limit(requests));
    }
    let current = folder.path().join("current");
    symlink("v1", &current).unwrap();
    let mut strict = start(&current, &[("RUNTIME_WATCH_ROOT", "true")]);
    let mut both = start(&current, &[]);
    for service in [&mut strict, &mut both] {
        assert_eq!(service.limit("d", "k"), Some(1));
    }
    swap(&current, "v2");
    for service in [&mut strict, &mut both] {
        service.wait_limit("d", "k", Some(2));
    }
    // As `ln -sfn` of old: the link is gone for a moment.
    std::fs::remove_file(&current).unwrap();
    symlink("v3", &current).unwrap();
    for service in [&mut strict, &mut both] {
        service.wait_limit("d", "k", Some(3));
    }

    // An edit in place counts only where no one said that the root is all that counts.
    write(&folder.path().join("v3/ratelimit/config/a.yaml"), &limit(4));
    both.wait_limit("d", "k", Some(4));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!((strict.limit("d", "k"), strict.metric(LOADED)), (Some(3), Some(3.0)));
    swap(&current, "v3");
    strict.wait_limit("d", "k", Some(4));
}

#[test]
fn files_of_a_folder_that_is_watched_itself_may_be_edited() {
    let folder = TempDir::new("edit");
    let config = folder.path().join("ratelimit/config");
    std::fs::create_dir_all(&config).unwrap();
    let mut service = start(folder.path(), &[("RUNTIME_WATCH_ROOT", "false")]);
    // An empty folder is a configuration without limits.
    service.process.wait_ready(service.admin);
    assert_eq!(service.limit("d", "k"), None);
    // Whatever the suffix, on whatever level.
    write(&config.join("below/limits.conf"), &limit(1));
    service.wait_limit("d", "k", Some(1));

    // Half of a file is refused as a whole, and what was in force stays.
    let text = limit(2);
    write(&config.join("below/limits.conf"), &text[..text.len() - 4]);
    service.process.wait_log(
        "Error loading new configuration: below.limits.conf: error loading config file: yaml: ",
    );
    assert_eq!(service.limit("d", "k"), Some(1));
    let report = http::get(service.admin, "/config").unwrap().body;
    assert!(report.contains("what these files had before stays in force"), "{report}");
    write(&config.join("below/limits.conf"), &text);
    service.wait_limit("d", "k", Some(2));
    assert_eq!(service.metric("ratelimit_config_is_stale"), Some(0.0));

    // One bad file refuses the whole set; without it all is well.
    write(&config.join("bad"), "domain: other\ncolour: red");
    service.process.wait_log("bad: config error, unknown key 'colour'");
    write(&config.join("below/limits.conf"), &limit(3));
    std::fs::remove_file(config.join("bad")).unwrap();
    service.wait_limit("d", "k", Some(3));
    std::fs::remove_file(config.join("below/limits.conf")).unwrap();
    service.wait_limit("d", "k", None);
}

/// Writes a version of a ConfigMap as the kubelet does: a folder, a link to it, links through that.
fn config_map(mount: &Path, version: u32, files: &[(&str, String)]) {
    let name = format!("..2026_{version}");
    for (file, text) in files {
        write(&mount.join(&name).join(file), text);
    }
    swap(&mount.join("..data"), &name);
    for (file, _) in files {
        let link = mount.join(file);
        if !link.is_symlink() {
            symlink(format!("..data/{file}"), link).unwrap();
        }
    }
    if version > 1 {
        std::fs::remove_dir_all(mount.join(format!("..2026_{}", version - 1))).unwrap();
    }
}

#[test]
fn a_mounted_config_map_needs_no_setting() {
    let other = || {
        "domain: other\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 7}}]"
            .to_owned()
    };
    for more in [
        &[][..],
        // What envoyproxy/ratelimit needs.
        &[("RUNTIME_WATCH_ROOT", "false"), ("RUNTIME_IGNOREDOTFILES", "true")],
        // With which it reads `..data` a second time, and loads nothing.
        &[("RUNTIME_WATCH_ROOT", "false"), ("RUNTIME_IGNOREDOTFILES", "false")],
    ] {
        let folder = TempDir::new("mounted");
        let mount = folder.path().join("ratelimit/config");
        std::fs::create_dir_all(&mount).unwrap();
        config_map(&mount, 1, &[("a.yaml", limit(1)), ("b.yaml", other())]);
        let mut service = start(folder.path(), more);
        assert_eq!((service.limit("d", "k"), service.limit("other", "k")), (Some(1), Some(7)));
        for version in 2..5 {
            config_map(&mount, version, &[("a.yaml", limit(version)), ("b.yaml", other())]);
            service.wait_limit("d", "k", Some(version));
        }
        let log = service.process.log();
        assert!(!log.contains("duplicate domain") && !log.contains("ERROR"), "{log}");
    }
}

#[test]
fn files_with_a_dot_are_read_when_it_is_said() {
    let folder = TempDir::new("dots");
    let config = folder.path().join("ratelimit/config");
    write(&config.join(".hidden.yaml"), &limit(1));
    assert_eq!(start(folder.path(), &[]).limit("d", "k"), None);
    let ignored = [("RUNTIME_IGNOREDOTFILES", "true")];
    assert_eq!(start(folder.path(), &ignored).limit("d", "k"), None);
    let read = [("RUNTIME_IGNOREDOTFILES", "false")];
    assert_eq!(start(folder.path(), &read).limit("d", "k"), Some(1));
}

#[test]
fn links_are_read_and_no_folder_twice() {
    let (folder, elsewhere) = (TempDir::new("links"), TempDir::new("elsewhere"));
    let config = folder.path().join("ratelimit/config");
    let real = elsewhere.path().join("limits.yaml");
    write(&real, &limit(1));
    std::fs::create_dir_all(config.join("sub")).unwrap();
    symlink(&real, config.join("sub/a.yaml")).unwrap();
    symlink("sub", config.join("again")).unwrap();
    let mut service = start(folder.path(), &[]);
    assert_eq!(service.limit("d", "k"), Some(1));
    // The link comes to lead to another file.
    let new = elsewhere.path().join("new.yaml");
    write(&new, &limit(2));
    let link = config.join("sub/a.new");
    symlink(&new, &link).unwrap();
    std::fs::rename(link, config.join("sub/a.yaml")).unwrap();
    service.wait_limit("d", "k", Some(2));
}
