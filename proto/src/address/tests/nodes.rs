//! Tests of `iroh:` addresses and their hints.

use std::collections::HashSet;

use super::*;

const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn hint(text: &str) -> RelayHint {
    text.parse().expect(text)
}

#[test]
fn a_node_id_is_an_address_with_one_normal_form() {
    for (spelling, normal) in [
        (format!("iroh:{ID}"), format!("iroh:{ID}")),
        (format!("IROH:{}", ID.to_uppercase()), format!("iroh:{ID}")),
        (format!("Iroh:{ID}@Relay.Example.:04001"), format!("iroh:{ID}@relay.example:4001")),
        (
            format!("iroh:{ID}@203.0.113.7:1,[2001:DB8::0:1]:2,bücher.example:3"),
            format!("iroh:{ID}@203.0.113.7:1,[2001:db8::1]:2,xn--bcher-kva.example:3"),
        ),
        (format!("iroh:{ID}@a:1,A:01"), format!("iroh:{ID}@a:1")),
        (format!("iroh:{ID}@[::ffff:198.51.100.7]:1"), format!("iroh:{ID}@198.51.100.7:1")),
    ] {
        let parsed = address(&spelling);
        assert_eq!((parsed.to_string(), format!("{parsed:?}")), (normal.clone(), normal.clone()), "{spelling}");
        assert_eq!(address(&normal).relays(), parsed.relays());
        assert_eq!(parsed.node(), Some(ID.parse().expect("an id")));
    }
}

#[test]
fn hints_are_no_part_of_the_address() {
    let (plain, hinted) = (address(&format!("iroh:{ID}")), address(&format!("iroh:{ID}@a:1")));
    assert_eq!(plain, hinted);
    assert_eq!(plain.cmp(&hinted), std::cmp::Ordering::Equal);
    assert!(HashSet::from([plain.clone()]).contains(&hinted), "the hash ignores them");
    let next = address(&format!("iroh:{}", ID.replace("00", "01")));
    assert!(plain < next && plain != next, "the id decides");
    assert!(address("wss://[ffff::1]:65535") < plain, "nodes follow after hosts");
    assert_eq!(plain.relays(), []);
    assert_eq!(plain.with_relays([hint("b:2"), hint("a:1")]).to_string(), format!("iroh:{ID}@b:2,a:1"));
    assert_eq!(hinted.with_relays([]).to_string(), format!("iroh:{ID}"));
    let ws = address("ws://a:1");
    assert_eq!((ws.relays(), ws.node(), ws.clone().with_relays([hint("b:2")])), (&[][..], None, ws.clone()));
}

#[test]
fn an_address_of_a_node_takes_the_hints_that_fit() {
    let id: NodeId = ID.parse().expect("an id");
    let many = ["a:1", "a:1", "b:1", "c:1", "d:1"].map(hint);
    assert_eq!(PeerAddress::of_node(id, many).to_string(), format!("iroh:{ID}@a:1,b:1,c:1"));
    // 69 bytes and a separator leave 186.
    let label = "a".repeat(61);
    let long = hint(&format!("{label}.{label}.{}:1", "a".repeat(60)));
    assert_eq!(long.to_string().len(), 186);
    assert_eq!(PeerAddress::of_node(id, [long.clone(), hint("b:1")]).to_string().len(), 256);
    let longer = hint(&format!("{label}.{label}.{}:1", "a".repeat(61)));
    let fits = PeerAddress::of_node(id, [longer, hint("b:1")]);
    assert_eq!(fits.to_string(), format!("iroh:{ID}@b:1"), "no text is longer than an address may be");
}

#[test]
fn a_node_is_public_and_has_no_port() {
    let node = address(&format!("iroh:{ID}@127.0.0.1:1"));
    assert_eq!((node.scope(), node.host(), node.port()), (Scope::Public, ID.to_owned(), 0));
    assert!(!node.is_name() && !node.is_secure());
    assert_eq!(node.clone().secured().to_string(), node.to_string(), "closed networks use it too");
    assert_eq!(node.clone().without_zone().to_string(), node.to_string());
}

#[test]
fn a_hint_has_a_host_a_port_and_a_scope() {
    for (text, host, port, scope) in [
        ("relay.example:4001", "relay.example", 4001, Scope::Public),
        ("localhost:1", "localhost", 1, Scope::Loopback),
        ("10.0.0.7:65535", "10.0.0.7", 65535, Scope::Private),
        ("[2001:db8::1]:2", "2001:db8::1", 2, Scope::Public),
    ] {
        let hint = hint(text);
        assert_eq!((hint.host(), hint.port(), hint.scope()), (host.to_owned(), port, scope));
        assert_eq!((hint.to_string(), format!("{hint:?}")), (text.to_owned(), text.to_owned()));
    }
    let error = "a\u{1b}b:1".parse::<RelayHint>().expect_err("no host");
    let shown = r#""a\u{1b}b:1" is no relay: its host is neither a name nor an IP address; write it as host:port"#;
    assert_eq!((error.to_string().as_str(), error.reason()), (shown, "its host is neither a name nor an IP address"));
    let long = format!("{}:1", "a".repeat(300)).parse::<RelayHint>().expect_err("too long");
    assert_eq!(long.reason(), "it is longer than 256 bytes");
}

#[test]
fn each_fault_of_a_node_address_has_its_reason() {
    for (text, reason) in [
        ("iroh:".to_owned(), "its node id has 0 digits, not 64"),
        (format!("iroh:{}", &ID[1..]), "its node id has 63 digits, not 64"),
        (format!("iroh:{ID}0"), "its node id has 65 digits, not 64"),
        (format!("iroh:g{}", &ID[1..]), "its node id is not hexadecimal"),
        ("iroh:é".to_owned(), "its node id is not hexadecimal"),
        (format!("iroh://{ID}"), "a node id follows iroh: without //"),
        (format!("iroh:{ID}/"), "it has more than a node id and relays"),
        (format!("iroh:{ID}#"), "it has more than a node id and relays"),
        (format!("iroh:{}#network", &ID[1..]), "it has more than a node id and relays"),
        (format!("iroh:{ID}@"), "no relay follows the @"),
        (format!("iroh:{ID}@a"), r#"of its relay "a": it has no port"#),
        (format!("iroh:{ID}@a:1,"), r#"of its relay "": it has no port"#),
        (format!("iroh:{ID}@a:1,,b:1"), r#"of its relay "": it has no port"#),
        (format!("iroh:{ID}@b:1,a:0"), r#"of its relay "a:0": its port is not from 1 to 65535"#),
        (format!("iroh:{ID}@a:b"), r#"of its relay "a:b": its port is not a number"#),
        (format!("iroh:{ID}@::1:1"), r#"of its relay "::1:1": its host is neither a name nor an IP address"#),
        (
            format!("iroh:{ID}@[fe80::1%eth0]:1"),
            r#"of its relay "[fe80::1%eth0]:1": it has a zone, which other hosts do not know"#,
        ),
        (format!("iroh:{ID}@a:1@b:1"), r#"of its relay "a:1@b:1": it has more than a host and a port"#),
        (format!("iroh:{ID}@a:1,b:1,c:1,d:1"), "it names more than 3 relays"),
        (format!("iroh:{ID}@{}:1", ["a"; 99].join(".")), "it is longer than 256 bytes"),
    ] {
        let error = text.parse::<PeerAddress>().expect_err(&text);
        assert_eq!(error.reason(), reason, "{text}");
        assert!(error.to_string().ends_with(&format!("; {REMEDY}")), "{error}");
        assert!(text.len() > 76 || error.to_string().starts_with(&format!("{text:?} is")), "{error}");
    }
    let long = format!("iroh:{ID}@{}:x", "a".repeat(150)).parse::<PeerAddress>().expect_err("no port").to_string();
    assert!(long.contains(&format!("of its relay \"{}…\"", "a".repeat(80))), "{long}");
}
