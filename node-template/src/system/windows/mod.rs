//! The Windows half.

#[cfg(feature = "cli")]
mod end_pipe;
mod files;
mod lock;
#[cfg(feature = "cli")]
mod process;
mod shell;
#[cfg(feature = "cli")]
mod signals;
#[cfg(feature = "cli")]
mod terminal;

use std::fs::Metadata;
use std::io;
use std::path::Path;

use crate::system::types::Others;

#[cfg(feature = "tls")]
pub use files::create_private_folder;
pub use files::{
    canonical, create_private, is_out_of_files, keep_access, open_regular, read_at, rename, rights_stamp, write_at,
};
pub use lock::try_lock;
pub use shell::unset;

#[cfg(feature = "cli")]
pub use {
    files::{check_descriptors, check_writable},
    lock::is_locked,
    process::{
        REMOVES_OPEN_FILES, THEN, copy_link, end, file_limit, has_open, is_running, kill, kill_group, leave_group,
        link_folder, make_way, runs_here, script, set_file_limit, shell, spawn_detached, survive_signals,
    },
    signals::{EndSignals, ReloadSignal},
    terminal::{Stdin, allow_colour},
};

/// Files have no mode: the access rights of the user's profile hold.
pub fn others(_: &Metadata, _: &Path) -> Others {
    Others::Closed
}

/// Does nothing: NTFS logs the entries of folders, and they cannot be waited for.
///
/// # Errors
/// None.
pub fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
