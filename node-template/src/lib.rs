//! A peer-to-peer node that speaks JSON over WebSockets.

pub mod protocol;
