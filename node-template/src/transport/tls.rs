//! TLS as the transport uses it. A program built without the feature `tls` has no credentials, so
//! it never begins a handshake.

#[cfg(feature = "tls")]
pub(crate) use crate::tls::{Live, accept_failed, dial_failed};

#[cfg(not(feature = "tls"))]
pub(crate) use absent::{Live, accept_failed, dial_failed};

/// Stands in for TLS in a program built without it.
#[cfg(not(feature = "tls"))]
mod absent {
    use std::convert::Infallible;
    use std::future::Ready;
    use std::io;

    use meshpool_proto::access::Certified;

    use crate::util::byte_stream::ByteStream;

    type Accepted<S> = Result<(ByteStream<S>, Certified), (io::Error, S)>;

    /// Credentials that cannot exist.
    #[derive(Debug)]
    pub(crate) struct Live(Infallible);

    impl Live {
        pub(crate) fn now(&self) -> &Self {
            match self.0 {}
        }

        pub(crate) fn expires(&self) -> u64 {
            match self.0 {}
        }

        pub(crate) fn accept<S>(&self, _stream: S) -> Ready<Accepted<S>> {
            match self.0 {}
        }

        pub(crate) fn connect<S>(&self, _stream: S) -> Ready<io::Result<(ByteStream<S>, Certified)>> {
            match self.0 {}
        }
    }

    pub(crate) fn accept_failed(error: &io::Error) -> String {
        error.to_string()
    }

    pub(crate) fn dial_failed(_error: &io::Error) -> Option<String> {
        None
    }
}
