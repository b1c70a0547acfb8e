//! What this program reads in certificates and requests: whose they are, and when they hold.
//!
//! The input was either checked against the authority before, or is a file of the node's owner.

use std::time::SystemTime;

use ed25519_dalek::{Signature, VerifyingKey};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::request::CertReq;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::protocol::id::NodeId;

/// id-Ed25519 (RFC 8410, section 3).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The parts of a certificate that a node uses (RFC 5280, section 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// The certificate's public key.
    pub(crate) node: NodeId,
    /// The subject's common name; empty if it has none.
    pub(crate) name: String,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    /// Whether it may sign other certificates (basic constraints).
    pub(crate) is_authority: bool,
}

impl Certificate {
    /// Reads a DER certificate. `None` if it is not one, or its key is no ed25519 key.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(der).ok()?;
        let certificate = certificate.tbs_certificate();
        let name = certificate.subject().common_name().ok()?.map(String::from).unwrap_or_default();
        let node = key(certificate.subject_public_key_info())?;
        let is_authority = certificate.get_extension::<BasicConstraints>().ok()?.is_some_and(|(_, basic)| basic.ca);
        let (not_before, not_after) = (certificate.validity().not_before, certificate.validity().not_after);
        let (not_before, not_after) = (not_before.to_system_time(), not_after.to_system_time());
        Some(Self { node, name, not_before, not_after, is_authority })
    }
}

/// Reads a DER request for a certificate (RFC 2986, section 4) and returns its key, if that key
/// signed the request.
pub(crate) fn requested_key(der: &[u8]) -> Option<NodeId> {
    let request = CertReq::from_der(der).ok()?;
    let node = key(&request.info.public_key)?;
    let signature = Signature::from_slice(request.signature.as_bytes()?).ok()?;
    // DER has one encoding per value: these are the bytes that were read.
    let signed = request.info.to_der().ok()?;
    VerifyingKey::from_bytes(&node.0).ok()?.verify_strict(&signed, &signature).ok()?;
    Some(node)
}

fn key(info: &SubjectPublicKeyInfoOwned) -> Option<NodeId> {
    info.algorithm.assert_algorithm_oid(ED25519).ok()?;
    Some(NodeId(info.subject_public_key.as_bytes()?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_short_is_none() {
        for bytes in [&b""[..], b"\x30", b"\x30\x05\x02", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x30\x82\x01"] {
            assert_eq!(Certificate::read(bytes), None, "{}", bytes.escape_ascii());
            assert_eq!(requested_key(bytes), None);
        }
    }
}
