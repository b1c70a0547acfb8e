//! What the fuzz targets do with their input: one module per target, each with a `run` that panics where a rule is broken.
//!
//! `targets/` hands libFuzzer's bytes over and does nothing else; `examples/seeds.rs` writes what it begins with. Nothing here touches the network; files are made
//! in temporary folders alone. An input that once broke a rule becomes a test beside the code that broke it.

#![forbid(unsafe_code)]

pub mod address;
pub mod canonical;
pub mod frame;
pub mod pool;
pub mod protocol;
pub mod seeds;
pub mod settings;
pub mod signature;
pub mod sync;

// The rules that every run of the simulator keeps, and what they ask of its network.
#[path = "../../simulator/src/check.rs"]
pub mod check;
pub mod network;

mod folder;
mod lists;
mod names;
mod net;
mod planted;
mod script;
