//! A peer-to-peer node that speaks JSON over WebSockets.

pub mod protocol;

#[cfg(feature = "net")]
pub mod settings;

#[cfg(feature = "net")]
pub mod folder;
#[cfg(feature = "net")]
pub mod key;

#[cfg(feature = "net")]
pub mod report;

#[cfg(feature = "cli")]
pub mod logs;
