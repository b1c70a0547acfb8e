//! The rules that a run must keep, checked from outside of the cores.

pub mod exercise;
pub mod rules;
