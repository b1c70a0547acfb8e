//! The settings of the page, the API and the metrics.

use crate::config::source::Sources;
use crate::config::{Flags, SettingsError, is_unspecified};
use crate::protocol::address::{PeerAddress, Scope};

/// A token that can be tried out is none.
const TOKEN_CHARACTERS: usize = 16;

/// Where and for whom the page, the API and the metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// What is listened on, as [`Settings::host`](crate::config::Settings::host) is.
    pub host: String,
    /// The port; `None`: that of the peers plus 4000, or any free one if that is taken; 0: any free one.
    pub port: Option<u16>,
    /// Names by which browsers may call it, besides localhost and IP addresses; without port. A web page of a stranger reaches us under the stranger's name.
    pub names: Vec<String>,
    /// What must be shown for everything but the empty page and the health; `None`: nothing, and then only loopback is listened on.
    pub token: Option<String>,
    /// Where host and port came from, in words, for the error of a port that is in use.
    pub origin: String,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: None,
            names: Vec::new(),
            token: None,
            origin: "by default".to_owned(),
        }
    }
}

/// HTTP_PORT, HTTP_HOST, HTTP_NAMES and HTTP_TOKEN; `None` if it is off.
pub(crate) fn http(sources: &mut Sources<'_>, flags: &Flags) -> Result<Option<HttpSettings>, SettingsError> {
    let mut http = HttpSettings::default();
    let flag = flags.http_port.as_deref().map(|port| ("--http-port", port));
    if let Some(value) = sources.filled("HTTP_PORT", flag) {
        let port = value.number(0, u16::MAX.into());
        let port = port.ok_or_else(|| value.bad("a port is a number from 1 to 65535, or 0 for no HTTP at all"))?;
        http.port = Some(port as u16);
        http.origin = format!("HTTP_PORT {}", value.origin);
    }
    if let Some(value) = sources.filled("HTTP_NAMES", None) {
        for name in value.text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let address = PeerAddress::new(name, 1);
            let address =
                address.map_err(|_| value.bad("it is a list of host names without ports, separated by commas"))?;
            http.names.push(address.host());
        }
    }
    if let Some(value) = sources.filled("HTTP_TOKEN", None) {
        if value.text.chars().count() < TOKEN_CHARACTERS || !value.text.chars().all(|one| one.is_ascii_graphic()) {
            // The token itself is in no error.
            let value = crate::config::source::Value { text: "…".to_owned(), ..value };
            return Err(value.bad(
                "a token has at least 16 printable ASCII characters and no blanks; 'openssl rand -hex 32' makes one",
            ));
        }
        http.token = Some(value.text);
    }
    if let Some(value) = sources.filled("HTTP_HOST", None) {
        let host = PeerAddress::new(&value.text, 1)
            .map_err(|_| value.bad("a host is a name or an IP address to listen on, such as localhost or 0.0.0.0"))?;
        let beyond = host.scope() != Scope::Loopback || is_unspecified(&host.host());
        if beyond && http.token.is_none() && http.port != Some(0) {
            return Err(value.bad(
                "beyond this machine a token is demanded; set HTTP_TOKEN to at least 16 characters ('openssl rand -hex 32' makes them), or leave HTTP_HOST empty",
            ));
        }
        http.host = host.host();
    }
    Ok((http.port != Some(0)).then_some(http))
}
