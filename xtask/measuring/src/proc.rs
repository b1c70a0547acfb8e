//! What Linux tells about processes and the machine in `/proc`, see proc(5).

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

/// Ticks per second of the times in `/proc`: USER_HZ, which is 100 on every platform that we run
/// on.
const TICKS: u64 = 100;

/// The memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// Resident at its highest.
    pub peak: u64,
}

/// Reads the resident memory of a process.
///
/// # Errors
/// The process has ended.
pub fn memory(pid: u32) -> Result<Memory> {
    let status = File::read(format!("/proc/{pid}/status"))?;
    Ok(Memory { resident: status.number("VmRSS:")? * 1024, peak: status.number("VmHWM:")? * 1024 })
}

/// Reads the resident memory that belongs to the process alone: its heap and its stacks, in bytes.
///
/// # Errors
/// The process has ended, or belongs to another user.
pub fn anonymous_memory(pid: u32) -> Result<u64> {
    Ok(File::read(format!("/proc/{pid}/smaps_rollup"))?.number("Anonymous:")? * 1024)
}

/// Counts the threads of a process.
///
/// # Errors
/// The process has ended.
pub fn threads(pid: u32) -> Result<u64> {
    File::read(format!("/proc/{pid}/status"))?.number("Threads:")
}

/// Counts the open file descriptors of a process.
///
/// # Errors
/// The process has ended, or belongs to another user.
pub fn descriptors(pid: u32) -> Result<usize> {
    Ok(entries(&format!("/proc/{pid}/fd"))?.count())
}

/// Reads the CPU time of a process, all its threads together, in user mode and in the kernel. Its
/// grain is 10 ms.
///
/// # Errors
/// The process has ended.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = File::read(format!("/proc/{pid}/stat"))?;
    stat.expect("CPU times", process_ticks(&stat.text)).map(time)
}

/// Reads the CPU time of a process's living threads, to the nanosecond. That is all of its time
/// while none of its threads has ended: just after it started.
///
/// # Errors
/// The process has ended.
pub fn cpu_time_of_threads(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in entries(&format!("/proc/{pid}/task"))? {
        // A thread that ended in between is left out.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The time of all processors together since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineTime {
    /// Spent on any work.
    pub busy: Duration,
    /// Spent on work or idle.
    pub total: Duration,
}

/// Reads the time of all processors.
///
/// # Errors
/// The system has no `/proc`.
pub fn machine_time() -> Result<MachineTime> {
    let stat = File::read("/proc/stat".to_owned())?;
    stat.expect("processor time", machine_ticks(&stat.text))
}

fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / TICKS)
}

/// Fields 14 and 15 of proc_pid_stat(5). Field 2, the program's name, may hold blanks and brackets:
/// it ends with the last bracket.
fn process_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut field = || fields.next()?.parse::<u64>().ok();
    Some(field()? + field()?)
}

/// proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal. The fields after them
/// repeat a guest's time.
fn machine_ticks(stat: &str) -> Option<MachineTime> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let fields: Vec<u64> = fields.take(8).map_while(|field| field.parse().ok()).collect();
    let idle = fields.get(3)? + fields.get(4)?;
    let total = fields.iter().sum::<u64>();
    Some(MachineTime { busy: time(total - idle), total: time(total) })
}

/// A file of `/proc`.
struct File {
    path: String,
    text: String,
}

impl File {
    fn read(path: String) -> Result<Self> {
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self { path, text }),
            Err(error) => Err(unreadable(&path, &error)),
        }
    }

    /// The number after a name at the beginning of a line.
    fn number(&self, name: &str) -> Result<u64> {
        self.expect(name, number_after(&self.text, name))
    }

    fn expect<T>(&self, what: &str, found: Option<T>) -> Result<T> {
        found.ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("{} has no {what}", self.path)))
    }
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn entries(path: &str) -> Result<fs::ReadDir> {
    fs::read_dir(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &str, error: &Error) -> Error {
    Error::new(error.kind(), format!("{path} cannot be read: {error}; has the process ended?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_move_the_fields() {
        assert_eq!(process_ticks("12 (a) b) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 4 0 99 0"), Some(42));
        assert_eq!(process_ticks("12 (a) S 1"), None);
    }

    #[test]
    fn the_processors_time_is_read() {
        let time = machine_ticks("cpu  10 1 5 100 20 0 2 3 50 0\ncpu0 5 0\n").expect("readable");
        assert_eq!((time.busy, time.total), (Duration::from_millis(210), Duration::from_millis(1_410)));
        assert_eq!(machine_ticks("cpu  10 1\n"), None);
    }

    #[test]
    fn numbers_follow_their_names() {
        let text = "Rss:   12 kB\nThreads:\t7\n";
        assert_eq!((number_after(text, "Rss:"), number_after(text, "Threads:")), (Some(12), Some(7)));
        assert_eq!(number_after(text, "VmRSS:"), None);
    }

    // Under Wine there is a `/proc` too, where the numbers of Windows name other processes.
    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_process_has_all_of_it() {
        let pid = std::process::id();
        let Memory { resident, peak } = memory(pid).expect("memory");
        assert!(resident > 100_000 && peak >= resident, "{resident} {peak}");
        assert!(anonymous_memory(pid).expect("memory") > 0);
        assert!(threads(pid).expect("threads") > 0 && descriptors(pid).expect("descriptors") > 2);
        cpu_time(pid).expect("time");
        assert!(!cpu_time_of_threads(pid).expect("time").is_zero());
        let time = machine_time().expect("time");
        assert!(time.busy <= time.total && !time.total.is_zero());
    }

    #[test]
    fn an_error_names_the_file() {
        let error = memory(u32::MAX).expect_err("no process").to_string();
        assert!(error.contains("/proc/4294967295/status"), "{error}");
    }
}
