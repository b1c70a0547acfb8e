//! Counts the packets of a host to strangers, so that a program can be shown to contact nobody
//! whom it was not told of.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::support::namespace::{call, ip_lines, within};
use crate::support::nat_lab::host::Host;
use crate::support::terminal::note;

/// Where `ip netns exec` looks for files that replace those in /etc.
const FILES: &str = "/etc/netns";
/// The name server of a watched host. Nobody is there, so that a look-up is seen as a packet.
pub(crate) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

/// The counters of a watched host.
#[derive(Debug)]
pub(crate) struct Watch {
    namespace: String,
    files: PathBuf,
}

/// Somebody to whom a watched host has sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stranger {
    pub(crate) address: IpAddr,
    pub(crate) protocol: String,
    /// Of TCP and UDP.
    pub(crate) port: Option<u16>,
    pub(crate) packets: u64,
}

impl Watch {
    /// Counts from now on every packet of a host to another address than these, over IPv4 and
    /// IPv6; loopback is not counted. The host's default routes lead into a black hole, unless it
    /// has a router. Programs that the host's `command` starts from now on use [`NAME_SERVER`].
    pub(crate) fn start(host: &Host, allowed: &[IpAddr]) -> Result<Self> {
        let namespace = host.namespace().to_owned();
        let watch = Self { files: PathBuf::from(FILES).join(&namespace), namespace };
        fs::create_dir_all(&watch.files)
            .and_then(|()| fs::write(watch.files.join("resolv.conf"), format!("nameserver {NAME_SERVER}\n")))
            .with_context(|| format!("{} cannot be made", watch.files.display()))?;
        // Without ARP every packet leaves at once, and the other end takes none.
        let mut lines = "link add hole type veth peer name hole-end
link set hole-end arp off up
link set hole arp off up
address add 2001:db8::1/128 dev hole nodad
route add default dev hole src 2001:db8::1
"
        .to_owned();
        if host.router.is_none() {
            lines += &format!("route add default dev hole src {}\n", host.address());
        }
        ip_lines(&watch.namespace, &lines)?;
        host.run(|| call("nft", &["-f", "-"], &rules(allowed)))?;
        Ok(watch)
    }

    /// Returns to whom the host has sent.
    pub(crate) fn strangers(&self) -> Result<Vec<Stranger>> {
        let listed = within(&self.namespace, || call("nft", &["-j", "list", "table", "inet", "watch"], ""))?;
        let listed: Value = serde_json::from_str(&listed).context("what nft prints cannot be read")?;
        let sets =
            listed["nftables"].as_array().into_iter().flatten().filter_map(|entry| entry["set"]["elem"].as_array());
        let mut strangers: Vec<_> = sets.flatten().filter_map(stranger).collect();
        strangers.sort();
        Ok(strangers)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.files) {
            note!("warning: {} is left over: {error}", self.files.display());
        }
    }
}

fn rules(allowed: &[IpAddr]) -> String {
    let mut rules = "table inet watch {
  set ports4 { type ipv4_addr . inet_proto . inet_service; flags dynamic; size 65535; counter; }
  set ports6 { type ipv6_addr . inet_proto . inet_service; flags dynamic; size 65535; counter; }
  set others4 { type ipv4_addr . inet_proto; flags dynamic; size 65535; counter; }
  set others6 { type ipv6_addr . inet_proto; flags dynamic; size 65535; counter; }
  chain out { type filter hook output priority 0;
    oifname lo accept
"
    .to_owned();
    for address in allowed {
        let family = if address.is_ipv4() { "ip" } else { "ip6" };
        rules += &format!("    {family} daddr {address} accept\n");
    }
    // Of ICMPv6 are the kernel's own questions for neighbours and routers.
    rules += "    meta l4proto icmpv6 accept
    meta nfproto ipv4 meta l4proto { tcp, udp } update @ports4 { ip daddr . meta l4proto . th dport } accept
    meta nfproto ipv6 meta l4proto { tcp, udp } update @ports6 { ip6 daddr . meta l4proto . th dport } accept
    meta nfproto ipv4 update @others4 { ip daddr . meta l4proto }
    meta nfproto ipv6 update @others6 { ip6 daddr . meta l4proto }
  }
}
";
    rules
}

/// Reads an element of a set.
fn stranger(element: &Value) -> Option<Stranger> {
    let element = &element["elem"];
    let key = element["val"]["concat"].as_array()?;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Some(Stranger {
        address: key.first()?.as_str()?.parse().ok()?,
        protocol: text(key.get(1)?),
        port: key.get(2).and_then(|port| text(port).parse().ok()),
        packets: element["counter"]["packets"].as_u64()?,
    })
}
