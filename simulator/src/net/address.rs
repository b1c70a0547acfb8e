//! The addresses of the actors: an actor's number decides its host and its port.
//!
//! Mostly all are on this host. Where nodes are behind NATs each actor has an IP address of its
//! own.

use std::net::IpAddr;

use meshpool_proto::address::PeerAddress;

/// The port of the first actor.
const FIRST_PORT: u16 = 4001;
/// How many actors share one host.
const ACTORS_PER_HOST: usize = 50_000;

/// The address of an actor.
pub fn of(actor: usize) -> PeerAddress {
    match actor / ACTORS_PER_HOST {
        0 => with_host("localhost", actor),
        host => with_host(&format!("127.1.0.{host}"), actor % ACTORS_PER_HOST),
    }
}

/// Another spelling of the address of an actor on the first host.
pub fn alias_of(actor: usize) -> PeerAddress {
    with_host("127.0.0.1", actor)
}

/// The public address of an actor: of the benchmark range of RFC 2544, which is in use nowhere.
pub fn public(actor: usize) -> PeerAddress {
    at_ip([198, 18], actor)
}

/// The address of an actor behind a NAT, which leads to it from nowhere else.
pub fn private(actor: usize) -> PeerAddress {
    at_ip([10, 0], actor)
}

/// The actor that an address belongs to, whether it exists or not.
pub fn actor_at(address: &PeerAddress) -> Option<usize> {
    match address.host().parse() {
        Ok(IpAddr::V4(ip)) if ip.octets().starts_with(&[198, 18]) => {
            return Some(usize::from(u16::from_be_bytes([ip.octets()[2], ip.octets()[3]])));
        }
        Ok(IpAddr::V4(ip)) if ip.octets().starts_with(&[10, 0]) => return None,
        _ => {}
    }
    let offset = usize::from(address.port().checked_sub(FIRST_PORT)?);
    // Hosts after the first are 127.1.0.1, 127.1.0.2 and so on.
    let host = match address.host().parse() {
        Ok(IpAddr::V4(ip)) if ip.octets()[1] == 1 => usize::from(ip.octets()[3]),
        _ => 0,
    };
    Some(host * ACTORS_PER_HOST + offset)
}

fn at_ip([first, second]: [u8; 2], actor: usize) -> PeerAddress {
    let [third, fourth] = u16::try_from(actor).expect("a /16 has room for all").to_be_bytes();
    PeerAddress::new(&format!("{first}.{second}.{third}.{fourth}"), FIRST_PORT).expect("an IP address and a port")
}

fn with_host(host: &str, actor: usize) -> PeerAddress {
    let port = u16::try_from(actor).ok().and_then(|actor| FIRST_PORT.checked_add(actor));
    PeerAddress::new(host, port.expect("a host has fewer actors than ports")).expect("the host and the port are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_back_to_its_actor() {
        for actor in [0, 1, 49_999, 50_000, 120_007] {
            assert_eq!(actor_at(&of(actor)), Some(actor));
        }
        assert_eq!(actor_at(&alias_of(7)), Some(7));
        assert_eq!(actor_at(&public(300)), Some(300));
        assert_eq!(actor_at(&private(300)), None, "nobody else reaches it");
    }
}
