//! `windows`: lints the project for Windows on Linux, and runs its tests under Wine.
//!
//! `packaging/windows/toolchain.sh` makes the toolchain and Wine, once. Wine is kinder than Windows
//! (docs/windows.md), so what passes here is necessary and not sufficient.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use crate::checks::test_programs;
use crate::support::cargo::{cargo_program, finish, without_package};
use crate::support::npm;
use crate::support::terminal::print;
use crate::support::workspace::Workspace;

const TARGET: &str = "x86_64-pc-windows-gnu";
const SCRIPT: &str = "packaging/windows/toolchain.sh";
/// The test that does what a learner does. CI runs it alone under Wine: the others take ten
/// minutes.
const SCENARIO: &str = "scenario";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run only what a learner does in the first minutes, as CI does
    #[arg(long)]
    scenario: bool,
    /// Lint only; this needs no root
    #[arg(long, conflicts_with = "scenario")]
    lint: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let root = workspace.root();
    if arguments.lint {
        lint(root)?;
    } else if arguments.scenario {
        scenario(root)?;
    } else {
        lint(root)?;
        let toolchain = Toolchain::make(root, true)?;
        toolchain.test(root, &["--workspace"])?;
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

    /// Builds test programs and runs each under Wine.
    fn test(&self, root: &Path, what: &[&str]) -> Result<()> {
        npm::install(&root.join("interop"))?;
        let build =
            [&["test", "--no-run", "--target", TARGET, "--message-format", "json-render-diagnostics"], what].concat();
        print(format!("> cargo {}", build.join(" ")))?;
        let output = self.cargo(root, &build).stderr(Stdio::inherit()).output().context("bash cannot be started")?;
        ensure!(output.status.success(), "the tests do not build for Windows: see cargo's errors above");
        let tests = test_programs::read(&output.stdout)?;
        ensure!(!tests.is_empty(), "cargo built no tests for Windows");
        let mut failed = Vec::new();
        for program in &tests {
            let name = program.name();
            let mut command = Command::new(self.folder.join("run"));
            command.arg(&program.executable).current_dir(&program.package);
            command.env("WINE_SHARE", format!("{}:{}", root.display(), self.target.display()));
            // Where programs are looked for, besides the folders of Windows.
            command.env("WINEPATH", format!("Z:{}", self.folder.join("node").display()));
            if finish(&mut command, &format!("wine {name}")).is_err() {
                failed.push(name);
            }
        }
        ensure!(failed.is_empty(), "failed under Wine: {}", failed.join(", "));
        print(format!("passed under Wine: {} test programs", tests.len()))?;
        Ok(())
    }
}
