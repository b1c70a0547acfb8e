//! The memory that a parser keeps between texts for their normal forms.

use crate::json::order::Order;

/// Buffers that a parser keeps between texts.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(super) canonical: String,
    pub(super) order: Order,
}

/// The bytes of a canonical text, and of a frame, for which a parser keeps memory between texts.
pub(crate) const KEPT_BYTES: usize = 64 * 1024;

impl Scratch {
    pub(super) fn trim(&mut self) {
        if self.canonical.capacity() > KEPT_BYTES {
            self.canonical = String::new();
        }
        self.order.trim();
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.canonical.capacity() + self.order.bytes()
    }
}
