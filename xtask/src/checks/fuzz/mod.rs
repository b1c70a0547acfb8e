//! `fuzz`: coverage-guided fuzzing of what strangers, editors and crashes can feed to a node.
//!
//! The targets are in `fuzz/`, a workspace of its own; each is a program. cargo-fuzz is not needed:
//! this task passes its compiler flags. Sanitizers need a nightly compiler, and the project has no
//! unsafe code, so none is used.

mod nodejs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use measuring::Table;
use tempfile::TempDir;

use crate::support::cargo::{cargo_program, finish};
use crate::support::terminal::{self, print};
use crate::support::workspace::Workspace;

/// Flags that instrument edges and comparisons, as `cargo fuzz build --sanitizer none` 0.13 passes
/// them.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// An input fails, besides a broken rule, after 120 s or with 2 GiB of memory. Most take
/// milliseconds, and a busy machine must cause no finding. Inputs have at most 4 KiB, long ones
/// from the start.
const BOUNDS: [&str; 5] =
    ["-timeout=120", "-report_slow_units=120", "-rss_limit_mb=2048", "-max_len=4096", "-len_control=0"];

/// How many of the last lines of a failed target's log are shown.
const SHOWN_LINES: usize = 20;

/// Seconds for each target in CI.
const SHORT: u32 = 20;

/// The environment variable that plants a fault in a target.
const PLANTED: &str = "FUZZ_PLANTED";

/// The target whose inputs are compared with Node.js too.
const CANONICAL: &str = "canonical";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run each target for N seconds
    #[arg(long, value_name = "N", default_value_t = SHORT, value_parser = crate::support::terminal::number(1..=604_800_u32, "600"))]
    seconds: u32,
    /// Run only this target; may be given several times
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// Start from the seeds only, without what earlier runs have learnt, and keep only inputs that
    /// fail
    #[arg(long)]
    fresh: bool,
    /// Plant a fault in each target, and fail if one does not find it
    #[arg(long)]
    planted: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    fuzz(workspace.root(), arguments).map(|()| ExitCode::SUCCESS)
}

/// Runs each target for a short time, starting from the seeds, as CI does.
pub(crate) fn short(root: &Path) -> Result<()> {
    fuzz(root, &Arguments { seconds: SHORT, targets: Vec::new(), fresh: true, planted: false })
}

fn fuzz(root: &Path, arguments: &Arguments) -> Result<()> {
    let fuzz = root.join("fuzz");
    let targets = chosen(&fuzz, &arguments.targets)?;
    let programs = build(&fuzz)?;
    let temporary = (arguments.fresh || arguments.planted).then(TempDir::new).transpose();
    let temporary = temporary.context("a temporary folder cannot be made")?;
    let kept = temporary.as_ref().map_or(fuzz.as_path(), TempDir::path);
    let finds = if arguments.planted { kept } else { &fuzz };
    let plan = Plan {
        programs,
        corpus: kept.join("corpus"),
        finds: finds.join("finds"),
        seconds: arguments.seconds,
        planted: arguments.planted,
        fuzz,
    };
    let began = Instant::now();
    let result = plan.run_all(&targets)?;
    print(format!("\n{}\nin {:.0} s", table(&targets, &result, plan.planted), began.elapsed().as_secs_f64()))?;
    let of = |found: bool| {
        let some = targets.iter().zip(&result).filter(|(_, result)| result.failure.is_some() == found);
        some.map(|(target, _)| target.as_str()).collect::<Vec<_>>()
    };
    if plan.planted {
        ensure!(of(false).is_empty(), "the planted fault was not found by: {}", of(false).join(", "));
    } else {
        ensure!(of(true).is_empty(), "failed: {}; the inputs are in fuzz/finds", of(true).join(", "));
    }
    Ok(())
}

/// Returns the named targets, or all if none is named.
fn chosen(fuzz: &Path, wanted: &[String]) -> Result<Vec<String>> {
    let folder = fuzz.join("targets");
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        all.extend(entry?.path().file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    all.sort();
    if let Some(unknown) = wanted.iter().find(|target| !all.contains(target)) {
        bail!("there is no target {unknown}; there is {}", all.join(", "));
    }
    Ok(if wanted.is_empty() { all } else { wanted.to_vec() })
}

/// Builds all targets and returns the folder of their programs.
fn build(fuzz: &Path) -> Result<PathBuf> {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let answer = Command::new(&compiler).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    ensure!(
        answer.is_ok_and(|status| status.success()),
        "{} is missing: libFuzzer needs a C++ compiler; install one (Debian: apt-get install g++), or name it in CXX",
        compiler.display()
    );
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("-vV").output().context("rustc cannot be started")?;
    let version = String::from_utf8_lossy(&version.stdout);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    let mut command = Command::new(cargo_program());
    // With `--target`, build scripts and macros are built without the flags.
    command.args(["build", "--release", "--bins", "--target", host]).current_dir(fuzz);
    command.env("RUSTFLAGS", COVERAGE.join(" ")).env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    finish(&mut command, "cargo build --release, in fuzz/, with coverage")?;
    Ok(fuzz.join("target").join(host).join("release"))
}

/// The settings of a run.
#[derive(Debug)]
struct Plan {
    fuzz: PathBuf,
    /// The folders of the programs, of the learnt inputs, and of the failing ones.
    programs: PathBuf,
    corpus: PathBuf,
    finds: PathBuf,
    seconds: u32,
    planted: bool,
}

/// The result of one target.
#[derive(Debug, Default, PartialEq)]
struct TargetResult {
    executions: String,
    rate: String,
    edges: String,
    kept: String,
    /// The input that failed, and the last lines of the log.
    failure: Option<PathBuf>,
    tail: String,
    /// How many of the kept inputs Node.js has judged.
    compared: Option<usize>,
    seconds: f64,
}

impl Plan {
    /// Runs the targets, as many in parallel as there are cores.
    fn run_all(&self, targets: &[String]) -> Result<Vec<TargetResult>> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(usize, TargetResult)>> {
            let mut done = Vec::new();
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let Some(target) = targets.get(turn) else { return Ok(done) };
                print(format!("> {target}, {} s", self.seconds))?;
                let result = self.run_one(target)?;
                if let Some(input) = result.failure.as_ref().filter(|_| !self.planted) {
                    let program = self.programs.join(target);
                    print(format!(
                        "{target}:\n{}run it again: {} {}",
                        result.tail,
                        program.display(),
                        input.display()
                    ))?;
                }
                done.push((turn, result));
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(targets.len());
        let done: Result<Vec<_>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|worker| worker.join().expect("no panic in running a program")).collect()
        });
        let mut all: Vec<_> = done?.into_iter().flatten().collect();
        all.sort_by_key(|(turn, _)| *turn);
        Ok(all.into_iter().map(|(_, result)| result).collect())
    }

    fn run_one(&self, target: &str) -> Result<TargetResult> {
        let (corpus, finds) = (self.corpus.join(target), self.finds.join(target));
        for folder in [&corpus, &finds] {
            fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        let (program, seeds) = (self.programs.join(target), self.fuzz.join("seeds").join(target));
        let mut command = Command::new(&program);
        command.arg(&corpus).arg(&seeds).args(BOUNDS);
        command.arg(format!("-dict={}", self.fuzz.join("words.dict").display()));
        command.arg(format!("-artifact_prefix={}/", finds.display()));
        command.args([&format!("-max_total_time={}", self.seconds), "-print_final_stats=1"]).stdout(Stdio::null());
        if self.planted {
            command.env(PLANTED, "1");
        }
        let began = Instant::now();
        let output = command.output().with_context(|| format!("{} cannot be started", program.display()))?;
        let mut result = read_log(&String::from_utf8_lossy(&output.stderr));
        result.seconds = began.elapsed().as_secs_f64();
        if !output.status.success() {
            // Without a file the target failed before its first input: its log is all there is.
            result.failure.get_or_insert_default();
        } else if target == CANONICAL && !self.planted {
            let judged = nodejs::judge(&[&seeds, &corpus])?;
            if let Some((file, complaint)) = judged.complaint {
                let kept = finds.join(file.file_name().context("an input has a name")?);
                fs::copy(&file, &kept).with_context(|| format!("{} cannot be written", kept.display()))?;
                (result.failure, result.tail) = (Some(kept), format!("Node.js differs: {complaint}\n"));
            }
            result.compared = Some(judged.texts);
        }
        Ok(result)
    }
}

fn table(targets: &[String], results: &[TargetResult], planted: bool) -> Table {
    let mut table = Table::new(["target", "executions", "per second", "edges reached", "inputs kept", "result"]);
    for (target, result) in targets.iter().zip(results) {
        let outcome = match (&result.failure, result.compared) {
            (Some(_), _) if planted => format!("found after {:.1} s", result.seconds),
            (None, _) if planted => "NOT FOUND".to_owned(),
            (Some(_), _) => "FAILED".to_owned(),
            (None, Some(texts)) => format!("passed, Node.js agrees about {texts}"),
            (None, None) => "passed".to_owned(),
        };
        let TargetResult { executions, rate, edges, kept, .. } = result;
        table.push([target, executions, rate, edges, kept, &outcome]);
    }
    table
}

/// Reads the log of libFuzzer.
fn read_log(log: &str) -> TargetResult {
    let after = |begin: &str| log.lines().find_map(|line| line.split_once(begin)).map(|(_, rest)| rest);
    let word = |text: Option<&str>| text.and_then(|text| text.split_whitespace().next()).unwrap_or("?").to_owned();
    let last = log.lines().rfind(|line| line.contains(" cov: "));
    let all = word(after("Loaded 1 PC tables (").map(|rest| rest.split(' ').next().unwrap_or(rest)));
    let mut written = log.lines().filter_map(|line| Some(line.split_once("Test unit written to ")?.1));
    let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with('#')).collect();
    TargetResult {
        executions: word(after("stat::number_of_executed_units:")),
        rate: word(after("stat::average_exec_per_sec:")),
        edges: format!("{} of {all}", word(last.and_then(|line| line.split_once("cov: ")).map(|(_, rest)| rest))),
        kept: word(last.and_then(|line| line.split_once("corp: ")).map(|(_, rest)| rest)),
        // Slow inputs are written too; they are no failures.
        failure: written.find(|file| !file.contains("slow-unit-")).map(PathBuf::from),
        tail: lines[lines.len().saturating_sub(SHOWN_LINES)..]
            .iter()
            .map(|line| terminal::strip_control(line) + "\n")
            .collect(),
        ..TargetResult::default()
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
        let result = read_log(log);
        assert_eq!((&*result.executions, &*result.rate, &*result.edges), ("883656", "67973", "1841 of 10610"));
        assert_eq!((&*result.kept, result.failure), ("1315/64Kb", None));
        let slow = "Slowest unit: 11 s:\nartifact_prefix='f/'; Test unit written to f/slow-unit-5146bc\n";
        assert_eq!(read_log(slow).failure, None);
    }

    #[test]
    fn a_find_is_told_with_its_file() {
        let log = "#7\tNEW    cov: 9 ft: 9 corp: 2/2b\nthread panicked at src/x.rs:1:\nboth\u{1b}[0m\nartifact_prefix='f/'; Test unit written to f/crash-1\n";
        let result = read_log(log);
        assert_eq!(result.failure, Some(PathBuf::from("f/crash-1")));
        assert!(result.tail.contains("panicked") && !result.tail.contains('\u{1b}') && !result.tail.contains("NEW"));
    }
}
