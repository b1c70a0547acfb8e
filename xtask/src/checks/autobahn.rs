//! `autobahn`: runs the Autobahn test suite, the reference for RFC 6455, against our WebSocket
//! side.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::support::cargo::finish;
use crate::support::terminal::print;
use crate::support::workspace::Workspace;

/// The last release for Python 2.7; there is none for Python 3.
const SUITE: &str = "autobahntestsuite==0.8.2";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The Python 2.7 that runs the suite
    #[arg(long, value_name = "PROGRAM", default_value = "python2.7")]
    python: String,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let folder = workspace.root().join("target/autobahn");
    let (packages, report) = (folder.join("packages"), folder.join("report"));
    fs::create_dir_all(&report).with_context(|| format!("{} cannot be made", report.display()))?;
    let version = Command::new(&arguments.python).arg("--version").output();
    let version = version.map(|output| [output.stdout, output.stderr].concat());
    ensure!(
        version.as_ref().is_ok_and(|version| version.starts_with(b"Python 2.7")),
        "{} is not Python 2.7, which the suite needs; name one with --python",
        arguments.python
    );
    if !packages.join("autobahntestsuite").is_dir() {
        print(format!("installing {SUITE} into {}", packages.display()))?;
        let mut pip = Command::new(&arguments.python);
        pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(&packages).arg(SUITE);
        finish(&mut pip, "pip install")?;
    }
    let suite = folder.join("wstest");
    write_program(&suite, &arguments.python, &packages)?;
    let test = ["test", "--package", "meshpool", "--lib", "autobahn", "--", "--ignored", "--nocapture"];
    let mut cargo = Command::new("cargo");
    cargo.args(test).current_dir(workspace.root()).env("AUTOBAHN", &suite).env("AUTOBAHN_REPORT", &report);
    let result = finish(&mut cargo, "cargo test autobahn");
    print(format!("each case with all its frames: {}", report.join("index.html").display()))?;
    result.map(|()| ExitCode::SUCCESS)
}

/// Writes a program that runs the suite from where it was installed. PYTHONPATH is not enough,
/// since Python finds the suite's namespace packages by their `.pth` files alone.
fn write_program(path: &Path, python: &str, packages: &Path) -> Result<()> {
    let text = format!(
        "#!/usr/bin/env {python}\nimport site\nsite.addsitedir({:?})\nfrom autobahntestsuite.wstest import run\nrun()\n",
        packages.display().to_string()
    );
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("{} cannot be written", path.display()))
}
