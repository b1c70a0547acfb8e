//! `test`: runs everything that must pass, at home and in CI alike.
//!
//! Every step runs even if an earlier one failed, and its output passes through unchanged. A table
//! at the end shows the results. The exit code is 1 if any step failed. A missing tool counts as a
//! failure, since a check that cannot run has not passed.

#[cfg(target_os = "linux")]
pub(crate) mod autobahn;
mod browser;
mod features;
pub(crate) mod fuzz;
pub(crate) mod mutants;
#[cfg(target_os = "linux")]
pub(crate) mod package;
pub(crate) mod prose;
pub(crate) mod structure;
mod test_programs;
#[cfg(target_os = "linux")]
pub(crate) mod windows;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use measuring::Table;
use meshpool::binary::system;

use crate::support::cargo::{self, cargo, command, finish};
#[cfg(target_os = "linux")]
use crate::support::nat_lab;
use crate::support::npm;
use crate::support::terminal::{self, print};
use crate::support::workspace::Workspace;

/// The package of the core.
const CORE: &str = "meshpool-proto";

/// Crates that do I/O, which the core does not need.
const OUTSIDE_THE_CORE: [&str; 4] = ["tokio", "tungstenite", "mio", "socket2"];

/// The arguments of the guided tour, which then fails where its text is not true.
const LESSON: [&str; 7] = ["run", "--quiet", "--package", "xtask", "--", "lesson", "--auto"];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Also run what takes minutes: ignored tests, more simulated seeds, more random cases
    #[arg(long)]
    long: bool,
}

/// A step of the check.
struct Step<'a> {
    name: &'static str,
    run: Box<dyn Fn() -> Result<()> + 'a>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    // Some steps build this program too.
    system::make_way()?;
    let mut table = Table::new(["step", "result", "time"]);
    let mut failed = Vec::new();
    let ci = std::env::var_os("CI").is_some();
    for step in steps(workspace, arguments.long, ci) {
        print(format!("\n=== {}", step.name))?;
        let began = Instant::now();
        let result = (step.run)();
        let took = seconds(began.elapsed());
        match &result {
            Ok(()) => print(format!("=== {}: passed in {took}", step.name))?,
            Err(error) => print(format!(
                "=== {}: FAILED in {took}: {}",
                step.name,
                terminal::strip_control(&format!("{error:#}"))
            ))?,
        }
        table.push([step.name, if result.is_ok() { "passed" } else { "FAILED" }, &took]);
        if result.is_err() {
            failed.push(step.name);
        }
    }
    print(format!("\n{}", table))?;
    if !is_thorough(ci, arguments.long) {
        print(
            "not run: the fuzz targets and the checks for Windows, which CI runs; here: cargo xtask fuzz, cargo xtask windows",
        )?;
    }
    ensure!(failed.is_empty(), "failed: {}; look for === above", failed.join(", "));
    Ok(ExitCode::SUCCESS)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Whether the fuzz targets are run, and the checks for Windows. Their builds take minutes, so they
/// are left to CI and `--long`.
fn is_thorough(ci: bool, long: bool) -> bool {
    ci || long
}

fn steps(workspace: &Workspace, long: bool, ci: bool) -> Vec<Step<'_>> {
    let root = workspace.root();
    let seeds = if long { "1000" } else { "20" };
    let mut steps = vec![
        Step { name: "tools", run: Box::new(tools) },
        Step { name: "format", run: Box::new(move || format(root)) },
        Step {
            name: "lints",
            run: Box::new(move || cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
        },
        Step { name: "documentation", run: Box::new(move || documentation(root)) },
        Step { name: "structure", run: Box::new(move || structure::check(root, &[])) },
        Step { name: "prose", run: Box::new(move || prose::check(root, &[])) },
        Step { name: "border", run: Box::new(move || border(root)) },
        Step { name: "feature sets", run: Box::new(move || features::check(root)) },
        Step { name: "interop packages", run: Box::new(move || npm::install(&root.join("interop"))) },
        Step { name: "tests", run: Box::new(move || tests(root, long)) },
        Step {
            name: "examples in the documentation",
            run: Box::new(move || cargo(root, &["test", "--workspace", "--doc"])),
        },
        Step { name: "lesson", run: Box::new(move || cargo(root, &LESSON)) },
        #[cfg(target_os = "linux")]
        Step { name: "package", run: Box::new(move || package::check(workspace)) },
        Step { name: "browser", run: Box::new(move || browser::test(root)) },
        Step {
            name: "simulation",
            run: Box::new(move || cargo(root, &["run", "--package", "simulator", "--", "--seeds", seeds])),
        },
    ];
    if is_thorough(ci, long) {
        #[cfg(target_os = "linux")]
        steps.push(Step { name: "lints for Windows", run: Box::new(move || windows::lint(root)) });
        #[cfg(target_os = "linux")]
        steps.push(Step { name: "Windows under Wine", run: Box::new(move || windows::scenario(root)) });
        steps.push(Step { name: "fuzz", run: Box::new(move || fuzz::short(root)) });
    }
    if long {
        // These are measurements with bounds, so they need optimised code.
        let stuck =
            ["test", "--release", "--package", "meshpool", "--test", "reliability", "--", "--ignored", "--nocapture"];
        steps.push(Step { name: "a reader that never reads", run: Box::new(move || cargo(root, &stuck)) });
        steps.push(Step {
            name: "large pool",
            run: Box::new(move || cargo(root, &["run", "--quiet", "--package", "xtask", "--", "scale"])),
        });
    }
    steps
}

/// Checks that the tools are installed that the tests call.
fn tools() -> Result<()> {
    let needed = [
        ("node", "--version", "install Node.js 20 or newer (Debian: apt-get install nodejs)"),
        ("npm", "--version", "install npm (Debian: apt-get install npm)"),
        #[cfg(target_os = "linux")]
        ("dpkg-deb", "--version", "install dpkg (it is part of Debian and Ubuntu); the Debian package is made with it"),
        #[cfg(target_os = "linux")]
        ("ip", "-Version", "install iproute2 (Debian: apt-get install iproute2); tests cut a network in two with it"),
    ];
    let mut missing = Vec::new();
    for (tool, argument, remedy) in needed {
        let mut command = if tool == "npm" { system::script(tool) } else { Command::new(tool) };
        let answer = command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !answer.is_ok_and(|status| status.success()) {
            print(format!("{tool} is missing: {remedy}"))?;
            missing.push(tool);
        }
    }
    // Few machines have all of these, and tests that need them are skipped; in CI, where nobody
    // reads that, this fails.
    #[cfg(target_os = "linux")]
    for program in nat_lab::PROGRAMS {
        if let Err(error) = program.provide() {
            print(format!("{error}; tests behind NATs need it"))?;
            missing.extend(std::env::var_os("CI").map(|_| program.name));
        }
    }
    ensure!(missing.is_empty(), "missing: {}", missing.join(", "));
    Ok(())
}

/// Builds the core alone, and looks for crates that do I/O in its dependency tree.
fn border(root: &Path) -> Result<()> {
    cargo(root, &["check", "--package", CORE])?;
    let tree = cargo::read(root, &["tree", "--package", CORE, "--edges", "normal", "--prefix", "none"])?;
    ensure!(tree.starts_with(CORE), "cargo tree does not start with the package: what it prints has changed");
    let crossed: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| crosses(name)).collect();
    ensure!(crossed.is_empty(), "{CORE} needs {}: what does I/O belongs into meshpool", crossed.join(", "));
    print(format!("{CORE} needs {} crates, none of them with a socket or a runtime", tree.lines().count() - 1))?;
    Ok(())
}

/// Checks the format of all workspaces.
fn format(root: &Path) -> Result<()> {
    for folder in [root.to_owned(), root.join("fuzz"), root.join("bench")] {
        cargo(&folder, &["fmt", "--all", "--check"])?;
    }
    Ok(())
}

/// Builds the documentation; a broken link is an error.
fn documentation(root: &Path) -> Result<()> {
    let mut command = command(root, &["doc", "--workspace", "--no-deps"]);
    finish(command.env("RUSTDOCFLAGS", "-D warnings"), "cargo doc --workspace --no-deps")
}

fn crosses(name: &str) -> bool {
    OUTSIDE_THE_CORE.iter().any(|outside| name == *outside || name.starts_with(&format!("{outside}-")))
}

fn tests(root: &Path, long: bool) -> Result<()> {
    // The Autobahn suite needs a program of its own: `cargo xtask autobahn`.
    let arguments: &[&str] = if long { &["--include-ignored", "--skip", "autobahn"] } else { &[] };
    let mut environment = Vec::new();
    if long {
        environment.push(("PROPTEST_CASES", "4096".to_owned()));
    }
    let set = |name| std::env::var_os(name).is_some();
    if let Some(kills) = kills(set("CI"), long).filter(|_| !set("KILLS")) {
        environment.push(("KILLS", kills.to_owned()));
    }
    test_programs::run(root, arguments, &environment)
}

/// How often the durability test kills its node; `None` keeps the short default. A KILLS in the
/// environment takes precedence.
fn kills(ci: bool, long: bool) -> Option<&'static str> {
    if long { Some("500") } else { ci.then_some("50") }
}

#[cfg(test)]
mod tests {
    use super::{crosses, kills};

    #[test]
    fn the_border_names_crates_and_their_families() {
        for name in ["tokio", "tokio-tungstenite", "tungstenite", "mio", "socket2", "tokio-macros"] {
            assert!(crosses(name), "{name}");
        }
        for name in ["bytes", "mioco", "serde_json", "p2p-node"] {
            assert!(!crosses(name), "{name}");
        }
    }

    #[test]
    fn a_node_is_killed_more_often_where_nobody_waits() {
        assert_eq!((kills(false, false), kills(true, false)), (None, Some("50")));
        assert_eq!((kills(false, true), kills(true, true)), (Some("500"), Some("500")));
    }
}
