//! The closed network of one mesh: an authority that is made for it, the certificate of each node,
//! and one for whoever pushes and asks.
//!
//! As with the rest of the bench, nothing is taken from the node's library. What a node's folder
//! must hold is what docs/operations.md says: `ca.pem`, `node.pem` and `node.key`.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ED25519,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::load::hex;

/// The host that stands in every certificate, as the bench dials it.
pub(crate) const HOST: &str = "localhost";
/// Where the secret half of an ed25519 key stands in its PKCS #8 document (RFC 8410, section 7; RFC
/// 5958 puts the public half behind it).
const SECRET: std::ops::Range<usize> = 16..48;

/// A closed network's authority. It ends with the mesh, and so do its certificates' uses.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes one.
    pub(crate) fn new() -> Result<Self> {
        let mut params = named("bench network");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        Ok(Self(CertifiedIssuer::self_signed(params, key).context("no authority could be made")?))
    }

    /// Makes the node of a folder a member: writes its key, its certificate and the authority's.
    pub(crate) fn admit(&self, folder: &Path) -> Result<()> {
        let (key, certificate) = self.issue("bench node")?;
        fs::write(folder.join("ca.pem"), self.0.pem())?;
        fs::write(folder.join("node.pem"), certificate.pem())?;
        // A node refuses a key that others can read.
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join("node.key"))?;
        let secret = key.serialized_der().get(SECRET).context("a key is shorter than RFC 8410 has it")?;
        std::io::Write::write_all(&mut file, format!("{}\n", hex(secret)).as_bytes())?;
        Ok(())
    }

    /// How a member that is no node speaks to the nodes: TLS 1.3 with a certificate of its own, and
    /// it takes none but theirs.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>> {
        let (key, certificate) = self.issue("bench")?;
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone())?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&TLS13])?.with_root_certificates(roots);
        Ok(Arc::new(builder.with_client_auth_cert(vec![certificate.der().clone()], key.into())?))
    }

    fn issue(&self, name: &str) -> Result<(KeyPair, Certificate)> {
        let mut params = named(name);
        params.subject_alt_names = CertificateParams::new([HOST.to_owned()])?.subject_alt_names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = params.signed_by(&key, &self.0).context("no certificate could be issued")?;
        Ok((key, certificate))
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
