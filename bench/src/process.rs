//! What the system knows of a running process: its CPU time and its memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The CPU time of a process since its start, all its threads together, in user mode and in the
/// kernel. Its grain is 10 ms on most machines.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("{path} can not be read: the process is gone"))?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("{path} has no CPU times where proc(5) has them"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// The CPU time of a process's living threads, to the nanosecond. For a process that has just
/// started: none of its threads has ended then.
pub(crate) fn cpu_time_of_threads(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&path).with_context(|| format!("{path} can not be read: the process is gone"))?;
    let mut nanoseconds = 0;
    for thread in threads {
        let path = thread?.path().join("schedstat");
        // A thread that ended in between is left out.
        let text = fs::read_to_string(&path).unwrap_or_default();
        nanoseconds += text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Fields 14 and 15 of proc(5). Field 2, the program's name, may hold spaces and brackets: it is
/// skipped by its last bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The resident memory of a process, in bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("{path} can not be read: the process is gone"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kib.with_context(|| format!("{path} has no VmRSS"))? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_move_the_fields() {
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 4 0 99 0";
        assert_eq!(cpu_ticks(stat), Some(42));
    }

    #[test]
    fn our_own_process_has_memory() {
        assert!(resident(std::process::id()).unwrap() > 100_000);
        cpu_time(std::process::id()).unwrap();
        assert!(!cpu_time_of_threads(std::process::id()).unwrap().is_zero());
    }
}
