//! `windows`: lints the project for Windows on Linux, and runs its tests under Wine.
//!
//! `packaging/windows/toolchain.sh` makes the toolchain and Wine, once. Wine is kinder than Windows
//! (docs/windows.md), so what passes here is necessary and not sufficient.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use crate::checks::test_programs::{self, Program};
use crate::support::cargo::{cargo_program, finish, without_package};
use crate::support::npm;
use crate::support::terminal::print;
use crate::support::workspace::Workspace;

const TARGET: &str = "x86_64-pc-windows-gnu";
const SCRIPT: &str = "packaging/windows/toolchain.sh";
/// The test that does what a learner does. CI runs it alone under Wine: the others take ten
/// minutes.
const SCENARIO: &str = "scenario";
/// Its tests do not run under Wine: it asks the system for nothing, and computes for minutes.
const SIMULATOR: &str = "simulator";
/// How many programs run at a time, one test of each: one process of Wine, with one thread, does
/// the work of the sockets of them all.
const AT_ONCE: usize = 2;

/// What keeps a test from running under Wine. It runs on Windows.
#[derive(Clone, Copy)]
enum Reason {
    /// One thread of Wine does the work of all sockets, and goes round those of which nobody reads
    /// what came. Hundreds of connections take more than the 20 s for which a test waits.
    Crowd,
    /// Wine takes each write whole and sends its rest in the background. Meanwhile it calls the
    /// socket writable and refuses to write, so the writer asks without end. Nothing waits as it
    /// should, or all takes too long.
    Unread,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Crowd => "hundreds of connections are too many for Wine",
            Self::Unread => "Wine refuses to write to sockets that it calls writable",
        }
    }
}

/// The tests that are left out under Wine: the program, the test, and why. docs/windows.md has them
/// too.
const LEFT_OUT: [(&str, &str, Reason); 11] = [
    ("defence", "a_peer_joins_while_two_thousand_connections_dawdle_over_their_upgrade", Reason::Crowd),
    ("hostile", "twenty_nodes_that_start_at_once_have_one_link_for_each_pair", Reason::Crowd),
    ("hostile", "a_peer_that_reads_late_costs_the_others_nothing_and_misses_nothing", Reason::Unread),
    ("web", "a_stranger_takes_neither_places_nor_answers_from_the_owner", Reason::Crowd),
    ("web", "listeners_are_bounded_and_those_who_do_not_read_keep_nobody_waiting", Reason::Crowd),
    ("web_load", "a_thousand_who_listen_and_one_who_never_reads_do_not_touch_the_mesh", Reason::Crowd),
    ("limits", "a_full_queue_loses_nothing_however_small_it_is", Reason::Unread),
    ("pings", "a_client_that_pings_and_reads_nothing_is_not_read_for_long_and_then_closed", Reason::Unread),
    ("pings", "a_finder_that_pings_instead_of_sending_is_given_up", Reason::Unread),
    ("pings", "whoever_reads_late_gets_the_answer_to_every_ping", Reason::Unread),
    (
        "reliability",
        "a_full_peer_that_stops_reading_costs_the_others_nothing_and_is_caught_up_on_a_new_link",
        Reason::Unread,
    ),
];

/// Returns the tests of a program that are left out under Wine. The file of a program is named
/// after it, with a hash behind.
fn left_out(file: &str) -> impl Iterator<Item = (&'static str, Reason)> {
    let program = file.rsplit_once('-').map_or(file, |(name, _)| name);
    LEFT_OUT.iter().filter(move |(of, ..)| *of == program).map(|(_, test, reason)| (*test, *reason))
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run only what a learner does in the first minutes, as CI does
    #[arg(long)]
    scenario: bool,
    /// Lint only; this needs no root
    #[arg(long, conflicts_with = "scenario")]
    lint: bool,
    /// Run only the integration tests of this file, such as `limits`; may be given several times
    #[arg(long = "test", value_name = "NAME", conflicts_with_all = ["scenario", "lint"])]
    tests: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let root = workspace.root();
    if arguments.lint {
        lint(root)?;
    } else if arguments.scenario {
        scenario(root)?;
    } else if !arguments.tests.is_empty() {
        let named = arguments.tests.iter().flat_map(|name| ["--test", name]);
        let what: Vec<&str> = ["--workspace", "--exclude", SIMULATOR].into_iter().chain(named).collect();
        Toolchain::make(root, true)?.test(root, &what)?;
    } else {
        lint(root)?;
        let toolchain = Toolchain::make(root, true)?;
        toolchain.test(root, &["--workspace", "--exclude", SIMULATOR])?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs Clippy on everything for Windows.
pub(crate) fn lint(root: &Path) -> Result<()> {
    let toolchain = Toolchain::make(root, false)?;
    let lints = ["clippy", "--workspace", "--all-targets", "--target", TARGET, "--", "-D", "warnings"];
    finish(&mut toolchain.cargo(root, &lints), &format!("cargo {}", lints.join(" ")))
}

/// Runs what a learner does in the first minutes, under Wine.
pub(crate) fn scenario(root: &Path) -> Result<()> {
    let toolchain = Toolchain::make(root, true)?;
    let node = ["build", "--package", "meshpool", "--bin", "meshpool", "--target", TARGET];
    finish(&mut toolchain.cargo(root, &node), &format!("cargo {}", node.join(" ")))?;
    toolchain.test(root, &["--package", "xtask", "--test", SCENARIO])
}

/// What builds programs for Windows, and runs them.
struct Toolchain {
    folder: PathBuf,
    target: PathBuf,
}

impl Toolchain {
    /// Makes what is not there yet.
    fn make(root: &Path, wine: bool) -> Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let folder = target.join("windows-toolchain");
        let mut script = Command::new("bash");
        script.arg(root.join(SCRIPT)).arg(&folder).args(wine.then_some("--wine")).stdin(Stdio::null());
        finish(&mut script, &format!("{SCRIPT} {}{}", folder.display(), if wine { " --wine" } else { "" }))?;
        Ok(Self { folder, target })
    }

    /// Returns cargo with the toolchain.
    fn cargo(&self, root: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", r#". "$0/env.sh" && exec "$@""#]).arg(&self.folder);
        command.arg(Path::new(&cargo_program()).file_name().unwrap_or_default());
        // Half of the time is spent on compiling, and nothing here is measured.
        command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
        command.args(arguments).current_dir(root);
        without_package(&mut command);
        command
    }

    /// Builds test programs and runs them under Wine, several at a time.
    fn test(&self, root: &Path, what: &[&str]) -> Result<()> {
        npm::install(&root.join("interop"))?;
        let build =
            [&["test", "--no-run", "--target", TARGET, "--message-format", "json-render-diagnostics"], what].concat();
        print(format!("> cargo {}", build.join(" ")))?;
        let output = self.cargo(root, &build).stderr(Stdio::inherit()).output().context("bash cannot be started")?;
        ensure!(output.status.success(), "the tests do not build for Windows: see cargo's errors above");
        let tests = test_programs::read(&output.stdout)?;
        ensure!(!tests.is_empty(), "cargo built no tests for Windows");
        for name in tests.iter().map(Program::name) {
            for (test, reason) in left_out(&name) {
                print(format!("left out: {name} {test}: {}", reason.text()))?;
            }
        }
        test_programs::run_each(tests, AT_ONCE, |program| {
            let mut command = Command::new(self.folder.join("run"));
            command.arg(&program.executable).arg("--test-threads=1");
            for (test, _) in left_out(&program.name()) {
                command.args(["--skip", test]);
            }
            command.env("WINE_SHARE", format!("{}:{}", root.display(), self.target.display()));
            // Where programs are looked for, besides the folders of Windows.
            command.env("WINEPATH", format!("Z:{}", self.folder.join("node").display()));
            command
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_are_left_out_belong_to_their_program_and_exist() {
        let of = |file| left_out(file).map(|(test, _)| test).collect::<Vec<_>>();
        assert_eq!(of("web-f63b92e40ef1a0c3").len(), 2);
        assert_eq!(of("web_load-e1a03a7da35e51aa").len(), 1);
        assert!(of("console-bc012c24fdfbd7af").is_empty());
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node-template/tests");
        let manual = std::fs::read_to_string(tests.join("../../docs/windows.md")).expect("docs/windows.md");
        for (program, test, _) in LEFT_OUT {
            let source = std::fs::read_to_string(tests.join(program).with_extension("rs")).expect(program);
            assert!(source.contains(&format!("async fn {test}()")), "{program} has no test {test}");
            assert!(manual.contains(&format!("`{test}`")), "docs/windows.md does not name {test}");
        }
    }
}
