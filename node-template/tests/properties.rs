//! What holds for every address and every message, tried with generated ones: reading never panics,
//! and what is written reads back as what it was.
//!
//! The cases are the same in every run; `PROPTEST_CASES` makes them more.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod properties {
    mod addresses;
    mod generated;
    mod messages;
}
