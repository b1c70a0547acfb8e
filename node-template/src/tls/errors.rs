//! The texts of TLS errors, each with its remedy.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::{AlertDescription, CertificateError, Error};
use time::UtcDateTime;

/// Returns why an inbound connection was refused, to follow "a connection was refused".
pub(crate) fn accept_failed(error: &io::Error) -> String {
    match tls_error(error) {
        Some(Error::NoCertificatesPresented) => {
            "it showed no certificate; if it belongs to this network, issue it one with 'cargo xtask issue-certificate'"
                .to_owned()
        }
        Some(Error::InvalidCertificate(why)) => peer_certificate(why),
        Some(Error::AlertReceived(alert)) => own_refused(*alert),
        Some(error) => format!("its TLS is incompatible ({error}); nodes use TLS 1.3"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it closed the connection during the TLS handshake".to_owned()
        }
        None => format!("the TLS handshake failed: {error}"),
    }
}

/// Returns why an outbound connection was refused, by either side; `None` if TLS is not the cause.
pub(crate) fn dial_failed(error: &io::Error) -> Option<String> {
    Some(match tls_error(error) {
        Some(Error::InvalidCertificate(why)) => peer_certificate(why),
        Some(Error::AlertReceived(alert)) => own_refused(*alert),
        Some(Error::InvalidMessage(_)) => {
            "that node does not use TLS: it is in an open network, or the port is wrong".to_owned()
        }
        Some(error) => format!("its TLS is incompatible ({error}); nodes use TLS 1.3"),
        None => return None,
    })
}

/// Returns why the node's own certificate is not valid.
pub(crate) fn own_certificate(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "by this machine's clock it has expired; check the clock, then issue a new one with 'cargo xtask issue-certificate'".to_owned()
        }
        Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            let begins = utc(UNIX_EPOCH + Duration::from_secs(not_before.as_secs()));
            format!("by this machine's clock it is not valid before {begins}; check the clock; if it is right, issue a new one with 'cargo xtask issue-certificate'")
        }
        Error::InvalidCertificate(CertificateError::NotValidYet) => {
            "by this machine's clock it is not valid yet; check the clock; if it is right, issue a new one with 'cargo xtask issue-certificate'".to_owned()
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "another authority issued it; take both files from one network".to_owned()
        }
        error => format!("{error}; issue a new one with 'cargo xtask issue-certificate'"),
    }
}

/// Returns a time to the minute.
pub(crate) fn utc(time: SystemTime) -> String {
    let time = UtcDateTime::from(time);
    format!("{} {:02}:{:02} UTC", time.date(), time.hour(), time.minute())
}

fn peer_certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "by this machine's clock its certificate has expired; check the clock, then issue it a new one with 'cargo xtask issue-certificate'".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "by this machine's clock its certificate is not valid yet; check the clocks of both machines".to_owned()
        }
        CertificateError::BadEncoding => "its certificate is not that of a node, which has an ed25519 key; issue it one with 'cargo xtask issue-certificate'".to_owned(),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "another authority issued its certificate: it belongs to another closed network; if it should be in this one, issue it a certificate with 'cargo xtask issue-certificate'".to_owned()
        }
        why => format!("its certificate is not valid here ({why}); issue it one with 'cargo xtask issue-certificate'"),
    }
}

fn own_refused(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it does not know the authority of this node's certificate: it belongs to another closed network; check NETWORK_CA and CERTIFICATE, or remove its address".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "it reports that this node's certificate has expired or is not valid yet; issue a new one with 'cargo xtask issue-certificate', and check the clocks".to_owned()
        }
        AlertDescription::CertificateRequired => "it requires a certificate, and this side has none; set NETWORK_CA and CERTIFICATE".to_owned(),
        alert => format!("it refused this node's certificate (TLS alert {alert:?}); check its log"),
    }
}

/// Returns the TLS library's error inside an I/O error.
fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}
