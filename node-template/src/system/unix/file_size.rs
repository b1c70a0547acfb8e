//! The limit of file sizes (`ulimit -f`, LimitFSIZE of systemd).

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// Makes a write beyond the limit of file sizes fail, as on a full disk, instead of ending the
/// process without a word. Programs that this one starts are not affected.
pub fn survive_limit() {
    // A handler stays until the process ends, also without the runtime that installed it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    // Without it the process ends at such a write, which nothing else depends on.
    if let Ok(runtime) = runtime {
        let _entered = runtime.enter();
        drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw())));
    }
}
