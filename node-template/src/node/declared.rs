//! What a handle has of each declared topic.

use crate::pool::Reader;
use crate::signing::validator::Validator;
use crate::validation::Rules;

/// A declared topic.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub(crate) name: String,
    /// Whether items are kept by their time, so that each must have one.
    pub(crate) by_time: bool,
    pub(crate) validator: Validator,
    pub(crate) rules: Option<Rules>,
    pub(crate) pool: Reader,
}
