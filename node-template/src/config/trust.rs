//! NETWORK_CA and CERTIFICATE.

use std::path::PathBuf;

use crate::config::error::SettingsError;
use crate::config::source::Sources;
use crate::folder::files::NODE_CERTIFICATE;

/// The files of a closed network, and the sources of their names.
type Closed = ((PathBuf, PathBuf), String);

/// Reads the files of the authority's certificate and of the node's own; `None` in an open network.
pub(crate) fn closed(sources: &mut Sources<'_>) -> Result<Option<Closed>, SettingsError> {
    let ca = sources.filled("NETWORK_CA", None)?;
    let certificate = sources.filled("CERTIFICATE", None)?;
    match (ca, certificate) {
        (Some(ca), certificate) => {
            let origin = certificate.as_ref().map_or_else(|| "by default".to_owned(), |value| value.origin.to_string());
            let origin = format!("NETWORK_CA {}; CERTIFICATE {origin}", ca.origin);
            let certificate = certificate.map_or_else(|| NODE_CERTIFICATE.to_owned(), |certificate| certificate.text);
            Ok(Some(((ca.text.into(), certificate.into()), origin)))
        }
        (None, Some(certificate)) => {
            Err(certificate.bad("a certificate needs a closed network; name its authority too, NETWORK_CA=ca.pem"))
        }
        (None, None) => Ok(None),
    }
}
