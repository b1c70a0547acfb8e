//! Relays as iroh names them: `http://ip:port`. The connection between two nodes is encrypted from
//! end to end, so the way to the relay needs no TLS of its own.

use std::net::SocketAddr;

use iroh::RelayUrl;

/// Returns the URL of the relay at an address.
pub(crate) fn of(at: SocketAddr) -> RelayUrl {
    format!("http://{at}").parse().expect("an IP address and a port are a URL")
}

/// Returns the address of a relay, if it has the form that [`of`] gives it.
pub(crate) fn at(url: &RelayUrl) -> Option<SocketAddr> {
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    Some(SocketAddr::new(host.parse().ok()?, url.port_or_known_default()?))
}

/// Returns a relay for people, `ip:port`.
pub(crate) fn shown(url: &RelayUrl) -> String {
    at(url).map_or_else(|| url.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_relay_names_its_address() {
        for text in ["192.0.2.7:4001", "[2001:db8::7]:80", "127.0.0.1:1"] {
            let address: SocketAddr = text.parse().expect("an address");
            let url = of(address);
            assert_eq!((at(&url), shown(&url)), (Some(address), text.to_owned()));
        }
        let named: RelayUrl = "http://relay.example:1".parse().expect("a URL");
        assert_eq!((at(&named), shown(&named).as_str()), (None, "http://relay.example:1/"));
    }
}
