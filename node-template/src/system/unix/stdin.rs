//! Standard input, which is read only while this program is in the foreground of its terminal.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// How often a node in the background checks whether it is in the foreground, while input waits.
const FOREGROUND_CHECK: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Debug)]
pub struct Stdin;

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        loop {
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if in_background(&stdin) {
                std::thread::sleep(FOREGROUND_CHECK);
                continue;
            }
            match rustix::io::read(&stdin, &mut *buffer) {
                Err(Errno::INTR) => {}
                read => return Ok(read?),
            }
        }
    }
}

/// Returns whether another job owns the terminal: reading from it would stop this process.
fn in_background(stdin: &impl AsFd) -> bool {
    rustix::termios::tcgetpgrp(stdin).is_ok_and(|foreground| foreground != rustix::process::getpgrp())
}
