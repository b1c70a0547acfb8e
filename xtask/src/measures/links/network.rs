//! The networks whose links are measured.

/// How the links of one node are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// WebSockets over TCP.
    Open,
    /// The same over TLS 1.3, with certificates on both sides.
    Closed,
    /// An open network by node ids: QUIC over iroh, each link on one direct path.
    OverIroh,
}

impl Network {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed (TLS 1.3)",
            Self::OverIroh => "over iroh (QUIC)",
        }
    }

    /// Its folder, and the name in file names.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::OverIroh => "over-iroh",
        }
    }
}
