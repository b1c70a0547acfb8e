//! Faults that should never happen.

use crate::support::terminal::note;
use std::cell::RefCell;

use anyhow::Result;

/// Faults that should never happen, printed at once and again at the end.
#[derive(Debug, Default)]
pub(crate) struct Findings(RefCell<Vec<String>>);

impl Findings {
    pub(crate) fn add(&self, what: String) {
        note!("FOUND: {what}");
        self.0.borrow_mut().push(what);
    }

    pub(crate) fn note(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.add(format!("{error:#}"));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub(crate) fn into_inner(self) -> Vec<String> {
        self.0.into_inner()
    }
}
