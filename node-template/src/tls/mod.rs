//! Closed networks: nodes use TLS 1.3 and admit only peers with a certificate of the network's
//! authority.
//!
//! | file | content |
//! |---|---|
//! | `authority` | creates an authority, issues certificates, makes and reads requests |
//! | `credentials` | what a node shows and accepts: `ca.pem`, `node.pem`, `node.key` |
//! | `certificate` | reads certificates and requests |
//! | `errors` | error texts, with the remedy |
//! | `web` | TLS to a web server, which is no member: for the command line |
//!
//! A node's certificate has the node's ed25519 key, so TLS proves the node id. Names are not
//! checked: nodes move from host to host, and the id identifies the member that answered. Sessions
//! are not resumed, so every connection checks the certificate. This module chooses the crypto
//! provider (ring), not the process.

mod authority;
mod certificate;
mod credentials;
mod errors;
#[cfg(feature = "cli")]
pub(crate) mod web;

pub use crate::folder::files::{CA_CERTIFICATE, CA_KEY, NODE_CERTIFICATE};
pub use authority::{Authority, AuthorityError, CA_VALIDITY, CERTIFICATE_NAME, NODE_VALIDITY, read_request, request};
pub(crate) use credentials::Live;
pub use credentials::{Credentials, CredentialsError, Files};
pub(crate) use errors::{accept_failed, dial_failed};
