//! What users run: make, start, feed, show and remove node folders.

pub(crate) mod add_transaction;
pub(crate) mod broadcast;
pub(crate) mod check_solution;
pub(crate) mod clone_node;
pub(crate) mod delete_nodes;
pub(crate) mod down;
pub(crate) mod image;
pub(crate) mod invite;
pub(crate) mod issue_certificate;
pub(crate) mod logs;
pub(crate) mod network;
pub(crate) mod new_network;
pub(crate) mod status;
pub(crate) mod transactions;
pub(crate) mod up;
