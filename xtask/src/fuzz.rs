//! `fuzz`: random input that learns, against what strangers, editors and crashes can bring about.
//!
//! The targets are in `fuzz/`, a workspace of its own. cargo-fuzz is not needed: what it would tell the compiler is told here, and a target is a program that runs
//! by itself. No sanitizer is asked for, since these need a nightly compiler, and the project has no unsafe code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::check::{cargo_program, finish};
use crate::terminal::{self, tell};
use crate::workspace::Workspace;

/// What makes the compiler count which edges of the program run, and tell what is compared with what: the flags of `cargo fuzz build --sanitizer none` 0.13.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// How an input fails that breaks no rule: it takes longer than 10 s, or more than 2 GiB. The longest that are tried have 4 KiB, and long ones are tried from the
/// beginning.
const BOUNDS: [&str; 4] = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=4096", "-len_control=0"];

/// How much of what a target said is shown when it fails.
const SHOWN_LINES: usize = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many seconds each target runs
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = crate::terminal::number(1..=604_800_u32, "600"))]
    seconds: u32,
    /// Run this target alone; may be given several times
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let fuzz = workspace.root().join("fuzz");
    let targets = chosen(&fuzz, &arguments.targets)?;
    let programs = build(&fuzz)?;
    let mut rows = vec![
        ["target", "executions", "per second", "edges reached", "inputs kept", "result"].map(str::to_owned).to_vec(),
    ];
    let mut failed = Vec::new();
    for target in targets {
        tell(format!("> {target}, {} s", arguments.seconds))?;
        let ran = fuzz_one(&fuzz, &programs.join(&target), &target, arguments.seconds)?;
        let result = match &ran.find {
            None => "nothing found".to_owned(),
            Some(find) => {
                tell(format!("{}run it again: {} {}", ran.tail, programs.join(&target).display(), find.display()))?;
                failed.push(target.clone());
                "FOUND".to_owned()
            }
        };
        rows.push(vec![target, ran.executions, ran.rate, ran.edges, ran.kept, result]);
    }
    tell(format!("\n{}", terminal::table(&rows)))?;
    ensure!(failed.is_empty(), "found something: {}; the inputs are in fuzz/finds", failed.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// The targets that are wanted; all, if none is named.
fn chosen(fuzz: &Path, wanted: &[String]) -> Result<Vec<String>> {
    let folder = fuzz.join("targets");
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("{} can not be read", folder.display()))? {
        all.extend(entry?.path().file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    all.sort();
    if let Some(unknown) = wanted.iter().find(|target| !all.contains(target)) {
        bail!("there is no target {unknown}; there is {}", all.join(", "));
    }
    Ok(if wanted.is_empty() { all } else { wanted.to_vec() })
}

/// Builds all targets; tells the folder that they are in.
fn build(fuzz: &Path) -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("-vV").output().context("rustc can not be started")?;
    let version = String::from_utf8_lossy(&version.stdout);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    let mut command = Command::new(cargo_program());
    // With a target named, build scripts and macros are built without the flags.
    command.args(["build", "--release", "--bins", "--target", host]).current_dir(fuzz);
    command.env("RUSTFLAGS", COVERAGE.join(" ")).env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    finish(&mut command, "cargo build in fuzz/ (libFuzzer wants a C++ compiler; Debian: apt-get install g++)")?;
    Ok(fuzz.join("target").join(host).join("release"))
}

/// What came of one target.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ran {
    executions: String,
    rate: String,
    edges: String,
    kept: String,
    /// The input that broke something, and the last that the target said.
    find: Option<PathBuf>,
    tail: String,
}

fn fuzz_one(fuzz: &Path, program: &Path, target: &str, seconds: u32) -> Result<Ran> {
    let (corpus, finds) = (fuzz.join("corpus").join(target), fuzz.join("finds").join(target));
    for folder in [&corpus, &finds] {
        fs::create_dir_all(folder).with_context(|| format!("can not make {}", folder.display()))?;
    }
    let mut command = Command::new(program);
    command.arg(&corpus).arg(fuzz.join("seeds").join(target)).args(BOUNDS);
    command.arg(format!("-dict={}", fuzz.join("words.dict").display()));
    command.arg(format!("-artifact_prefix={}/", finds.display()));
    command.args([&format!("-max_total_time={seconds}"), "-print_final_stats=1"]).stdout(Stdio::null());
    let output = command.output().with_context(|| format!("{} can not be started", program.display()))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let mut ran = read_log(&log);
    if !output.status.success() {
        // Without a file the target did not come so far: what it said is all there is.
        ran.find.get_or_insert_default();
    }
    Ok(ran)
}

/// Reads libFuzzer's log.
fn read_log(log: &str) -> Ran {
    let after = |begin: &str| log.lines().find_map(|line| line.split_once(begin)).map(|(_, rest)| rest);
    let word = |text: Option<&str>| text.and_then(|text| text.split_whitespace().next()).unwrap_or("?").to_owned();
    let last = log.lines().rfind(|line| line.contains(" cov: "));
    let all = word(after("Loaded 1 PC tables (").map(|rest| rest.split(' ').next().unwrap_or(rest)));
    let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with('#')).collect();
    Ran {
        executions: word(after("stat::number_of_executed_units:")),
        rate: word(after("stat::average_exec_per_sec:")),
        edges: format!("{} of {all}", word(last.and_then(|line| line.split_once("cov: ")).map(|(_, rest)| rest))),
        kept: word(last.and_then(|line| line.split_once("corp: ")).map(|(_, rest)| rest)),
        find: after("Test unit written to ").map(PathBuf::from),
        tail: lines[lines.len().saturating_sub(SHOWN_LINES)..]
            .iter()
            .map(|line| terminal::plain(line) + "\n")
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_a_run_is_read() {
        let log = "INFO: Loaded 1 PC tables (10610 PCs): 10610 [0x1,0x2), \n#2\tINITED cov: 5 ft: 6 corp: 1/1b exec/s: 0 rss: 28Mb\n\
                   #883656\tDONE   cov: 1841 ft: 5480 corp: 1315/64Kb lim: 1510 exec/s: 67973 rss: 30Mb\nDone 883656 runs in 13 second(s)\n\
                   stat::number_of_executed_units: 883656\nstat::average_exec_per_sec:     67973\n";
        let ran = read_log(log);
        assert_eq!((&*ran.executions, &*ran.rate, &*ran.edges), ("883656", "67973", "1841 of 10610"));
        assert_eq!((&*ran.kept, ran.find), ("1315/64Kb", None));
    }

    #[test]
    fn a_find_is_told_with_its_file() {
        let log = "#7\tNEW    cov: 9 ft: 9 corp: 2/2b\nthread panicked at src/x.rs:1:\nboth\u{1b}[0m\nartifact_prefix='f/'; Test unit written to f/crash-1\n";
        let ran = read_log(log);
        assert_eq!(ran.find, Some(PathBuf::from("f/crash-1")));
        assert!(ran.tail.contains("panicked") && !ran.tail.contains('\u{1b}') && !ran.tail.contains("NEW"));
    }
}
