//! The Unix half.

mod files;
mod lock;
mod modes;
#[cfg(feature = "cli")]
mod process;
mod shell;
#[cfg(feature = "cli")]
mod signals;
#[cfg(feature = "cli")]
mod stdin;
#[cfg(feature = "cli")]
mod survived;
mod sync;

#[cfg(feature = "tls")]
pub use files::create_private_folder;
#[cfg(test)]
pub(crate) use files::make_pipe;
pub use files::{
    canonical, create_private, is_out_of_files, keep_access, open_regular, read_at, rename, rights_stamp, write_at,
};
pub use lock::try_lock;
pub use modes::others;
pub use shell::unset;
pub use sync::sync_folder;

#[cfg(feature = "cli")]
pub use {
    files::{check_descriptors, check_writable},
    lock::is_locked,
    process::{
        REMOVES_OPEN_FILES, THEN, allow_colour, copy_link, end, file_limit, has_open, is_running, kill, kill_group,
        leave_group, link_folder, make_way, runs_here, script, set_file_limit, shell, spawn_detached,
    },
    signals::{EndSignals, ReloadSignal},
    stdin::Stdin,
    survived::survive_signals,
};
