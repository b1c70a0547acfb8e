//! The addresses of the actors: an actor's number decides its host and its port.

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

/// The actor that an address belongs to, whether it exists or not.
pub fn actor_at(address: &PeerAddress) -> Option<usize> {
    let offset = usize::from(address.port().checked_sub(FIRST_PORT)?);
    // Hosts after the first are 127.1.0.1, 127.1.0.2 and so on.
    let host = match address.host().parse() {
        Ok(IpAddr::V4(ip)) if ip.octets()[1] == 1 => usize::from(ip.octets()[3]),
        _ => 0,
    };
    Some(host * ACTORS_PER_HOST + offset)
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
    }
}
