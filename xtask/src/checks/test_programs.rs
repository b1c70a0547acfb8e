//! The test programs of the workspace, several at a time: most of their time is waiting for events,
//! of which cargo, which runs one after another, would have none of the use.
//!
//! The output of a program is shown when it ends, whole.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::support::cargo::{cargo_program, command, without_package};
use crate::support::terminal::{plural, print};

/// How many run at a time. Each has a thread for each core besides.
const AT_ONCE: usize = 3;

/// A test program, and the folder of its package, in which cargo would run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) executable: PathBuf,
    pub(crate) package: PathBuf,
}

impl Program {
    pub(crate) fn name(&self) -> String {
        self.executable.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The part of cargo's messages that names a test program.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Returns the test programs that cargo reports in its messages.
pub(crate) fn read(messages: &[u8]) -> Result<Vec<Program>> {
    let lines = messages.split(|byte| *byte == b'\n');
    let built = lines.filter_map(|line| serde_json::from_slice::<Message>(line).ok());
    let tests = built.filter(|message| message.profile.as_ref().is_some_and(|profile| profile.test));
    let programs = tests.filter_map(|message| Some((message.executable?, message.manifest_path?)));
    programs
        .map(|(executable, manifest)| {
            let package = manifest.parent().context("a manifest is in a folder")?.to_owned();
            Ok(Program { executable, package })
        })
        .collect()
}

/// Builds all test programs of the workspace and runs them. `arguments` are for each of them,
/// `environment` too.
pub(crate) fn run(root: &Path, arguments: &[&str], environment: &[(&str, String)]) -> Result<()> {
    let build = ["test", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"];
    print(format!("> cargo {}", build.join(" ")))?;
    let output = command(root, &build).stderr(Stdio::inherit()).output().context("cargo cannot be started")?;
    ensure!(output.status.success(), "the tests do not build: see cargo's errors above");
    let programs = read(&output.stdout)?;
    ensure!(!programs.is_empty(), "cargo built no tests");
    run_each(programs, AT_ONCE, |program| {
        let mut command = Command::new(&program.executable);
        command.args(arguments).env("CARGO", cargo_program());
        // Some of them build programs.
        without_package(&mut command);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command
    })
}

/// Runs each program by the command that `command` returns for it, in the folder of its package;
/// `at_once` of them at a time.
///
/// # Errors
/// Names the programs that failed; the others run all the same.
pub(crate) fn run_each(
    programs: Vec<Program>,
    at_once: usize,
    command: impl Fn(&Program) -> Command + Sync,
) -> Result<()> {
    let number = programs.len();
    let waiting = Mutex::new(VecDeque::from(programs));
    let failed = Mutex::new(Vec::new());
    let lane = || {
        while let Some(program) = take(&waiting) {
            let passed = run_one(&program, command(&program));
            if !matches!(passed, Ok(true)) {
                let why = passed.err().map_or(String::new(), |error| format!(" ({error:#})"));
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{}{why}", program.name()));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(lane);
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(failed.is_empty(), "{} of {number} test programs failed: {}", failed.len(), failed.join(", "));
    print(format!("{} passed", plural(number, "test program")))?;
    Ok(())
}

/// Takes the next: those of the tasks, which are built last, take longest.
fn take(waiting: &Mutex<VecDeque<Program>>) -> Option<Program> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_back()
}

/// Runs a program in the folder of its package; returns whether it passed.
fn run_one(program: &Program, mut command: Command) -> Result<bool> {
    // Files: Node.js under Wine cannot write into the pipes of Linux.
    let (shown, error) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.current_dir(&program.package).stdin(Stdio::null());
    command.stdout(shown.try_clone()?).stderr(error.try_clone()?);
    let status = command.status().with_context(|| format!("{} cannot be started", program.executable.display()))?;
    let (shown, error) = (text(shown)?, text(error)?);
    let error = if error.is_empty() { error } else { format!("\n{error}") };
    print(format!("\n> {}{error}\n{shown}", program.name()))?;
    Ok(status.success() && !has_failed(&shown))
}

/// Returns what was written into a file.
fn text(mut file: File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Returns whether a program says that a test failed. Under Wine one was seen to end with exit code
/// 0 all the same.
fn has_failed(shown: &str) -> bool {
    shown.lines().any(|line| line.starts_with("test result: FAILED"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_read_from_the_messages_of_cargo() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"manifest_path\":\"/a/Cargo.toml\",\"profile\":{\"test\":true},\"executable\":\"/t/one-12\"}\n",
            "{\"reason\":\"compiler-artifact\",\"manifest_path\":\"/a/Cargo.toml\",\"profile\":{\"test\":false},\"executable\":\"/t/bin\"}\n",
            "{\"reason\":\"compiler-artifact\",\"manifest_path\":\"/a/Cargo.toml\",\"profile\":{\"test\":true},\"executable\":null}\n",
            "no JSON\n",
        );
        let programs = read(messages.as_bytes()).expect("read");
        let one = Program { executable: "/t/one-12".into(), package: "/a".into() };
        assert_eq!((programs[0].name().as_str(), programs), ("one-12", vec![one]));
    }

    #[test]
    fn what_a_program_says_counts_besides_its_exit_code() {
        assert!(has_failed("\ntest result: FAILED. 0 passed; 1 failed; finished in 27.56s\n"));
        assert!(!has_failed("test result: ok. 1 passed; 0 failed; finished in 0.20s"));
        assert!(!has_failed(""));
    }

    #[test]
    fn each_program_is_run_and_those_that_fail_are_named() {
        let program = |name: &str| Program { executable: name.into(), package: ".".into() };
        let programs: Vec<_> = ["one", "two", "three", "four", "five"].map(program).into();
        let run = |failing: &'static str| {
            let tried = Mutex::new(Vec::new());
            let result = run_each(programs.clone(), 2, |program| {
                tried.lock().expect("not poisoned").push(program.name());
                // This program is there on every system.
                let mut command = Command::new(std::env::current_exe().expect("this program"));
                command.arg(if program.name() == failing { "--no-such-option" } else { "--list" });
                command
            });
            let mut tried = tried.into_inner().expect("not poisoned");
            tried.sort();
            assert_eq!(tried, ["five", "four", "one", "three", "two"]);
            result
        };
        run("none").expect("all pass");
        assert_eq!(run("two").expect_err("one fails").to_string(), "1 of 5 test programs failed: two");
    }
}
