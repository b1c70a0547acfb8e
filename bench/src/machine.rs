//! What the numbers were measured on: processor, system, versions, and the disk with its own rate.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How much is written per `fdatasync` when the disk is measured, in bytes: from a few transactions
/// to a node's largest batch.
pub(crate) const BLOCKS: [usize; 4] = [4 << 10, 64 << 10, 1 << 20, 8 << 20];
/// For how long each of them is measured.
const MEASURED: Duration = Duration::from_millis(500);

/// Describes the machine, a line per thing.
pub(crate) fn describe(root: &Path, temporary: &Path) -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or_else(|_| "?".to_owned(), |cores| cores.to_string());
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.strip_suffix(" kB")?.parse::<f64>().ok())
        .map_or_else(|| "?".to_owned(), |kib| format!("{:.0}", kib / 1024.0 / 1024.0));
    let commit = said(Command::new("git").arg("-C").arg(root).args(["describe", "--always", "--dirty"]));
    vec![
        format!("date: {}", said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))),
        format!("machine: {cores} cores, {processor}; {memory} GiB of memory"),
        format!("system: Linux {}", said(Command::new("uname").arg("-r"))),
        format!(
            "versions: commit {commit}; {}; Node.js {}; ws {}; {}",
            said(Command::new("rustc").arg("--version")),
            said(Command::new("node").arg("--version")),
            version_of_ws(root).unwrap_or_else(|| "not installed".to_owned()),
            versions_of_rivals(root)
        ),
        format!("nodes' folders: {}", file_system(temporary).unwrap_or_else(|| "unknown file system".to_owned())),
    ]
}

/// How often per second this file system takes each of [`BLOCKS`] at the end of a file and has it
/// on disk: what bounds whoever keeps its pool there.
pub(crate) fn disk_rates(folder: &Path) -> Result<[f64; BLOCKS.len()]> {
    let mut rates = [0.0; BLOCKS.len()];
    for (rate, block) in rates.iter_mut().zip(BLOCKS) {
        *rate = disk_rate(folder, block)?;
    }
    Ok(rates)
}

fn disk_rate(folder: &Path, block: usize) -> Result<f64> {
    let path = folder.join(format!("disk-rate-{}", std::process::id()));
    let rate = measure(&path, block).with_context(|| format!("{} can not be written", path.display()));
    fs::remove_file(&path).with_context(|| format!("{} can not be removed", path.display()))?;
    rate
}

fn measure(path: &Path, block: usize) -> Result<f64> {
    let mut file = File::create(path)?;
    let block = vec![b'x'; block];
    let (start, mut writes) = (Instant::now(), 0);
    while start.elapsed() < MEASURED {
        file.write_all(&block)?;
        file.sync_data()?;
        writes += 1;
    }
    Ok(f64::from(writes) / start.elapsed().as_secs_f64())
}

/// The first `name: value` of a file of the kernel's.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// What a program prints; a question mark where it can not be asked.
fn said(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    output.map_or_else(|| "?".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn version_of_ws(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join("interop/node_modules/ws/package.json")).ok()?;
    let package: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(package.get("version")?.as_str()?.to_owned())
}

/// What the rivals are built of, as the bench's lock file says.
fn versions_of_rivals(root: &Path) -> String {
    let lock = fs::read_to_string(root.join("bench/Cargo.lock")).unwrap_or_default();
    let version = |name: &str| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        rest.split_once('"').map(|(version, _)| format!("{name} {version}"))
    };
    let names = ["libp2p", "libp2p-gossipsub", "iroh", "iroh-gossip", "tokio-tungstenite"];
    names.into_iter().filter_map(version).collect::<Vec<_>>().join("; ")
}

/// Kind and device of the file system that holds a folder: that of the longest mount point above
/// it.
fn file_system(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let above = mounts.filter(|(_, point, _)| folder.starts_with(point));
    // The last of several at one point is the one that is seen.
    above.max_by_key(|(_, point, _)| point.len()).map(|(device, _, kind)| format!("{kind} on {device}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_has_a_file_system() {
        assert!(file_system(Path::new("/")).is_some());
    }
}
