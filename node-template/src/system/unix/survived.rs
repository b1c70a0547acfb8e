//! The signals that would end the process without a word: of the limit of file sizes (`ulimit -f`,
//! LimitFSIZE of systemd), and those that other programs send to ask for something.

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// The signals that do nothing here. SIGXCPU ends the process as its limit is meant to.
const WITHOUT_EFFECT: [Signal; 5] = [Signal::XFSZ, Signal::USR1, Signal::USR2, Signal::ALARM, Signal::VTALARM];

/// Makes a write beyond the limit of file sizes fail, as on a full disk, instead of ending the
/// process, and ignores signals that mean nothing to this program. Programs that this one starts
/// are not affected.
pub fn survive_signals() {
    // A handler stays until the process ends, also without the runtime that installed it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    // Without it the process ends at such a signal, which nothing else depends on.
    if let Ok(runtime) = runtime {
        let _entered = runtime.enter();
        for kind in WITHOUT_EFFECT {
            drop(signal(SignalKind::from_raw(kind.as_raw())));
        }
    }
}
