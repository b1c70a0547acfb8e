//! The authority of a closed network: it signs the certificate of each node. Its folder holds `ca.key`, the secret, and `ca.pem`, which every node gets.
//!
//! It is used where certificates are issued, by `cargo xtask`, and never by a running node. A node's certificate has the node's own key, so that the node id
//! and the key that TLS proves are one thing; it names no host, because nodes move, and a node is known by its id.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SigningKey,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use sha2::{Digest, Sha256};

use crate::folder::files::{read_text, shown};
use crate::folder::node_key::{KeyError, NodeKey};
use crate::folder::replace::replace;
use crate::protocol::id::NodeId;
use crate::tls::certificate::{Certificate, requested_key};

/// The file of an authority's certificate.
pub const CA_CERTIFICATE: &str = "ca.pem";
/// The file of an authority's key: whoever can read it can let nodes in.
pub const CA_KEY: &str = "ca.key";
/// How long an authority's certificate holds.
pub const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// How long a node's certificate holds if nothing else is asked for.
pub const NODE_VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The name in every node's certificate. Nobody checks it; tools that insist on one can be told it.
pub const CERTIFICATE_NAME: &str = "p2p-node";
/// So much earlier than now a certificate begins to hold: clocks differ.
const EARLIER: Duration = Duration::from_secs(60 * 60);

/// A network's authority, ready to issue.
#[derive(Debug)]
pub struct Authority {
    key: NodeKey,
    name: String,
    not_after: SystemTime,
    pem: String,
}

/// Why there is no authority, or no certificate. One line: which file, what, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// There is one already, and it is never overwritten.
    #[error(
        "{path} is there already: an authority is made once, for every certificate hangs on it; use it, or name another folder"
    )]
    Exists {
        /// The file.
        path: String,
    },
    /// There is none.
    #[error("{path} is missing: make an authority with 'cargo xtask new-network'")]
    Missing {
        /// The file.
        path: String,
    },
    /// Its certificate can not be used.
    #[error("{path} is no certificate of {key}: put the original back")]
    Broken {
        /// The file.
        path: String,
        /// The file of the key.
        key: String,
    },
    /// Its certificate has expired.
    #[error("{path} has expired: make a new authority in another folder and issue every node a certificate of it")]
    Expired {
        /// The file.
        path: String,
    },
    /// The request is none.
    #[error(
        "{path} is no request for a certificate of a node: make one in the node's folder with 'meshpool --request-certificate > node.csr'"
    )]
    NotARequest {
        /// The file.
        path: String,
    },
    /// A file can not be read or written.
    #[error("{path}: {cause}; check the folder")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The key can not be used or made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file can not be read as text.
    #[error(transparent)]
    Folder(#[from] crate::folder::files::FolderError),
    /// A certificate can not be made.
    #[error("no certificate could be made: {0}")]
    Unmade(String),
}

impl Authority {
    /// Makes an authority in a folder, which is made too where it is missing, for its owner alone.
    ///
    /// # Errors
    /// [`AuthorityError::Exists`] if a file of one is there; nothing is overwritten.
    pub fn create(folder: &Path) -> Result<Self, AuthorityError> {
        let file = |name: &str, cause| AuthorityError::File { path: shown(folder, name), cause };
        make_private(folder).map_err(|cause| file("", cause))?;
        for name in [CA_KEY, CA_CERTIFICATE] {
            if folder.join(name).symlink_metadata().is_ok() {
                return Err(AuthorityError::Exists { path: shown(folder, name) });
            }
        }
        // Whatever the folder around it is, the key must not get into a repository.
        fs::write(folder.join(".gitignore"), "*\n").map_err(|cause| file(".gitignore", cause))?;
        let key = NodeKey::create_named(folder, CA_KEY)?;
        let now = SystemTime::now();
        let name = format!("p2p-node network {}", key.node_id().short());
        let not_after = now + CA_VALIDITY;
        let mut params = params(&name, key.node_id(), now - EARLIER, not_after)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&Pair::of(&key)).map_err(unmade)?;
        let pem = certificate.pem();
        replace(&folder.join(CA_CERTIFICATE), &pem).map_err(|cause| file(CA_CERTIFICATE, cause))?;
        Ok(Self { key, name, not_after, pem })
    }

    /// The authority of a folder.
    ///
    /// # Errors
    /// [`AuthorityError`] if it is missing, broken, expired, or its key can be read by others.
    pub fn open(folder: &Path) -> Result<Self, AuthorityError> {
        let path = shown(folder, CA_CERTIFICATE);
        let missing = |name: &str| AuthorityError::Missing { path: shown(folder, name) };
        let key = NodeKey::load_named(folder, CA_KEY)?.ok_or_else(|| missing(CA_KEY))?;
        let pem = read_text(&folder.join(CA_CERTIFICATE), &path)?.ok_or_else(|| missing(CA_CERTIFICATE))?;
        let facts = CertificateDer::from_pem_slice(pem.as_bytes()).ok().and_then(|der| Certificate::read(&der));
        match facts.filter(|facts| facts.node == key.node_id()) {
            Some(facts) if facts.not_after <= SystemTime::now() => Err(AuthorityError::Expired { path }),
            Some(facts) => Ok(Self { key, name: facts.name, not_after: facts.not_after, pem }),
            None => Err(AuthorityError::Broken { path, key: CA_KEY.to_owned() }),
        }
    }

    /// Its certificate, as every node of the network has it: PEM.
    pub fn certificate(&self) -> &str {
        &self.pem
    }

    /// A certificate for a node, PEM: from an hour ago, for clocks differ, and for `validity`, but not longer than the authority's own.
    ///
    /// # Errors
    /// [`AuthorityError::Unmade`] if the system gives no randomness.
    pub fn issue(&self, node: NodeId, validity: Duration) -> Result<String, AuthorityError> {
        let now = SystemTime::now();
        self.issue_between(node, now - EARLIER, now + validity)
    }

    /// A certificate for a node that holds from one time to another.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_between(&self, node: NodeId, from: SystemTime, until: SystemTime) -> Result<String, AuthorityError> {
        let mut params = params(&node.to_string(), node, from, until.min(self.not_after))?;
        params.subject_alt_names = vec![SanType::DnsName(CERTIFICATE_NAME.try_into().map_err(unmade)?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let mut issuer = CertificateParams::default();
        issuer.distinguished_name = common_name(&self.name);
        issuer.key_identifier_method = key_identifier(self.key.node_id());
        let issuer = Issuer::new(issuer, Pair::of(&self.key));
        Ok(params.signed_by(&Public(node), &issuer).map_err(unmade)?.pem())
    }
}

/// A request for a certificate, PEM: it proves that whoever made it has the key. The key does not leave the folder.
///
/// # Errors
/// [`AuthorityError::Unmade`].
pub fn request(key: &NodeKey) -> Result<String, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&key.node_id().to_string());
    params.serialize_request(&Pair::of(key)).and_then(|request| request.pem()).map_err(unmade)
}

/// Whose request a file holds.
///
/// # Errors
/// [`AuthorityError::NotARequest`], also if its signature is not that of its key.
pub fn read_request(file: &Path) -> Result<NodeId, AuthorityError> {
    let path = file.display().to_string();
    let text = read_text(file, &path)?;
    let der = text.and_then(|text| CertificateSigningRequestDer::from_pem_slice(text.as_bytes()).ok());
    der.and_then(|der| requested_key(&der)).ok_or(AuthorityError::NotARequest { path })
}

fn params(
    name: &str,
    key: NodeId,
    not_before: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, AuthorityError> {
    let mut serial = [0; 20];
    getrandom::fill(&mut serial).map_err(|error| AuthorityError::Unmade(error.to_string()))?;
    // At most 20 bytes, and positive (RFC 5280, section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.key_identifier_method = key_identifier(key);
    params.not_before = not_before.into();
    params.not_after = not_after.into();
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// The first 160 bits of the key's SHA-256 (RFC 7093, section 2).
fn key_identifier(key: NodeId) -> KeyIdMethod {
    KeyIdMethod::PreSpecified(Sha256::digest(key.0)[..20].to_vec())
}

fn unmade(error: rcgen::Error) -> AuthorityError {
    AuthorityError::Unmade(error.to_string())
}

/// Makes a folder that its owner alone may enter, unless it is there.
fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// A public key as rcgen wants it.
struct Public(NodeId);

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

/// A key that signs where it is.
struct Pair<'a> {
    key: &'a NodeKey,
    public: Public,
}

impl<'a> Pair<'a> {
    fn of(key: &'a NodeKey) -> Self {
        Self { key, public: Public(key.node_id()) }
    }
}

impl PublicKeyData for Pair<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.public.algorithm()
    }
}

impl SigningKey for Pair<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.sign(message).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    #[test]
    fn an_authority_is_made_once_and_issues_what_it_is_asked_for() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("network-ca");
        let made = Authority::create(&folder).expect("made");
        assert!(matches!(Authority::create(&folder), Err(AuthorityError::Exists { .. })));
        let opened = Authority::open(&folder).expect("there");
        assert_eq!((opened.certificate(), &opened.name), (made.certificate(), &made.name));
        let node = NodeKey::load_or_create(root.path()).expect("a key");
        let csr = root.path().join("node.csr");
        fs::write(&csr, request(&node).expect("made")).expect("written");
        assert_eq!(read_request(&csr).expect("a request"), node.node_id());
        let pem = opened.issue(node.node_id(), NODE_VALIDITY).expect("issued");
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        let facts = Certificate::read(&der).expect("a certificate");
        assert_eq!((facts.node, facts.name), (node.node_id(), node.node_id().to_string()));
        let left = facts.not_after.duration_since(SystemTime::now()).expect("later");
        assert!(left <= NODE_VALIDITY && left > NODE_VALIDITY - Duration::from_secs(60), "{left:?}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
            assert_eq!((mode(&folder), mode(&folder.join(CA_KEY))), (0o700, 0o600));
            fs::set_permissions(folder.join(CA_KEY), fs::Permissions::from_mode(0o640)).expect("set");
            let error = Authority::open(&folder).expect_err("open to others").to_string();
            assert!(error.contains("ca.key") && error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_read_as_it_was_issued() {
        let root = tempfile::tempdir().expect("a folder");
        let mut authority = Authority::create(root.path()).expect("made");
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        authority.not_after = at(5_000_000_000);
        let issued = |until| {
            let pem = authority.issue_between(NodeId([7; 32]), at(0), at(until)).expect("issued");
            CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM").to_vec()
        };
        // A leap day, and both encodings of times: RFC 5280, section 4.1.2.5, changes them at 2050.
        for until in [1_709_251_199, 1_795_278_235, 2_524_607_999, 2_524_608_000, 4_107_542_400] {
            assert_eq!(Certificate::read(&issued(until)).expect("a certificate").not_after, at(until));
        }
        let der = issued(1_795_278_235);
        let place = der.windows(13).position(|bytes| bytes == b"261121162355Z").expect("its end");
        for bad in [b"261321162355Z", b"2611211623+5Z", b"261121162355+"] {
            let mut changed = der.clone();
            changed[place..place + 13].copy_from_slice(bad);
            assert_eq!(Certificate::read(&changed), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_request_that_another_key_signed_is_none() {
        let root = tempfile::tempdir().expect("a folder");
        let key = NodeKey::load_or_create(root.path()).expect("a key");
        let pem = request(&key).expect("made");
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        let place = der.windows(32).position(|bytes| bytes == key.node_id().0).expect("its key");
        let mut forged = der.to_vec();
        let other = NodeKey::create_named(root.path(), "other.key").expect("a key").node_id();
        forged[place..place + 32].copy_from_slice(&other.0);
        assert_eq!(requested_key(&der), Some(key.node_id()));
        assert_eq!(requested_key(&forged), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(2026), ..ProptestConfig::with_cases(64) })]

        #[test]
        fn a_changed_request_names_nobody_else_and_no_bytes_are_too_strange(
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, any::<u8>()), 1..4),
        ) {
            let root = tempfile::tempdir().expect("a folder");
            let authority = Authority::create(&root.path().join("network-ca")).expect("made");
            let key = NodeKey::load_or_create(root.path()).expect("a key");
            let pem = request(&key).expect("made");
            let asked = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).expect("PEM");
            let pem = authority.issue(key.node_id(), NODE_VALIDITY).expect("issued");
            let issued = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
            for der in [&asked[..], &issued] {
                // Each place alone, and all of them together.
                let mut all = der.to_vec();
                for (place, what, byte) in &edits {
                    let mut once = der.to_vec();
                    for changed in [&mut all, &mut once] {
                        let place = place.index(changed.len());
                        match what {
                            0 => changed[place] = *byte,
                            1 => changed.insert(place, *byte),
                            _ => changed.truncate(place + 1),
                        }
                        let read = (requested_key(changed), Certificate::read(changed));
                        prop_assert!(read.0.is_none_or(|node| node == key.node_id()), "{}", changed.escape_ascii());
                    }
                }
            }
        }
    }
}
