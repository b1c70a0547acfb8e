//! The processes of a run: native nodes, exercise peers, clients.

pub mod client;
pub mod exercise_peer;
pub mod liar;
pub mod node;

mod adversary;
mod disk;
mod replays;
mod simulated_key;
mod topics;
