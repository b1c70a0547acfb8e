//! Closed networks: nodes speak TLS 1.3 and let in nobody whose certificate the network's authority has not signed.
//!
//! ```text
//! authority   makes an authority, issues certificates, makes and reads requests    der     as much of DER as that needs
//! credentials what a node shows and accepts: ca.pem, node.pem, node.key            words   what went wrong, with the remedy
//! ```
//!
//! A node's certificate has the node's own ed25519 key, so what TLS proves is the node id. No name is checked: nodes move from host to host and have
//! many names, an operator would have to issue anew for each, and the id says more than any of them. Whoever answers at an address is a member, and which one shows.
//! Nothing is resumed: a certificate counts at every connection anew. The provider of the cryptography is chosen here (ring), not by the process.

mod authority;
mod certificate;
mod credentials;

mod words;

pub use crate::folder::replace::replace;
pub use authority::{
    Authority, AuthorityError, CA_CERTIFICATE, CA_KEY, CA_VALIDITY, CERTIFICATE_NAME, NODE_VALIDITY, read_request,
    request,
};
pub(crate) use credentials::Live;
pub use credentials::{Credentials, CredentialsError, Files, NODE_CERTIFICATE};
pub(crate) use words::{accept_failed, dial_failed};
