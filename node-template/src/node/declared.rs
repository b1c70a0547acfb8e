//! What a handle has of each declared topic.

use std::sync::Weak;

use crate::pool::Reader;
use crate::signing::validator::Validator;
use crate::validation::Rules;

/// What the application judges new transactions with, of the default topic or of another. The
/// node's task has it, and handles only refer to it: a function may hold a handle.
#[derive(Debug)]
pub(crate) struct Checks {
    pub(crate) validator: Validator,
    pub(crate) rules: Option<Rules>,
}

/// A declared topic.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub(crate) name: String,
    /// Whether items are kept by their time, so that each must have one.
    pub(crate) by_time: bool,
    pub(crate) checks: Weak<Checks>,
    pub(crate) pool: Reader,
}
