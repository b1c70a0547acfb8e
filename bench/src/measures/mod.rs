//! The measurements: one run of each.

pub(crate) mod cold_start;
pub(crate) mod delay;
pub(crate) mod listeners;
pub(crate) mod pages;
mod pushers;
pub(crate) mod throughput;
