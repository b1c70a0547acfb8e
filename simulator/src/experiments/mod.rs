//! What is run: networks with faults, measurements, hashes of runs.

pub mod capped;
pub mod convergence;
pub mod hashes;
pub mod measure;
pub mod mesh;
pub mod table;
pub mod topology;

mod inputs;
