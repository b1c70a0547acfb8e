//! The authority of a closed network, which signs the certificate of each node. Its folder holds
//! `ca.key`, the secret, and `ca.pem`, which every node gets.
//!
//! Only `cargo xtask` uses it, never a running node. A node's certificate has the node's own key,
//! and names no host.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SigningKey,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use sha2::{Digest, Sha256};

use crate::folder::files::{CA_CERTIFICATE, CA_KEY, folder_name, read_text, remedy, shown};
use crate::folder::node_key::{KeyError, NodeKey};
use crate::folder::replace::replace;
use crate::protocol::id::NodeId;
use crate::system::{Others, create_private_folder, others};
use crate::tls::certificate::{Certificate, requested_key};

/// The validity of an authority's certificate.
pub const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// The default validity of a node's certificate.
pub const NODE_VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The name in every node's certificate. Nodes do not check it, but some tools require one.
pub const CERTIFICATE_NAME: &str = "p2p-node";
/// How long before its issue a certificate becomes valid, since clocks differ.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);
/// Keeps the key out of a repository.
const IGNORED: &str = ".gitignore";
const IGNORE_ALL: &str = "*\n";

/// A network's authority.
#[derive(Debug)]
pub struct Authority {
    key: NodeKey,
    name: String,
    not_after: SystemTime,
    pem: String,
}

/// Why an authority or a certificate could not be made or read. One line: which file, what, what to
/// do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// There is one already, which is never overwritten.
    #[error("{path} exists already, and every certificate depends on it: use this authority, or name another folder")]
    Exists {
        /// The file.
        path: String,
    },
    /// A file is missing.
    #[error("{path} is missing: make an authority with 'cargo xtask new-network'")]
    Missing {
        /// The file.
        path: String,
    },
    /// Its certificate does not match its key.
    #[error("{path} is not the certificate of {key}: restore the original")]
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
    /// The file is not a valid request.
    #[error(
        "{path} is not a request for a node's certificate: make one in the node's folder with 'meshpool --request-certificate > node.csr'"
    )]
    NotARequest {
        /// The file.
        path: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {cause}; {}", remedy(.cause).unwrap_or("check the folder and its permissions"))]
    File {
        /// The file.
        path: String,
        /// The system's error.
        cause: io::Error,
    },
    /// The key cannot be used or created.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file cannot be read as text.
    #[error(transparent)]
    Folder(#[from] crate::folder::files::FolderError),
    /// A certificate or request cannot be made.
    #[error("cannot make a certificate: {0}")]
    Unmade(String),
}

impl Authority {
    /// Creates an authority in a folder, which is created too if it is missing, for its owner only.
    /// If that was interrupted before, the folder has a key alone: its certificate is made. A
    /// folder that is there keeps its mode and its files: see [`Self::warnings`].
    ///
    /// # Errors
    /// [`AuthorityError::Exists`] if the folder has the certificate of one; nothing is overwritten.
    pub fn create(folder: &Path) -> Result<Self, AuthorityError> {
        let file = |name: &str, cause| AuthorityError::File { path: shown(folder, name), cause };
        create_private_folder(folder).map_err(|cause| file("", cause))?;
        // It is written last.
        if folder.join(CA_CERTIFICATE).symlink_metadata().is_ok() {
            return Err(AuthorityError::Exists { path: shown(folder, CA_CERTIFICATE) });
        }
        match File::create_new(folder.join(IGNORED)).and_then(|mut file| file.write_all(IGNORE_ALL.as_bytes())) {
            // It is somebody's own, perhaps that of a whole repository.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            written => written.map_err(|cause| file(IGNORED, cause))?,
        }
        let key = match NodeKey::load_named(folder, CA_KEY)? {
            Some(key) => key,
            None => NodeKey::create_named(folder, CA_KEY)?,
        };
        let now = SystemTime::now();
        let name = format!("p2p-node network {}", key.node_id().short());
        let not_after = now + CA_VALIDITY;
        let mut params = params(&name, key.node_id(), now - CLOCK_SKEW, not_after)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&Pair::of(&key)).map_err(unmade)?;
        let pem = certificate.pem();
        replace(&folder.join(CA_CERTIFICATE), &pem).map_err(|cause| file(CA_CERTIFICATE, cause))?;
        Ok(Self { key, name, not_after, pem })
    }

    /// Returns what its owner has to do in a folder that was there before, a line for each.
    pub fn warnings(folder: &Path) -> Vec<String> {
        let mut warnings = Vec::new();
        let (name, path) = (folder_name(folder), shown(folder, IGNORED));
        if !matches!(read_text(&folder.join(IGNORED), &path), Ok(Some(text)) if text == IGNORE_ALL) {
            warnings.push(format!(
                "{path} was there before and stays as it is: {CA_KEY} must not be committed; write {CA_KEY} into it, or make the authority in a folder of its own"
            ));
        }
        if let Ok(metadata) = fs::metadata(folder)
            && let Others::Open(mode) = others(&metadata, &folder.join(CA_KEY))
        {
            warnings.push(format!(
                "{name} was there before and keeps its mode {mode:03o}, which lets others into it, though not read {CA_KEY}: chmod 700 {name} if nobody else needs it"
            ));
        }
        warnings
    }

    /// Opens the authority of a folder.
    ///
    /// # Errors
    /// [`AuthorityError`] if it is missing, broken or expired, or if others can read its key.
    pub fn open(folder: &Path) -> Result<Self, AuthorityError> {
        let path = shown(folder, CA_CERTIFICATE);
        let missing = |name: &str| AuthorityError::Missing { path: shown(folder, name) };
        let key = NodeKey::load_named(folder, CA_KEY)?.ok_or_else(|| missing(CA_KEY))?;
        let pem = read_text(&folder.join(CA_CERTIFICATE), &path)?.ok_or_else(|| missing(CA_CERTIFICATE))?;
        // The file may have the network's other authority too, while one replaces the other.
        let all = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(|der| Certificate::read(&der.ok()?));
        match all.filter(|own| own.node == key.node_id()).max_by_key(|own| own.not_after) {
            Some(own) if own.not_after <= SystemTime::now() => Err(AuthorityError::Expired { path }),
            Some(own) => Ok(Self { key, name: own.name, not_after: own.not_after, pem }),
            None => Err(AuthorityError::Broken { path, key: CA_KEY.to_owned() }),
        }
    }

    /// Returns its certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.pem
    }

    /// Issues a node's certificate, PEM. It ends after `validity`, but not after the authority's
    /// own.
    ///
    /// # Errors
    /// [`AuthorityError::Unmade`] if the system has no randomness.
    pub fn issue(&self, node: NodeId, validity: Duration) -> Result<String, AuthorityError> {
        let now = SystemTime::now();
        self.issue_between(node, now - CLOCK_SKEW, now + validity)
    }

    /// Issues a node's certificate for a period, PEM.
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

/// Returns a request for a certificate, PEM, which proves the possession of the key.
///
/// # Errors
/// [`AuthorityError::Unmade`].
pub fn request(key: &NodeKey) -> Result<String, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&key.node_id().to_string());
    params.serialize_request(&Pair::of(key)).and_then(|request| request.pem()).map_err(unmade)
}

/// Returns the key of the request in a file.
///
/// # Errors
/// [`AuthorityError::NotARequest`], also if the signature does not match the key.
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
    // At most 20 bytes and positive (RFC 5280, section 4.1.2.2).
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

/// A public key for rcgen.
struct Public(NodeId);

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

/// A key pair for rcgen. The secret stays in the [`NodeKey`].
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
    fn an_authority_is_created_once_and_issues_certificates() {
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
        let read = Certificate::read(&der).expect("a certificate");
        assert_eq!((read.node, read.name), (node.node_id(), node.node_id().to_string()));
        let left = read.not_after.duration_since(SystemTime::now()).expect("later");
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
    fn files_that_a_folder_has_stay_and_their_owner_is_warned() {
        let root = tempfile::tempdir().expect("a folder");
        let own = root.path().join("own");
        Authority::create(&own).expect("made");
        assert_eq!(fs::read_to_string(own.join(IGNORED)).expect("written"), IGNORE_ALL);
        assert_eq!(Authority::warnings(&own), Vec::<String>::new());

        let repository = root.path().join("repository");
        fs::create_dir(&repository).expect("made");
        fs::write(repository.join(IGNORED), "/target/\n").expect("written");
        Authority::create(&repository).expect("made");
        assert_eq!(fs::read_to_string(repository.join(IGNORED)).expect("read"), "/target/\n", "it stays");
        let warnings = Authority::warnings(&repository);
        assert!(warnings[0].contains(".gitignore was there before") && warnings[0].contains("ca.key"), "{warnings:?}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::{PermissionsExt, symlink};
            fs::set_permissions(&repository, fs::Permissions::from_mode(0o755)).expect("set");
            let warnings = Authority::warnings(&repository);
            assert!(warnings[1].contains("mode 755") && warnings[1].contains("chmod 700 "), "{warnings:?}");

            // A link is not followed, whether it leads somewhere or not.
            for (name, target) in [("linked", "target"), ("dangling", "none")] {
                let folder = root.path().join(name);
                fs::create_dir(&folder).expect("made");
                fs::write(root.path().join("target"), "mine").expect("written");
                symlink(root.path().join(target), folder.join(IGNORED)).expect("linked");
                Authority::create(&folder).expect("made");
                assert!(Authority::warnings(&folder)[0].contains("must not be committed"), "{name}");
            }
            assert_eq!(fs::read_to_string(root.path().join("target")).expect("read"), "mine");
            assert!(!root.path().join("none").exists());
        }
    }

    #[test]
    fn an_authority_whose_making_was_interrupted_is_finished() {
        let root = tempfile::tempdir().expect("a folder");
        let made = Authority::create(root.path()).expect("made");
        let key = fs::read(root.path().join(CA_KEY)).expect("its key");
        fs::remove_file(root.path().join(CA_CERTIFICATE)).expect("not written yet");
        assert!(matches!(Authority::open(root.path()), Err(AuthorityError::Missing { .. })));
        let finished = Authority::create(root.path()).expect("finished");
        assert_eq!((&finished.name, finished.key.node_id()), (&made.name, made.key.node_id()));
        assert_eq!(fs::read(root.path().join(CA_KEY)).expect("its key"), key, "it is not overwritten");
        Authority::open(root.path()).expect("there");
    }

    #[test]
    fn the_end_of_a_certificate_is_read_as_it_was_issued() {
        let root = tempfile::tempdir().expect("a folder");
        let mut authority = Authority::create(root.path()).expect("made");
        let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        authority.not_after = time(5_000_000_000);
        let issued = |until| {
            let pem = authority.issue_between(NodeId([7; 32]), time(0), time(until)).expect("issued");
            CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM").to_vec()
        };
        // A leap day, and both encodings of times: RFC 5280, section 4.1.2.5, changes them at 2050.
        for until in [1_709_251_199, 1_795_278_235, 2_524_607_999, 2_524_608_000, 4_107_542_400] {
            assert_eq!(Certificate::read(&issued(until)).expect("a certificate").not_after, time(until));
        }
        let der = issued(1_795_278_235);
        let at = der.windows(13).position(|bytes| bytes == b"261121162355Z").expect("its end");
        for bad in [b"261321162355Z", b"2611211623+5Z", b"261121162355+"] {
            let mut changed = der.clone();
            changed[at..at + 13].copy_from_slice(bad);
            assert_eq!(Certificate::read(&changed), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_request_signed_by_another_key_is_invalid() {
        let root = tempfile::tempdir().expect("a folder");
        let key = NodeKey::load_or_create(root.path()).expect("a key");
        let pem = request(&key).expect("made");
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        let at = der.windows(32).position(|bytes| bytes == key.node_id().0).expect("its key");
        let mut forged = der.to_vec();
        let other = NodeKey::create_named(root.path(), "other.key").expect("a key").node_id();
        forged[at..at + 32].copy_from_slice(&other.0);
        assert_eq!(requested_key(&der), Some(key.node_id()));
        assert_eq!(requested_key(&forged), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(2026), ..ProptestConfig::with_cases(64) })]

        #[test]
        fn a_changed_request_names_no_other_node_and_any_bytes_can_be_read(
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, any::<u8>()), 1..4),
        ) {
            let root = tempfile::tempdir().expect("a folder");
            let authority = Authority::create(&root.path().join("network-ca")).expect("made");
            let key = NodeKey::load_or_create(root.path()).expect("a key");
            let pem = request(&key).expect("made");
            let requested = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).expect("PEM");
            let pem = authority.issue(key.node_id(), NODE_VALIDITY).expect("issued");
            let issued = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
            for der in [&requested[..], &issued] {
                // Each edit alone, and all together.
                let mut all = der.to_vec();
                for (at, what, byte) in &edits {
                    let mut once = der.to_vec();
                    for changed in [&mut all, &mut once] {
                        let at = at.index(changed.len());
                        match what {
                            0 => changed[at] = *byte,
                            1 => changed.insert(at, *byte),
                            _ => changed.truncate(at + 1),
                        }
                        let read = (requested_key(changed), Certificate::read(changed));
                        prop_assert!(read.0.is_none_or(|node| node == key.node_id()), "{}", changed.escape_ascii());
                    }
                }
            }
        }
    }
}
