//! The settings of the page, the API and the metrics.

use crate::config::addresses::{is_unspecified, parse_host};
use crate::config::error::SettingsError;
use crate::config::flags::{Flags, flag};
use crate::config::source::{Sources, Value};
use crate::protocol::address::{PeerAddress, Scope};
use crate::util::ip_range::{InvalidIpRange, IpRange};

/// Shorter tokens can be guessed.
const TOKEN_CHARACTERS: usize = 16;

/// Where and to whom the page, the API and the metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// The host to listen on, as [`Settings::host`](crate::config::Settings::host) is.
    pub host: String,
    /// The port. `None`: PORT plus 4000, or any free one if that is taken. 0: any free one.
    pub port: Option<u16>,
    /// Host names, without port, that requests may use in addition to localhost and IP addresses.
    /// DNS rebinding by a foreign web page uses another name.
    pub names: Vec<String>,
    /// The token that all but the static page and the health checks require. Without it only
    /// loopback is listened on.
    pub token: Option<String>,
    /// The path under which a reverse proxy passes requests on, such as `/node-1`; empty: none.
    pub path: String,
    /// The reverse proxies whose header X-Forwarded-For says who sends a request.
    pub trusted_proxies: Vec<IpRange>,
    /// The sources of host and port, for the error of a port in use.
    pub origin: String,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: None,
            names: Vec::new(),
            token: None,
            path: String::new(),
            trusted_proxies: Vec::new(),
            origin: "HTTP_PORT by default".to_owned(),
        }
    }
}

/// Reads HTTP_PORT, HTTP_HOST, HTTP_NAMES, HTTP_TOKEN and HTTP_PATH. `None` if it is off. `port`:
/// that of peers.
pub(crate) fn http(
    sources: &mut Sources<'_>,
    flags: &Flags,
    port: u16,
    trusted_proxies: &[IpRange],
) -> Result<Option<HttpSettings>, SettingsError> {
    let mut http = HttpSettings { trusted_proxies: trusted_proxies.to_vec(), ..HttpSettings::default() };
    if let Some(value) = sources.filled("HTTP_PORT", flag("--http-port", &flags.http_port))? {
        let port = value.number(0, u16::MAX.into());
        let port = port.ok_or_else(|| value.bad("a port is a number from 1 to 65535, or 0 to turn HTTP off"))?;
        http.port = Some(port as u16);
        http.origin = format!("HTTP_PORT {}", value.origin);
    }
    if http.port.is_some_and(|http| http != 0 && http == port) {
        return Err(SettingsError::SamePort { port, origin: http.origin });
    }
    if let Some(value) = sources.filled("HTTP_NAMES", None)? {
        for name in value.text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let address = PeerAddress::new(name, 1);
            let address =
                address.map_err(|_| value.bad("it is a list of host names without ports, separated by commas"))?;
            http.names.push(address.host());
        }
    }
    if let Some(value) = sources.filled("HTTP_PATH", None)? {
        let path = value.text.strip_suffix('/').unwrap_or(&value.text);
        let is_segment = |segment: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
        };
        let segments = path.strip_prefix('/').map(|segments| segments.split('/').all(is_segment));
        if !path.is_empty() && segments != Some(true) {
            return Err(value.bad("it is a path such as /node-1, of letters, digits and - . _ ~"));
        }
        http.path = path.to_owned();
    }
    if let Some(value) = sources.filled("HTTP_TOKEN", None)? {
        if value.text.chars().count() < TOKEN_CHARACTERS || !value.text.chars().all(|one| one.is_ascii_graphic()) {
            return Err(value.bad(
                "a token has at least 16 printable ASCII characters and no spaces; 'openssl rand -hex 32' makes one",
            ));
        }
        http.token = Some(value.text);
    }
    if let Some(value) = sources.filled("HTTP_HOST", None)? {
        let host = parse_host(&value)?;
        let beyond = host.scope() != Scope::Loopback || is_unspecified(&host.host());
        if beyond && http.token.is_none() && http.port != Some(0) {
            return Err(value.bad(
                "beyond this machine a token is required; set HTTP_TOKEN to at least 16 characters ('openssl rand -hex 32' makes one), or leave HTTP_HOST empty",
            ));
        }
        http.origin = format!("{}; HTTP_HOST {}", http.origin, value.origin);
        http.host = host.host();
    }
    let off = http.port == Some(0);
    if let (Some(name), None, false) = (http.names.first(), &http.token, off) {
        sources.warn(format!(
            "HTTP_NAMES has {name}, but HTTP_TOKEN is not set: all that a proxy passes on may read and change this node; set HTTP_TOKEN, unless the proxy asks for a password"
        ));
    }
    Ok((!off).then_some(http))
}

/// Reads TRUSTED_PROXIES.
pub(crate) fn trusted_proxies(sources: &mut Sources<'_>) -> Result<Vec<IpRange>, SettingsError> {
    let Some(value) = sources.filled("TRUSTED_PROXIES", None)? else { return Ok(Vec::new()) };
    let texts = value.text.split(',').map(str::trim).filter(|text| !text.is_empty());
    texts
        .map(|text| {
            let one = Value { text: text.to_owned(), ..value.clone() };
            text.parse()
                .map_err(|error: InvalidIpRange| one.bad(&format!("{error}; several proxies are separated by commas")))
        })
        .collect()
}
