//! PLAIN, NETWORK_CA and CERTIFICATE.

use std::path::PathBuf;

use crate::config::SettingsError;
use crate::config::source::Sources;

/// The file of the node's certificate if CERTIFICATE does not say.
const CERTIFICATE: &str = "node.pem";

pub(crate) fn plain(sources: &mut Sources<'_>) -> Result<Option<bool>, SettingsError> {
    let Some(value) = sources.filled("PLAIN", None) else { return Ok(None) };
    match value.text.to_ascii_lowercase().as_str() {
        "on" => Ok(Some(true)),
        "off" => Ok(Some(false)),
        _ => Err(value.bad("nodes of the exercise are let in or not: on or off")),
    }
}

/// The authority's certificate and the node's own.
pub(crate) fn closed(sources: &mut Sources<'_>) -> Result<Option<(PathBuf, PathBuf)>, SettingsError> {
    let ca = sources.filled("NETWORK_CA", None);
    let certificate = sources.filled("CERTIFICATE", None);
    match (ca, certificate) {
        (Some(ca), certificate) => {
            let certificate = certificate.map_or_else(|| CERTIFICATE.to_owned(), |certificate| certificate.text);
            Ok(Some((ca.text.into(), certificate.into())))
        }
        (None, Some(certificate)) => {
            Err(certificate.bad("a certificate is for a closed network; name its authority too, NETWORK_CA=ca.pem"))
        }
        (None, None) => Ok(None),
    }
}
