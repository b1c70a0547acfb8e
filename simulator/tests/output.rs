//! What the program prints where nobody reads: `/dev/full`.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::process::{Command, Stdio};

fn full() -> File {
    File::options().write(true).open("/dev/full").expect("opened")
}

fn simulator(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simulator"));
    command.args(arguments.split(' ')).stdin(Stdio::null());
    command
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_and_not_a_panic() {
    for arguments in
        ["--scenario mesh --nodes 2 --plain 0 --seeds 1 --minutes 0.05", "hashes --scenario mesh --seeds 1"]
    {
        let child = simulator(arguments).stdout(full()).stderr(Stdio::piped()).spawn().expect("started");
        let output = child.wait_with_output().expect("it ended");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments}: {said}");
        assert!(said.contains("to standard output: No space left on device"), "{arguments}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments}: {said}");
    }
    let traced = "--scenario mesh --nodes 2 --plain 0 --seeds 1 --minutes 0.05 --trace";
    let status = simulator(traced).stdout(Stdio::null()).stderr(full()).status().expect("it ended");
    assert_eq!(status.code(), Some(0), "steps that nobody can read");
}
