//! What went wrong in TLS, in words that say what to do.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Why somebody that dialled us did not get in, in words that follow "a connection was refused".
pub(crate) fn accept_failed(error: &io::Error) -> String {
    match inside(error) {
        Some(Error::NoCertificatesPresented) => {
            "it showed no certificate; if it is one of yours, issue it one with 'cargo xtask issue-certificate'"
                .to_owned()
        }
        Some(Error::InvalidCertificate(why)) => of_other(why),
        Some(Error::AlertReceived(alert)) => of_ours(*alert),
        Some(error) => format!("its TLS is not ours ({error}); nodes speak TLS 1.3"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it left in the midst of the TLS handshake".to_owned(),
        None => format!("the TLS handshake broke off: {error}"),
    }
}

/// Why a node that we dialled did not let us in, or we not it; `None` if TLS has nothing to do with it.
pub(crate) fn dial_failed(error: &io::Error) -> Option<String> {
    Some(match inside(error) {
        Some(Error::InvalidCertificate(why)) => of_other(why),
        Some(Error::AlertReceived(alert)) => of_ours(*alert),
        Some(Error::InvalidMessage(_)) => {
            "that node speaks no TLS: it is in an open network, or the port is wrong".to_owned()
        }
        Some(error) => format!("its TLS is not ours ({error}); nodes speak TLS 1.3"),
        None => return None,
    })
}

/// Why our own certificate does not hold.
pub(crate) fn own_certificate(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "it has expired; issue a new one with 'cargo xtask issue-certificate'".to_owned()
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "it is not valid yet; check this machine's clock".to_owned()
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "another authority issued it; take both files from one network".to_owned()
        }
        error => format!("{error}; issue a new one with 'cargo xtask issue-certificate'"),
    }
}

fn of_other(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; issue it a new one with 'cargo xtask issue-certificate'".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; check the clocks of both machines".to_owned()
        }
        CertificateError::BadEncoding => "its certificate is none of a node (they have ed25519 keys)".to_owned(),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is of another authority: it belongs to another closed network; if it should be in this one, issue it a certificate with 'cargo xtask issue-certificate'".to_owned()
        }
        why => format!("its certificate does not count here ({why}); issue it one with 'cargo xtask issue-certificate'"),
    }
}

fn of_ours(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it does not know the authority of our certificate: it belongs to another closed network; check NETWORK_CA and CERTIFICATE, or leave its address out".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "it says that our certificate has expired or is not valid yet; issue a new one with 'cargo xtask issue-certificate', and check the clocks".to_owned()
        }
        AlertDescription::CertificateRequired => "it wants a certificate, and we showed none".to_owned(),
        alert => format!("it does not take our certificate (TLS alert {alert:?}); its log says more"),
    }
}

/// The TLS library's error in one of the system's.
fn inside(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}
