//! JSON: read without copies, and written in the normal form that every node derives from it.
//!
//! A [`Parser`] checks a text against RFC 8259 in a single pass and notes the position of each
//! value. A [`Value`] is a cursor over these notes and copies nothing. [`Value::normal`] writes the
//! canonical JSON (RFC 8785) of a value, of which ids are made, and its compact JSON, which is
//! sent.
//!
//! The parser accepts all that the grammar allows, such as a number beyond any double or a lone
//! surrogate: a sibling that this version ignores may have them. A value that is written must be
//! one that JavaScript passes on unchanged, see [`Value::normal`].
//!
//! Every step is linear in the text, but for the sorting of keys. The memory that is kept between
//! texts is bounded, see [`Parser::trim`].

mod error;
mod escape;
mod normal;
mod number;
mod order;
mod parser;
mod pretty;
mod read;
mod token;

pub use error::JsonError;
pub use normal::Normal;
pub use parser::{Parser, Value};
pub use pretty::{write_pretty, write_pretty_within};
pub use token::Kind;

#[cfg(test)]
mod tests;
