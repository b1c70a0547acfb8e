//! The kinds of NAT, as rules of nftables for a router between `lan0` and `eth0`.

use std::fmt;

/// What a router does with the packets of the host behind it. Mapping and filtering are named as
/// in RFC 4787.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nat {
    /// No router: the host is on the public network itself, and nothing is filtered.
    None,
    /// Endpoint-independent mapping, which keeps the port, with filtering by address and port: the
    /// NAT of most routers at home.
    Home,
    /// Endpoint-independent mapping and filtering of UDP, a "full cone": who knows the mapped
    /// address may send to it.
    Full,
    /// A mapped port at random for each destination, with filtering by address and port.
    Symmetric,
    /// As `Home`, and no UDP passes in either direction.
    UdpBlocked,
}

impl Nat {
    /// All kinds, the most open first.
    pub(crate) const ALL: [Self; 5] = [Self::None, Self::Full, Self::Home, Self::Symmetric, Self::UdpBlocked];

    /// Returns its name in tables, names of namespaces and options.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Home => "home",
            Self::Full => "full",
            Self::Symmetric => "sym",
            Self::UdpBlocked => "udpblock",
        }
    }

    /// Returns the rules of a router that replace all that it has. A connection belongs to the
    /// generation in which it began: after a new address none of the older ones is known any more,
    /// which spares a program that empties the table of connections.
    pub(crate) fn rules(self, generation: u16) -> String {
        let (map, before, after) = match self {
            Self::Full => (
                "map m { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; size 65535; }",
                "iif eth0 meta l4proto udp dnat ip to udp dport map @m",
                "oif eth0 meta l4proto udp update @m { udp sport timeout 300s : ip saddr . udp sport }
    oif eth0 masquerade",
            ),
            Self::Symmetric => ("", "", "oif eth0 masquerade random,fully-random"),
            Self::None | Self::Home | Self::UdpBlocked => ("", "", "oif eth0 masquerade"),
        };
        let stateful = "ct state established,related accept
    iif lan0 accept
    drop";
        let forward = match self {
            Self::Full => "accept".to_owned(),
            Self::UdpBlocked => format!("meta l4proto udp drop\n    {stateful}"),
            Self::None | Self::Home | Self::Symmetric => stateful.to_owned(),
        };
        format!(
            "flush ruleset
table ip generation {{
  chain pre {{ type filter hook prerouting priority raw; ct zone set {generation}; }}
  chain out {{ type filter hook output priority raw; ct zone set {generation}; }}
}}
table ip nat {{
  {map}
  chain pre {{ type nat hook prerouting priority dstnat;
    {before}
  }}
  chain post {{ type nat hook postrouting priority srcnat;
    {after}
  }}
}}
table ip f {{
  chain in {{ type filter hook input priority 0;
    iif eth0 ct state established,related accept
    iif eth0 drop
  }}
  chain fw {{ type filter hook forward priority 0;
    {forward}
  }}
}}
"
        )
    }
}

impl fmt::Display for Nat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
