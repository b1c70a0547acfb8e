//! What several tasks share. Nothing here uses a task.

pub(crate) mod cargo;
pub(crate) mod generated_pool;
pub(crate) mod npm;
pub(crate) mod process;
pub(crate) mod running_nodes;
pub(crate) mod stop;
pub(crate) mod terminal;
pub(crate) mod testbed;
pub(crate) mod workspace;
