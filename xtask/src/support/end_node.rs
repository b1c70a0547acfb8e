//! Ending the node of a folder, whatever started it.

use std::time::Duration;

use anyhow::Result;
use meshpool::binary::system;
use tokio::time::{Instant, sleep};

use crate::support::workspace::{Folder, Holder, Lock};

/// The time in which a node ends by itself, ten seconds at the latest, and some more.
pub(crate) const GRACE: Duration = Duration::from_secs(12);
/// The time in which a killed node must be gone.
const KILLED: Duration = Duration::from_secs(5);
/// How often the locks are looked at. A node releases its lock when it ends.
const INTERVAL: Duration = Duration::from_millis(20);

/// What became of one folder's node.
pub(crate) enum Outcome {
    /// None ran there.
    Down,
    /// It ended when it was asked to, or by itself.
    Ended(Holder),
    /// It was killed.
    Killed(Holder),
    /// It runs on, and why.
    Left(String),
}

/// Ends the node of a folder: asks it, and kills it if it does not end in time, or at once.
///
/// # Errors
/// Its lock cannot be looked at.
pub(crate) async fn end_node(folder: &Folder, kill: bool) -> Result<Outcome> {
    let Some(holder) = holder(folder).await? else {
        return Ok(match folder.lock()? {
            Lock::Free => Outcome::Down,
            Lock::Held(_) => Outcome::Left(
                "runs, but its node.lock does not say in which process; stop it where it was started".into(),
            ),
        });
    };
    let Some(pid) = folder.process(&holder) else {
        return Ok(match folder.lock()? {
            Lock::Free => Outcome::Ended(holder),
            Lock::Held(_) => Outcome::Left(format!(
                "({holder}) runs where this user or this machine cannot see it, perhaps in a container; stop it where it was started"
            )),
        });
    };
    let ways = [(false, GRACE), (true, KILLED)].into_iter().skip(usize::from(kill));
    for (kill, patience) in ways {
        if let Err(error) = if kill { system::kill(pid) } else { system::end(pid) } {
            return Ok(Outcome::Left(format!(
                "({holder}) cannot be stopped: {error}; stop it as the user that runs it"
            )));
        }
        if is_free_within(folder, &holder, pid, patience).await? {
            return Ok(if kill { Outcome::Killed(holder) } else { Outcome::Ended(holder) });
        }
    }
    Ok(Outcome::Left(format!("({holder}) was killed and is still there; perhaps its disk hangs")))
}

/// Returns who holds a folder's lock, once two looks agree: a node that just started has the lock a
/// moment before its file says so.
async fn holder(folder: &Folder) -> Result<Option<Holder>> {
    let mut before = None;
    for _ in 0..10 {
        let Lock::Held(now) = folder.lock()? else { return Ok(None) };
        if now.is_some() && now == before {
            return Ok(now);
        }
        before = now;
        sleep(INTERVAL).await;
    }
    Ok(None)
}

/// Waits until a process no longer holds a folder's lock.
async fn is_free_within(folder: &Folder, holder: &Holder, pid: u32, patience: Duration) -> Result<bool> {
    let until = Instant::now() + patience;
    loop {
        if matches!(folder.lock()?, Lock::Free) || folder.process(holder) != Some(pid) {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        sleep(INTERVAL).await;
    }
}
