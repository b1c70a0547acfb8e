//! The human side.
