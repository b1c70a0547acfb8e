//! The container files: what a build copies, and what runs in the container. Docker is not needed:
//! the files are read.

#![cfg(unix)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Whether a pattern's parts match a path, or a folder above it.
fn matches(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], _) => true,
        (["**", rest @ ..], _) => (0..=path.len()).any(|skipped| matches(rest, &path[skipped..])),
        ([part, rest @ ..], [name, path @ ..]) => part_matches(part.as_bytes(), name.as_bytes()) && matches(rest, path),
        _ => false,
    }
}

fn part_matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|taken| part_matches(rest, &name[taken..])),
        ([b'[', b'0', b'-', b'9', b']', rest @ ..], [digit, name @ ..]) => {
            digit.is_ascii_digit() && part_matches(rest, name)
        }
        ([byte, rest @ ..], [first, name @ ..]) => byte == first && part_matches(rest, name),
        _ => false,
    }
}

/// Whether a build gets a file, by `.dockerignore`: the last pattern that matches counts.
fn is_sent(path: &str) -> bool {
    let path: Vec<&str> = path.split('/').collect();
    let ignore = read(".dockerignore");
    let rules = ignore.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut verdicts = rules.filter_map(|rule| {
        let pattern: Vec<&str> = rule.trim_start_matches('!').split('/').collect();
        matches(&pattern, &path).then_some(rule.starts_with('!'))
    });
    verdicts.next_back().unwrap_or(true)
}

/// The Dockerfile's instructions, with their continued lines.
fn instructions() -> Vec<String> {
    let text = read("Dockerfile").replace("\\\n", " ");
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn secrets_and_node_folders_never_reach_a_build() {
    for path in [
        ".env",
        "node-1/.env",
        "node-1/node.key",
        "node-12/transactions.json",
        "network-ca/ca.key",
        "network-ca/ca.pem",
        "node-template/.env",
        "node-template/.env.local",
        "node-template/node.key",
        "xtask/network-ca/ca.key",
        "proto/node-3/known-peers.json",
        "simulator/deep/down/node.pem",
        "node-template/node.csr",
        ".git/config",
        "target/release/meshpool",
        "xtask/target/x",
        "a-note-of-mine.txt",
    ] {
        assert!(!is_sent(path), "{path}");
    }
}

#[test]
fn the_build_gets_what_it_needs_and_copies_nothing_else() {
    let copied: Vec<String> = instructions()
        .iter()
        .filter(|line| line.starts_with("COPY ") && !line.contains("--from"))
        .flat_map(|line| {
            line.split_whitespace()
                .skip(1)
                .map(str::to_owned)
                .collect::<Vec<_>>()
                .split_last()
                .expect("a target")
                .1
                .to_vec()
        })
        .collect();
    for source in &copied {
        assert!(!source.starts_with('.') && !source.contains('*') && root().join(source).exists(), "{source}");
    }
    // Each member of the workspace, or cargo does not read it.
    for manifest in ["Cargo.toml", "Cargo.lock", "proto", "node-template", "simulator", "xtask"] {
        assert!(copied.iter().any(|source| source == manifest), "{manifest} is not copied");
    }
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = [")).expect("the members");
    for member in members.trim_end_matches(']').split(", ").map(|member| member.trim_matches('"')) {
        assert!(copied.iter().any(|source| source == member), "{member} is not copied");
        assert!(is_sent(&format!("{member}/Cargo.toml")), "{member}");
    }
    for file in [
        "node-template/src/main.rs",
        "node-template/src/http/page/main.js",
        "xtask/measuring/Cargo.toml",
        "packaging/healthcheck.sh",
    ] {
        assert!(is_sent(file) && root().join(file).is_file(), "{file}");
    }
}

#[test]
fn the_node_runs_as_a_user_that_can_write_its_volume() {
    let lines = instructions();
    let at = |part: &str| lines.iter().rposition(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part}"));
    assert!(at("USER p2p") < at("ENTRYPOINT") && at("USER p2p") > at("COPY --from=build"));
    assert!(at("chown -R p2p:p2p /node") < at("VOLUME /node"), "later changes of a volume are lost");
    assert!(lines[at("HEALTHCHECK")].contains("/usr/local/bin/healthcheck"));
    assert!(lines[at("FROM rust:")].contains(&format!("rust:{}-", rust_version())), "the version of Cargo.toml");
}

fn rust_version() -> String {
    let manifest = read("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("a version");
    version.trim_matches('"').to_owned()
}

/// Runs the health check against a page that gives this answer.
fn check(answer: &'static str) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let page = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let (mut request, mut part) = (String::new(), [0; 4_096]);
        while !request.ends_with("\r\n\r\n") {
            let read = stream.read(&mut part).expect("a request");
            assert!(read > 0, "it ends in the middle: {request}");
            request.push_str(&String::from_utf8_lossy(&part[..read]));
        }
        stream.write_all(answer.as_bytes()).expect("written");
        request
    });
    let script = root().join("packaging/healthcheck.sh");
    let status = Command::new("bash").arg(script).env("HTTP_PORT", port.to_string()).status().expect("bash");
    let request = page.join().expect("no panic");
    assert!(request.starts_with("GET /healthz HTTP/1.1\r\nHost: localhost\r\n"), "{request}");
    status.success()
}

#[test]
fn the_health_check_follows_the_page() {
    assert!(check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    assert!(!check("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"));
    assert!(!check(""), "it closed without an answer");
    let script = root().join("packaging/healthcheck.sh");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port().to_string();
    let without_page = || {
        let mut command = Command::new("bash");
        command.arg(&script).env("HTTP_PORT", "0").env("PORT", &port).output().expect("bash").status.success()
    };
    assert!(without_page());
    drop(listener);
    assert!(!without_page(), "nobody listens");
}

/// The value of a key in the unit; the last one of several.
fn unit(key: &str) -> Option<String> {
    let text = read("packaging/systemd/meshpool.service");
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
    text.lines().filter_map(value).next_back()
}

#[test]
fn the_unit_is_hardened_and_runs_the_program_of_the_package() {
    assert_eq!(unit("ExecStart").as_deref(), Some("/usr/bin/meshpool run --folder /var/lib/meshpool"));
    for (key, value) in [
        ("DynamicUser", "yes"),
        ("StateDirectory", "meshpool"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
    ] {
        assert_eq!(unit(key).as_deref(), Some(value), "{key}");
    }
    // A tool of systemd's own judges it, where there is one: 0 is best, 10 is worst.
    let mut judge = Command::new("systemd-analyze");
    let unit = root().join("packaging/systemd/meshpool.service");
    let judged = judge.args(["security", "--offline=true", "--threshold=30", "--no-pager"]).arg(unit).output();
    match judged {
        Ok(judged) => assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout)),
        Err(error) => {
            let remedy = "install systemd (Debian: apt-get install systemd)";
            let is_needed = cfg!(target_os = "linux") && std::env::var_os("CI").is_some();
            assert!(!is_needed, "systemd-analyze: {error}: {remedy}");
            eprintln!("not judged: systemd-analyze: {error}: {remedy}");
        }
    }
}

#[test]
fn a_release_is_built_for_each_system_from_what_the_repository_has() {
    let workflow = read(".github/workflows/release.yml");
    for target in ["linux-gnu", "linux-musl", "apple-darwin", "pc-windows-msvc"] {
        assert!(workflow.contains(&format!("-{target}, ")) || workflow.contains(&format!("-{target} }}")), "{target}");
    }
    assert!(workflow.contains(&format!("rustup toolchain install {} ", rust_version())), "the version of Cargo.toml");
    assert!(workflow.contains("sha256sum"), "checksums");
}

#[test]
fn a_published_package_has_what_it_needs_and_no_settings() {
    for package in ["meshpool", "meshpool-proto"] {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut list = Command::new(cargo);
        list.args(["package", "--list", "--allow-dirty", "--offline", "--package", package]).current_dir(root());
        let listed = list.output().expect("cargo");
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let listed = String::from_utf8(listed.stdout).expect("text");
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "Cargo.toml", "src/lib.rs"] {
            assert!(listed.lines().any(|line| line == file), "{package} lacks {file}");
        }
        let wrong = |line: &&str| line.starts_with("tests/") || line.ends_with("/.env") || *line == ".env";
        assert_eq!(listed.lines().find(wrong), None, "{package}");
    }
    // The licences are links, so that there is one text of each.
    assert_eq!(read("node-template/LICENSE-MIT"), read("LICENSE-MIT"));
    assert_eq!(read("proto/LICENSE-APACHE"), read("LICENSE-APACHE"));
}
