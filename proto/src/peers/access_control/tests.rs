mod alone;
mod authenticated;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::access::Rules;
use crate::id::UpgradeIdentity;
use crate::json::Parser;
use crate::peers::access_control::*;
use crate::testing::net::Net;
use crate::wire::Message;
use crate::wire::close;
use crate::{Direction, Input, Node, Output};

/// One core, and what it ordered last.
struct Core {
    now: Instant,
    protocol: Node,
    orders: Vec<Output>,
}

impl Core {
    fn new(access: Access) -> Self {
        let mut net = Net::new(1);
        let mut core = Self { now: net.now, protocol: net.cores.remove(0), orders: Vec::new() };
        core.tell(Input::AccessChanged { access });
        core
    }

    fn tell(&mut self, input: Input) {
        while self.protocol.poll_output().is_some() {}
        self.protocol.handle(self.now, input);
        self.orders = std::iter::from_fn(|| self.protocol.poll_output()).collect();
    }

    /// Somebody dials us.
    fn accept(&mut self, link: u64, remote: &str, certified: Option<Certified>) {
        let link = LinkId(link);
        if let Some(certified) = certified {
            self.tell(Input::PeerCertified { link, certified });
        }
        self.tell(Input::LinkOpened { link, remote: ip(remote), direction: Direction::Accepted });
    }

    /// We dialled somebody.
    fn dialled(&mut self, link: u64, remote: &str, identity: Option<UpgradeIdentity>) {
        let address = format!("ws://{remote}:4001").parse().expect("an address");
        let direction = Direction::Dialled { address, identity };
        self.tell(Input::LinkOpened { link: LinkId(link), remote: ip(remote), direction });
    }

    fn receive(&mut self, link: u64, text: &str) {
        let message = Message::parse(&mut Parser::new(), text);
        self.tell(Input::Received { link: LinkId(link), message });
    }

    /// What the last order to close a link said.
    fn farewell(&self) -> Option<&str> {
        self.orders.iter().find_map(|order| match order {
            Output::Close { code: close::POLICY, reason, .. } => Some(reason.as_str()),
            _ => None,
        })
    }

    fn warnings(&self) -> usize {
        self.orders.iter().filter(|order| matches!(order, Output::Notify(Event::Warning { .. }))).count()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an IP address")
}

fn certified(node: u8) -> Certified {
    Certified { node: NodeId([node; 32]), fingerprint: [node + 100; 32] }
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

fn hello(node: u8) -> String {
    let id = hex(node);
    format!(
        r#"{{"type":"HANDSHAKE","data":["ws://192.0.2.1:4001"],"node":{{"id":"{id}","session":"00000000-0000-4000-8000-0000000000{node:02x}","agent":"a","protocol":1,"network":"test"}}}}"#
    )
}

const PLAIN_HELLO: &str = r#"{"type":"HANDSHAKE","data":["ws://192.0.2.9:4001"]}"#;
const TRANSACTION: &str = r#"{"type":"TRANSACTION","data":{"a":1}}"#;

fn denying(rules: &str) -> Access {
    Access { denied: rules.parse().expect(rules), ..Access::default() }
}

fn allowing(rules: &str) -> Access {
    Access { allowed: Some(rules.parse().expect(rules)), ..Access::default() }
}

#[test]
fn plain_off_closes_nodes_of_the_exercise_and_clients_of_other_hosts_with_the_reason() {
    let mut core = Core::new(Access { plain: false, ..Access::default() });
    core.accept(1, "192.0.2.9", None);
    assert_eq!(core.farewell(), None, "it has not said yet what it is");
    core.receive(1, PLAIN_HELLO);
    assert!(core.farewell().is_some_and(|reason| reason.contains("PLAIN=off")), "{:?}", core.orders);
    assert_eq!(core.warnings(), 1);
    core.dialled(2, "192.0.2.9", None);
    assert!(core.farewell().is_some_and(|reason| reason.contains("PLAIN=off")), "{:?}", core.orders);
    assert_eq!(core.warnings(), 0, "told once for the group");
    core.accept(3, "192.0.2.9", None);
    core.receive(3, TRANSACTION);
    assert!(core.farewell().is_some_and(|reason| reason.contains("certificate")), "{:?}", core.orders);
    core.accept(4, "127.0.0.1", None);
    core.receive(4, TRANSACTION);
    assert_eq!(core.farewell(), None, "the operator's tools are on this host");
    core.accept(5, "192.0.2.9", Some(certified(7)));
    core.receive(5, r#"{"type":"TRANSACTION","data":{"a":2}}"#);
    assert_eq!(core.farewell(), None, "or show a certificate");
    core.accept(6, "192.0.2.9", None);
    core.receive(6, &hello(8));
    assert_eq!(core.farewell(), None, "full peers are let in");
    let counters = core.protocol.counters();
    assert_eq!((counters.exercise_refused, counters.clients_refused, counters.transactions_accepted), (2, 1, 2));
}

#[test]
fn everybody_is_let_in_unless_something_else_is_said() {
    let mut core = Core::new(Access::default());
    core.accept(1, "192.0.2.9", None);
    core.receive(1, PLAIN_HELLO);
    assert_eq!(core.farewell(), None);
    core.accept(2, "192.0.2.9", None);
    core.receive(2, TRANSACTION);
    assert_eq!(core.farewell(), None);
}

#[test]
fn a_node_is_the_one_that_its_certificate_says() {
    let mut core = Core::new(Access::default());
    core.accept(1, "192.0.2.9", Some(certified(7)));
    core.receive(1, &hello(8));
    assert!(core.farewell().is_some_and(|reason| reason.contains("08080808") && reason.contains("07070707")));
    core.tell(Input::PeerCertified { link: LinkId(2), certified: certified(7) });
    let session = crate::id::Session::from_random([1; 16]);
    core.dialled(2, "192.0.2.10", Some(UpgradeIdentity { node: NodeId([8; 32]), session }));
    assert!(core.farewell().is_some_and(|reason| reason.contains("07070707")), "{:?}", core.orders);
    assert_eq!(core.protocol.counters().impostors_refused, 2);
    core.accept(3, "192.0.2.9", Some(certified(7)));
    core.receive(3, &hello(7));
    assert_eq!(core.farewell(), None);
}

#[test]
fn the_denied_are_kept_out_by_id_certificate_and_address() {
    for (rules, by) in [
        (hex(7), "node id"),
        (hex(107), "certificate"),
        (
            hex(107).as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair)).collect::<Vec<_>>().join(":"),
            "certificate",
        ),
        ("# a comment\n\n192.0.2.9 # and another".to_owned(), "address"),
        ("192.0.2.0/24".to_owned(), "address"),
    ] {
        let mut core = Core::new(denying(&rules));
        core.accept(1, "192.0.2.9", Some(certified(7)));
        assert!(core.farewell().is_some_and(|reason| reason.contains(by)), "{rules}: {:?}", core.orders);
        core.accept(2, "198.51.100.1", Some(certified(9)));
        core.receive(2, &hello(9));
        assert_eq!(core.farewell(), None, "{rules} names somebody else");
    }
    let mut core = Core::new(denying(&hex(7)));
    core.accept(1, "192.0.2.9", None);
    core.receive(1, &hello(7));
    assert!(core.farewell().is_some(), "in an open network as soon as it says its id");
}

#[test]
fn a_list_of_the_allowed_keeps_all_others_out() {
    let mut core = Core::new(allowing(&format!("{}\n10.0.0.0/8\n", hex(7))));
    core.accept(1, "192.0.2.9", None);
    core.receive(1, &hello(7));
    assert_eq!(core.farewell(), None);
    core.accept(2, "10.1.2.3", None);
    core.receive(2, &hello(8));
    assert_eq!(core.farewell(), None);
    core.accept(3, "192.0.2.9", None);
    core.receive(3, &hello(9));
    assert!(core.farewell().is_some_and(|reason| reason.contains("allowed")));
    core.accept(4, "192.0.2.9", None);
    core.receive(4, PLAIN_HELLO);
    assert!(core.farewell().is_some_and(|reason| reason.contains("allowed")));
    core.accept(5, "192.0.2.9", None);
    core.receive(5, TRANSACTION);
    assert!(core.farewell().is_some_and(|reason| reason.contains("allowed")));
    core.accept(6, "127.0.0.1", None);
    core.receive(6, TRANSACTION);
    assert_eq!(core.farewell(), None, "the operator's tools are on this host");
}

#[test]
fn links_that_new_rules_keep_out_are_closed_and_no_others() {
    let mut core = Core::new(Access::default());
    for node in [7, 8] {
        core.accept(node.into(), "192.0.2.9", None);
        core.receive(node.into(), &hello(node));
    }
    core.tell(Input::AccessChanged { access: denying(&hex(8)) });
    let closed: Vec<u64> = core
        .orders
        .iter()
        .filter_map(|order| if let Output::Close { link, .. } = order { Some(link.0) } else { None })
        .collect();
    assert_eq!(closed, [8]);
}

#[test]
fn refusals_are_told_once_per_group_reason_and_a_while_and_always_counted() {
    let mut core = Core::new(Access::default());
    let mut knock = |remote: &str, reason: &str, later: u64| {
        core.now += Duration::from_secs(later);
        core.tell(Input::ConnectionRejected { remote: ip(remote), reason: reason.into() });
        core.warnings()
    };
    assert_eq!(knock("192.0.2.1", "no TLS", 0), 1);
    assert_eq!(knock("192.0.2.200", "no TLS", 1), 0, "the same group");
    assert_eq!(knock("192.0.2.1", "no certificate", 1), 1, "another reason");
    assert_eq!(knock("192.0.3.1", "no TLS", 1), 1, "another group");
    assert_eq!(knock("192.0.2.1", "no TLS", 600), 1, "a while later");
    let told: usize = (0..512).map(|group| knock(&format!("10.{}.{}.1", group / 256, group % 256), "no TLS", 0)).sum();
    assert_eq!(told, LOG_GROUPS, "one is remembered, and of those beyond a warning tells once in a while");
    assert_eq!(core.protocol.counters().connections_refused, 5 + 512);
}

#[test]
fn rules_are_read_and_what_is_none_is_named() {
    let rules: Rules = "  ::1/128\r\n2001:db8::/32 # all of it\n0.0.0.0/0".parse().expect("rules");
    assert_eq!(rules.len(), 3);
    for (address, named) in [("::1", true), ("2001:db8:ffff::1", true), ("2001:db9::1", false), ("203.0.113.7", true)] {
        assert_eq!(rules.matching(None, None, ip(address)).is_some(), named, "{address}");
    }
    let v4: Rules = "192.0.2.128/25".parse().expect("a rule");
    for (address, named) in [("192.0.2.128", true), ("::ffff:192.0.2.200", true), ("192.0.2.127", false)] {
        assert_eq!(v4.matching(None, None, ip(address)).is_some(), named, "{address}");
    }
    for bad in ["192.0.2.0/33", "example.org", "192.0.2", &"g".repeat(64), "192.0.2.0/+1", "::1/129", "ab:cd"] {
        let error = format!("# one\n{bad}").parse::<Rules>().expect_err(bad);
        assert_eq!(error.line, 2);
        assert!(error.to_string().contains("192.0.2.0/24"), "{error}");
    }
}
