//! Measurements of real nodes, most with bounds that fail the task when broken.

pub(crate) mod bench;
pub(crate) mod hostile;
pub(crate) mod idle;
pub(crate) mod links;
pub(crate) mod scale;
mod setup;
pub(crate) mod soak;
pub(crate) mod wan;
