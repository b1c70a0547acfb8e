//! Who takes part in a run.

/// How many actors of each kind; the native nodes have the first numbers.
#[derive(Debug, Clone, Copy)]
pub struct Population {
    /// Native nodes.
    pub native: usize,
    /// Exercise peers.
    pub exercise: usize,
}

impl Population {
    /// How many actors listen.
    pub fn all(self) -> usize {
        self.native + self.exercise
    }
}

/// Networks of more nodes run without presence, unless it is requested: the work of the simulator
/// for it grows with the square of the nodes.
pub const PRESENCE_NODES: usize = 100;
