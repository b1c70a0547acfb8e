//! The certificates of a closed network: an authority for one mesh, a certificate for each node and
//! one for the bench.
//!
//! Nothing is taken from the node's library. docs/operations.md says what a node's folder holds:
//! `ca.pem`, `node.pem` and `node.key`.

use std::fs;
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

use super::endpoint::HOST;
use super::node_key;

/// The certificate authority of a closed network.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Result<Self> {
        let mut params = named("bench network");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        Ok(Self(CertifiedIssuer::self_signed(params, key).context("cannot make a certificate authority")?))
    }

    /// Writes the key and the certificates of a member into its folder.
    pub(super) fn write_member(&self, folder: &Path) -> Result<()> {
        let (key, certificate) = self.issue("bench node")?;
        fs::write(folder.join("ca.pem"), self.0.pem())?;
        fs::write(folder.join("node.pem"), certificate.pem())?;
        node_key::write(folder, &key)
    }

    /// The TLS configuration of a client: TLS 1.3, with a certificate of this network on both
    /// sides.
    pub(super) fn client(&self) -> Result<Arc<ClientConfig>> {
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
        let certificate = params.signed_by(&key, &self.0).context("cannot issue a certificate")?;
        Ok((key, certificate))
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
