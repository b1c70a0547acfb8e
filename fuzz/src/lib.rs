//! The fuzz targets: one module per target, each with a `run` that panics if a rule is broken.
//!
//! `targets/` passes libFuzzer's bytes to them; `examples/seeds.rs` writes the seeds. Nothing here
//! uses the network, and files are made in temporary folders only. An input that broke a rule
//! becomes a test beside the code that broke it.

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

// The rules of a single node, shared with the simulator.
#[path = "../../simulator/src/checks/rules.rs"]
pub mod rules;

mod folder;
mod lists;
mod names;
mod net;
mod planted;
mod script;
