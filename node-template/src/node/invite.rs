//! Invites: one line that leads a newcomer to a node and its network, wherever the two are.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use meshpool_proto::address::{InvalidAddress, PeerAddress};
use meshpool_proto::causes::RelayFault;

use crate::events::text::unquoted;
use crate::node::handle::Handle;
use crate::util::network_name::{self, InvalidNetworkName, is_blank};

/// How long a node that was asked for an invite looks for its relay.
const RELAY_WITHIN: Duration = Duration::from_secs(10);

/// How long it waits for a first relay to be known.
const NAMED_WITHIN: Duration = Duration::from_secs(2);

/// An invite to a network: the address of a node, and the network's name. As text it is
/// `iroh:<node id>@<host:port of a relay>#<network>`.
///
/// It is no secret and no certificate: it says where a node is. Who is admitted, the access rules
/// of the network decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The node that invites.
    pub address: PeerAddress,
    /// The name of its network.
    pub network: String,
}

/// A text that is no invite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidInvite {
    /// It names no network.
    #[error(
        "that is no invite: it ends before the # and the name of the network; copy the whole line, in quotation marks"
    )]
    NoNetwork,
    /// It is percent-encoded, as in the query of a URL.
    #[error(
        "that is no invite: a program wrote some of its characters as % and two digits; ask for it as plain text, or undo that: %23 is #, %40 is @, %3A is :"
    )]
    Encoded,
    /// There are two.
    #[error("those are two invites, or an invite and an address: give one of them alone, in quotation marks")]
    Two,
    /// The name cannot be that of a network.
    #[error("that is no invite: {0}; ask for the line again")]
    Network(InvalidNetworkName),
    /// The part before the # is no address.
    #[error("that is no invite: {0}")]
    Address(InvalidAddress),
}

/// Why a node can give no invite. One line: what is missing, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// Links over iroh are off.
    #[error("links through NATs are off here, so nobody can be invited; {}", off_remedy())]
    Off,
    /// No relay is known.
    #[error(
        "an invite needs a relay, and this node knows none: run one node at a public address with RELAY=on, HOST=0.0.0.0 and ADDRESS=ws://<that address>:<port>, and add its address to known-peers.json"
    )]
    NoRelay,
    /// The names of the relays lead nowhere.
    #[error(
        "an invite needs a relay, and {relay} is not found: {error}; check the DNS, which the node asks again, or mend its name in RELAYS or known-peers.json and start the node again"
    )]
    RelayNotFound {
        /// One of them, `host:port`.
        relay: String,
        /// The system's error.
        error: String,
    },
    /// The relay does not answer.
    #[error(
        "the relay {relay} does not answer, so an invite would lead nowhere; check that its node runs, and that TCP port {port} is open there"
    )]
    RelayAway {
        /// The relay, `host:port`.
        relay: String,
        /// Its port.
        port: u16,
    },
    /// The relay does not serve this node.
    #[error("an invite needs a relay, and {relay} {fault}")]
    RelayUnusable {
        /// The relay, `host:port`.
        relay: String,
        /// Why not.
        fault: RelayFault,
    },
    /// The sockets for links over iroh cannot be opened.
    #[error("links through NATs are not possible now: {error}; the node tries again, see its log")]
    NoEndpoint {
        /// The system's error.
        error: String,
    },
    /// The node has ended.
    #[error("the node has ended; start it again")]
    Ended,
}

fn off_remedy() -> &'static str {
    match cfg!(feature = "wan") {
        true => {
            "remove WAN=off from .env and start the node again, or in a program set WanMode::Auto or WanMode::On in Network::wan"
        }
        false => "build the program with the feature \"wan\"",
    }
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.address, self.network)
    }
}

impl FromStr for Invite {
    type Err = InvalidInvite;

    /// Reads an invite. What chats and people put around it is removed: blanks, characters that
    /// cannot be seen, and pairs of quotation marks. So are the line breaks of mails in the
    /// address, which has no blanks.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = unquoted(text);
        let (address, network) = match text.split_once('#') {
            Some(parts) => parts,
            None if text.contains("%23") => return Err(InvalidInvite::Encoded),
            None => return Err(InvalidInvite::NoNetwork),
        };
        network_name::check(network).map_err(|error| match error {
            InvalidNetworkName::Empty => InvalidInvite::NoNetwork,
            InvalidNetworkName::Address => InvalidInvite::Two,
            error => InvalidInvite::Network(error),
        })?;
        let address: String = address.chars().filter(|character| !is_blank(*character)).collect();
        let parsed = address.parse::<PeerAddress>();
        // Of a WebSocket address it is the zone.
        let is_encoded = address.contains('%') && !address.contains("://");
        let address =
            parsed.map_err(|error| if is_encoded { InvalidInvite::Encoded } else { InvalidInvite::Address(error) })?;
        Ok(Self { address, network: network.to_owned() })
    }
}

impl Handle {
    /// Returns an invite to this node's network, which another one joins with
    /// [`Network::join`](crate::Network::join). The node has to be reachable over a relay; it looks
    /// for one for ten seconds at most, and for two if it knows none.
    ///
    /// # Errors
    /// [`InviteError`].
    pub async fn invite(&self) -> Result<Invite, InviteError> {
        let wan = self.wan.as_ref().ok_or(InviteError::Off)?;
        wan.start();
        let mut address = wan.address();
        // Relays that are named have been looked up by then, and peers that are relays have said
        // so.
        let within = async {
            tokio::time::sleep(NAMED_WITHIN).await;
            if wan.has_relays() {
                tokio::time::sleep(RELAY_WITHIN - NAMED_WITHIN).await;
            }
        };
        let found = tokio::select! {
            found = address.wait_for(Option::is_some) => Ok(found.map(|address| address.clone())),
            () = within => Err(()),
        };
        let address = match found {
            Ok(Ok(address)) => address,
            Ok(Err(_)) => return Err(InviteError::Ended),
            Err(()) => None,
        };
        if let Some(address) = address {
            return Ok(Invite { address, network: self.network.clone() });
        }
        if let Some(error) = wan.bind_fault() {
            return Err(InviteError::NoEndpoint { error });
        }
        Err(match wan.home_fault().await {
            Some((relay, RelayFault::Silent)) => {
                InviteError::RelayAway { relay: relay.to_string(), port: relay.port() }
            }
            Some((relay, RelayFault::Unresolved(error))) => {
                InviteError::RelayNotFound { relay: relay.to_string(), error }
            }
            Some((relay, fault)) => InviteError::RelayUnusable { relay: relay.to_string(), fault },
            None => InviteError::NoRelay,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::util::network_name;

    const NODE: &str = "d7e1bb27123fb5275c7d9959d2ca3c59f8426698a71483eea05a529aa14b5560";

    #[test]
    fn an_invite_names_a_node_and_its_network() {
        let text = format!("iroh:{NODE}@relay.example:4001,192.0.2.7:4001#my net");
        for written in [text.clone(), format!("  '{text}'\n"), format!("“{text}”")] {
            let invite: Invite = written.parse().expect("an invite");
            assert_eq!((invite.to_string(), invite.network.as_str()), (text.clone(), "my net"));
            assert_eq!(invite.address.relays().len(), 2);
        }
        let direct: Invite = "ws://node.example:4001#p2p-node".parse().expect("an invite");
        assert_eq!(direct.address.to_string(), "ws://node.example:4001");
    }

    #[test]
    fn what_chats_put_around_an_invite_is_removed_and_its_last_character_stays() {
        let text = format!("iroh:{NODE}@192.0.2.7:4001#mars");
        for hidden in
            ['\u{200b}', '\u{200d}', '\u{2060}', '\u{ad}', '\u{feff}', '\u{a0}', '\u{200e}', '\u{fe0f}', '\u{3164}']
        {
            for written in [
                format!("{text}{hidden}"),
                format!("{hidden}{text}{hidden}\n"),
                format!("“{text}{hidden}”"),
                text.replace('@', &format!("{hidden}@{hidden}")),
            ] {
                let invite: Invite = written.parse().expect("an invite");
                assert_eq!(invite.to_string(), text, "{written:?}");
            }
            let inside = format!("iroh:{NODE}#ma{hidden}rs").parse::<Invite>().expect_err("a hidden character");
            assert!(inside.to_string().contains(&format!("U+{:04X}", u32::from(hidden))), "{inside}");
        }
        for name in ["it's", "say \"hi\"", "<x>", "x’", "'x'", "mars #1", "#"] {
            let invite: Invite = format!("iroh:{NODE}#{name}").parse().expect(name);
            assert_eq!(invite.network, name);
        }
    }

    proptest! {
        /// Names are mostly of the characters that shells, files and people's eyes take for others.
        #[test]
        fn an_invite_has_a_name_that_a_node_takes_and_no_other(
            name in "[ab #'\"`‘’“”<>«»$\\\\=,@:/ \u{200b}\u{ad}\u{a0}\n]{0,8}|\\PC{0,70}"
        ) {
            let invite = Invite { address: format!("iroh:{NODE}").parse().expect("an address"), network: name.clone() };
            let text = invite.to_string();
            // At its ends a blank is that of a chat.
            if let Err(error) = network_name::check(&name) {
                let trimmed = name.trim_matches(network_name::is_blank);
                let parsed = text.parse::<Invite>();
                prop_assert!(parsed.is_err() || parsed.is_ok_and(|invite| invite.network == trimmed), "{error}");
                return Ok(());
            }
            for (open, close) in [("", ""), ("'", "'"), ("\"", "\""), ("“", "”"), ("<", ">"), ("\u{200b}„", "“ ")] {
                prop_assert_eq!(format!("{open}{text}{close}").parse::<Invite>(), Ok(invite.clone()));
            }
        }
    }

    #[test]
    fn what_is_no_invite_says_what_is_wrong() {
        let wrong = |text: &str| text.parse::<Invite>().expect_err(text).to_string();
        for cut in [format!("iroh:{NODE}@192.0.2.7:4001"), format!("iroh:{NODE}@192.0.2.7:4001#"), String::new()] {
            assert!(wrong(&cut).contains("copy the whole line"), "{cut}");
        }
        let short = wrong(&format!("iroh:{}#net", &NODE[1..]));
        assert!(short.starts_with("that is no invite: ") && short.contains("64"), "{short}");
        assert!(
            wrong(&format!("iroh:{NODE}#{}", "n".repeat(65))).contains("at most 64 characters, and this one has 65")
        );
        assert!(wrong(&format!("iroh:{NODE}#a\u{1b}b")).contains("U+001B"));
        assert!(wrong(&format!("iroh:{NODE}@192.0.2.7:99999#net")).contains("192.0.2.7:99999"));
        for encoded in [
            format!("iroh:{NODE}%40192.0.2.7%3A4001%23net"),
            format!("iroh%3A{NODE}@192.0.2.7%3A4001%23my%20net"),
            format!("iroh:{NODE}%40192.0.2.7%3a4001#net"),
        ] {
            assert!(wrong(&encoded).contains("%23 is #"), "{encoded}: {}", wrong(&encoded));
        }
        let one = format!("iroh:{NODE}@192.0.2.7:4001#net");
        for two in [format!("{one} {one}"), format!("{one}\n{one}"), format!("{one} ws://h:1#net")] {
            assert!(wrong(&two).starts_with("those are two invites"), "{two}: {}", wrong(&two));
        }
    }

    /// Mails break lines of more than 78 characters (RFC 5322, section 2.1.1).
    #[test]
    fn an_invite_that_a_mail_wrapped_is_read() {
        let text = format!("iroh:{NODE}@relay.example:4001#my net");
        for end in ["\n", "\r\n", "\r\n    ", "\n\t"] {
            for at in 1..text.find('#').expect("a #") {
                let wrapped = format!("{}{end}{}", &text[..at], &text[at..]);
                assert_eq!(wrapped.parse::<Invite>().expect("an invite").to_string(), text, "{wrapped:?}");
            }
        }
    }

    #[test]
    fn where_links_through_nats_are_off_the_text_says_how_to_turn_them_on() {
        let text = InviteError::Off.to_string();
        let parts: &[&str] = match cfg!(feature = "wan") {
            true => &["WAN=off", ".env", "WanMode::Auto", "Network::wan"],
            false => &["feature \"wan\""],
        };
        assert!(parts.iter().all(|part| text.contains(part)) && !text.contains('\n'), "{text}");
    }
}
