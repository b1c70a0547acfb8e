//! What is run: networks with faults, measurements, hashes of runs.

pub mod capped;
pub mod convergence;
pub mod hashes;
pub mod hub;
pub mod liars;
pub mod measure;
pub mod mesh;
pub mod topics;
pub mod topology;

mod inputs;
