//! TLS as the transport sees it; a program that was built without it has no credentials, and so none of this happens.

#[cfg(feature = "tls")]
pub(crate) use crate::tls::{Live, accept_failed, dial_failed};

#[cfg(not(feature = "tls"))]
pub(crate) use absent::{Live, accept_failed, dial_failed};

/// What stands in the place of TLS where it was not built in.
#[cfg(not(feature = "tls"))]
mod absent {
    use std::convert::Infallible;
    use std::future::Ready;
    use std::io;

    use crate::protocol::access::Certified;
    use crate::transport::link::byte_stream::Stream;

    type Accepted<S> = Result<(Stream<S>, Certified), (io::Error, S)>;

    /// Credentials that nobody has.
    #[derive(Debug)]
    pub(crate) struct Live(Infallible);

    impl Live {
        pub(crate) fn now(&self) -> &Self {
            match self.0 {}
        }

        pub(crate) fn accept<S>(&self, _stream: S) -> Ready<Accepted<S>> {
            match self.0 {}
        }

        pub(crate) fn connect<S>(&self, _stream: S) -> Ready<io::Result<(Stream<S>, Certified)>> {
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
