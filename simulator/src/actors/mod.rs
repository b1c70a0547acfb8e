//! The processes of a run: native nodes, exercise peers, clients.

pub mod client;
pub mod exercise_peer;
pub mod lie;
pub mod node;

mod disk;
mod liar;
mod replays;
mod simulated_key;
mod topics;
