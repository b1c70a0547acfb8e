//! What several tasks share. Nothing here uses a task.

pub(crate) mod cargo;
pub(crate) mod debian;
pub(crate) mod end_node;
#[cfg(target_os = "linux")]
pub(crate) mod generated_pool;
pub(crate) mod left;
pub(crate) mod left_lessons;
#[cfg(target_os = "linux")]
pub(crate) mod namespace;
#[cfg(target_os = "linux")]
pub(crate) mod nat_lab;
pub(crate) mod node_command;
pub(crate) mod npm;
#[cfg(target_os = "linux")]
pub(crate) mod process;
pub(crate) mod running_nodes;
pub(crate) mod stop;
pub(crate) mod terminal;
#[cfg(target_os = "linux")]
pub(crate) mod testbed;
pub(crate) mod workspace;
