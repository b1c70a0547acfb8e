//! Tests of addresses over WebSocket and of scopes.

use super::*;

const REMEDY: &str = "write it as ws://host:port, iroh:<node id> or iroh:<node id>@host:port";

fn address(text: &str) -> PeerAddress {
    text.parse().expect(text)
}

#[test]
fn an_address_has_one_normal_form() {
    for (spelling, normal) in [
        ("ws://LocalHost:4001/", "ws://localhost:4001"),
        ("WS://127.0.0.1:04001", "ws://127.0.0.1:4001"),
        ("ws://[0:0:0:0:0:0:0:1]:4001", "ws://[::1]:4001"),
        ("wss://Example.org:443", "wss://example.org:443"),
        ("ws://[::ffff:198.51.100.7]:4001", "ws://198.51.100.7:4001"),
        ("ws://[0:0::FFFF:C633:6407]:4001", "ws://198.51.100.7:4001"),
        ("ws://[::198.51.100.7]:4001", "ws://[::c633:6407]:4001"),
    ] {
        assert_eq!(address(spelling).to_string(), normal);
        assert_eq!(address(spelling), address(normal));
    }
}

#[test]
fn what_ping_and_curl_take_is_taken() {
    for (spelling, normal, scope) in [
        ("ws://example.org.:1", "ws://example.org:1", Scope::Public),
        ("ws://localhost.:1", "ws://localhost:1", Scope::Loopback),
        ("ws://a.localhost.:1", "ws://a.localhost:1", Scope::Loopback),
        ("ws://10.0.0.7.:1", "ws://10.0.0.7:1", Scope::Private),
        ("ws://bücher.example:1", "ws://xn--bcher-kva.example:1", Scope::Public),
        ("ws://BÜCHER.Example.:1", "ws://xn--bcher-kva.example:1", Scope::Public),
        // With a combining mark, as macOS writes names, and a full stop of another script.
        ("ws://bu\u{308}cher。example:1", "ws://xn--bcher-kva.example:1", Scope::Public),
        ("ws://例え.テスト:1", "ws://xn--r8jz45g.xn--zckzah:1", Scope::Public),
        ("ws://ｌｏｃａｌｈｏｓｔ:1", "ws://localhost:1", Scope::Loopback),
        ("ws://１２７.0.0.1:1", "ws://127.0.0.1:1", Scope::Loopback),
        ("ws://[fe80::1%eth0]:1", "ws://[fe80::1%eth0]:1", Scope::Interface),
        ("ws://[FE80:0::1%25eth0.7]:1", "ws://[fe80::1%eth0.7]:1", Scope::Interface),
        ("ws://[fe80::1%25]:1", "ws://[fe80::1%25]:1", Scope::Interface),
        ("ws://[fe80::1%2525x]:1", "ws://[fe80::1%2525x]:1", Scope::Interface),
    ] {
        let parsed = address(spelling);
        assert_eq!((parsed.to_string().as_str(), parsed.scope()), (normal, scope), "{spelling}");
        assert_eq!(address(normal), parsed);
    }
    let zoned = PeerAddress::new("fe80::1%eth0", 9).expect("an address");
    assert_eq!(
        (zoned.host().as_str(), zoned.clone().without_zone().to_string().as_str()),
        ("fe80::1%eth0", "ws://[fe80::1]:9")
    );
    assert_eq!(PeerAddress::new("bücher", 9).expect("an address").to_string(), "ws://xn--bcher-kva:9");
    for (text, reason) in [
        ("ws://[fe80::1%]:1", "its zone, behind the %, is no name of an interface"),
        ("ws://[fe80::1%a b]:1", "its zone, behind the %, is no name of an interface"),
        ("ws://[fe80::1%sixteen-bytes-it]:1", "its zone, behind the %, is no name of an interface"),
        ("ws://[fe80::1%\u{1b}]:1", "its zone, behind the %, is no name of an interface"),
        ("ws://[2001:db8::1%eth0]:1", "only a link-local IPv6 address (fe80::) has a zone"),
        ("ws://[::1%lo]:1", "only a link-local IPv6 address (fe80::) has a zone"),
        ("ws://2130706433。:1", "its host is neither a name nor an IP address"),
        ("ws://a\u{202e}b:1", "its host is no name in any script"),
        ("ws://bü cher:1", "its host is neither a name nor an IP address"),
    ] {
        assert_eq!(text.parse::<PeerAddress>().expect_err(text).reason(), reason, "{text}");
    }
    // 256 bytes of text, and more of ASCII.
    let long = format!(
        "ws://{}:1",
        ["ü".repeat(20), "ö".repeat(20), "ä".repeat(20), "é".repeat(20), "è".repeat(20), "a".repeat(40)].join(".")
    );
    assert!(long.len() <= 256 && long.parse::<PeerAddress>().is_ok());
}

#[test]
fn an_address_with_a_zone_is_told_to_nobody() {
    for peer in [Scope::Loopback, Scope::Private, Scope::Public] {
        assert!(!peer.may_tell(address("ws://[fe80::1%eth0]:1").scope()), "{peer:?}");
    }
}

#[test]
fn other_texts_are_refused_with_the_reason() {
    for text in [
        "",
        "localhost:4001",
        "http://localhost:4001",
        "ws://localhost",
        "ws://localhost:",
        "ws://localhost:0",
        "ws://localhost:70000",
        "ws://localhost:+1",
        "ws://localhost:4001/path",
        "ws://localhost:4001//",
        "ws://localhost:4001?a",
        "ws://localhost:4001#a",
        "ws://user@localhost:4001",
        "ws://:4001",
        "ws://::1:4001",
        "ws://[::1:4001",
        "ws://a b:4001",
        "ws://a..b:4001",
        "ws://-a:4001",
        "ws://2130706433:4001",
        "ws://0x7f.1:4001",
        "ws://127.1:4001",
        "ws://\u{1b}[31m:4001",
    ] {
        let error = text.parse::<PeerAddress>().expect_err(text);
        assert!(error.to_string().contains("ws://host:port"), "{error}");
        assert!(!error.to_string().contains('\u{1b}'), "escapes are escaped");
    }
    let long = format!("ws://{}:4001", "a.".repeat(130));
    assert!(long.parse::<PeerAddress>().is_err());
}

#[test]
fn scopes() {
    for (text, scope) in [
        ("ws://localhost:1", Scope::Loopback),
        ("ws://127.9.9.9:1", Scope::Loopback),
        ("ws://0.0.0.0:1", Scope::Loopback),
        ("ws://[::1]:1", Scope::Loopback),
        ("ws://[::ffff:127.0.0.1]:1", Scope::Loopback),
        ("ws://10.0.0.1:1", Scope::Private),
        ("ws://[fe80::1]:1", Scope::Private),
        ("ws://100.64.0.1:1", Scope::Private),
        ("ws://192.0.2.1:1", Scope::Public),
        ("ws://example.org:1", Scope::Public),
    ] {
        assert_eq!(address(text).scope(), scope, "{text}");
    }
    assert!(Scope::Loopback.may_tell(Scope::Public) && Scope::Loopback.may_tell(Scope::Loopback));
    assert!(!Scope::Public.may_tell(Scope::Private) && !Scope::Private.may_tell(Scope::Loopback));
}

#[test]
fn each_fault_has_its_reason() {
    for (text, reason) in [
        ("localhost:1", "it has no ws://"),
        ("http://a:1", "its scheme is not ws, wss or iroh"),
        ("ws://a:1/b", "it has more than a host and a port"),
        ("ws://a\\b:1", "it has more than a host and a port"),
        ("ws://a:1#", "it has more than a host and a port"),
        ("ws://a#net", "it has more than a host and a port"),
        ("ws://a", "it has no port"),
        ("ws://a:1x", "its port is not a number"),
        ("ws://a:", "its port is not from 1 to 65535"),
        ("ws://a:0", "its port is not from 1 to 65535"),
        ("ws://a:65536", "its port is not from 1 to 65535"),
        ("ws://[::g]:1", "its host in brackets is no IPv6 address"),
        ("ws://a_b-:1", "its host is neither a name nor an IP address"),
        ("ws://0Xab:1", "its host is neither a name nor an IP address"),
        ("ws://a.1:1", "its host is neither a name nor an IP address"),
    ] {
        let error = text.parse::<PeerAddress>().expect_err(text);
        assert_eq!(error.reason(), reason, "{text}");
        let shown = format!("{text:?} is no peer address: {reason}; {REMEDY}");
        assert_eq!(error.to_string(), shown);
    }
    let long = format!("ws://{}:1", "a".repeat(300));
    let error = long.parse::<PeerAddress>().expect_err("too long");
    assert_eq!(error.reason(), "it is longer than 256 bytes");
    let shown = format!("{}…", &long[..80]);
    assert!(error.to_string().starts_with(&format!("{shown:?} is")), "cut to 80 characters: {error}");
    let about = error.of(" \u{201c}x\u{201d}").to_string();
    assert!(about.starts_with("\" “x”\" is no peer address: it is longer"), "{about}");
}

#[test]
fn an_invite_is_no_address_and_the_error_names_it() {
    let id = "a7".repeat(32);
    for invite in [
        format!("iroh:{id}@192.0.2.7:4001#p2p-node"),
        format!("iroh:{id}#mars #1"),
        "ws://node.example:4001#net".to_owned(),
        format!("iroh:{id}#{}", "é".repeat(200)),
    ] {
        let error = invite.parse::<PeerAddress>().expect_err(&invite);
        assert!(error.reason().starts_with("it is an invite; follow it with 'meshpool join'"), "{error}");
        assert!(error.reason().contains("leave out the #"), "{error}");
    }
}

#[test]
fn lengths_are_bounded() {
    let label = "a".repeat(63);
    address(&format!("ws://{label}:1"));
    assert!(format!("ws://a{label}:1").parse::<PeerAddress>().is_err(), "a label has at most 63 bytes");
    let host = |length: usize| [&*label, &*label, &*label, &"a".repeat(length - 192)].join(".");
    let reason = |text: String| text.parse::<PeerAddress>().err().map(|error| error.reason().to_owned());
    let too_long = || Some("it is longer than 256 bytes".to_owned());
    // With "ws://", ":" and a digit these are 256 bytes; zeros before the port count too.
    assert_eq!(reason(format!("ws://{}:1", host(249))), None);
    assert_eq!(reason(format!("ws://{}:1", host(250))), too_long());
    assert_eq!(reason(format!("ws://a:{}1", "0".repeat(248))), None);
    assert_eq!(reason(format!("ws://a:{}1", "0".repeat(249))), too_long());
}

#[test]
fn names_have_letters_digits_hyphens_and_underscores() {
    for host in ["a", "a-b", "a_b", "A1", "1a", "1.a", "xn--bcher-kva.example", "0x1.a"] {
        assert_eq!(address(&format!("ws://{host}:1")).host(), host.to_lowercase());
    }
    for host in
        ["a-", "-a", "a.-b", "a b", "a+b", "", ".", "a..", ".a", "1", "1.", "0x1.", "a.0x1", "a.0X", "1.2.3.256"]
    {
        assert!(format!("ws://{host}:1").parse::<PeerAddress>().is_err(), "{host}");
    }
}

#[test]
fn an_address_is_made_of_a_host_and_a_port() {
    for (host, text) in [
        ("localhost", "ws://localhost:9"),
        ("127.0.0.1", "ws://127.0.0.1:9"),
        ("::1", "ws://[::1]:9"),
        ("[::1]", "ws://[::1]:9"),
    ] {
        let address = PeerAddress::new(host, 9).expect(host);
        assert_eq!((address.to_string(), format!("{address:?}")), (text.to_owned(), text.to_owned()));
        assert_eq!((address.host(), address.port()), (host.trim_matches(['[', ']']).to_owned(), 9));
        assert!(!address.is_secure());
        let secured = address.clone().secured();
        assert_eq!(secured.to_string(), text.replace("ws://", "wss://"));
        assert!(secured.is_secure() && secured != address);
    }
    assert!(PeerAddress::new("localhost", 0).is_err() && PeerAddress::new("a b", 1).is_err());
}

#[test]
fn each_network_has_its_scope() {
    for (ip, scope) in [
        ("0.255.255.255", Scope::Loopback),
        ("1.0.0.0", Scope::Public),
        ("126.255.255.255", Scope::Public),
        ("127.255.255.255", Scope::Loopback),
        ("128.0.0.0", Scope::Public),
        ("10.255.255.255", Scope::Private),
        ("172.15.255.255", Scope::Public),
        ("172.16.0.0", Scope::Private),
        ("192.168.0.0", Scope::Private),
        ("169.254.0.0", Scope::Private),
        ("100.63.255.255", Scope::Public),
        ("100.64.0.0", Scope::Private),
        ("100.127.255.255", Scope::Private),
        ("100.128.0.0", Scope::Public),
        ("101.64.0.0", Scope::Public),
        ("::", Scope::Loopback),
        ("::1", Scope::Loopback),
        ("::2", Scope::Public),
        ("fc00::1", Scope::Private),
        ("fdff::1", Scope::Private),
        ("fe80::1", Scope::Private),
        ("fec0::1", Scope::Public),
        ("2001:db8::1", Scope::Public),
        ("::ffff:10.0.0.1", Scope::Private),
        ("::ffff:192.0.2.1", Scope::Public),
    ] {
        assert_eq!(Scope::of(ip.parse().expect(ip)), scope, "{ip}");
    }
    for (name, scope) in [
        ("localhost", Scope::Loopback),
        ("a.localhost", Scope::Loopback),
        ("alocalhost", Scope::Public),
        ("localhost.a", Scope::Public),
    ] {
        assert_eq!(address(&format!("ws://{name}:1")).scope(), scope, "{name}");
    }
    let scopes = [Scope::Loopback, Scope::Private, Scope::Public];
    let told = scopes.map(|peer| scopes.map(|named| peer.may_tell(named)));
    assert_eq!(told, [[true, true, true], [false, true, true], [false, false, true]]);
}

#[test]
fn a_label_in_punycode_stands_for_a_name() {
    for host in ["xn--bcher-kva.example", "XN--BCHER-KVA.example", "a.xn--p1ai"] {
        let normal = address(&format!("ws://{host}:1"));
        assert_eq!(normal.host(), host.to_lowercase());
        assert!(!normal.is_url_anywhere(), "an older Unicode may not have it: {host}");
    }
    // Nothing, no Punycode, letters that need none, a mark without a letter, and no normal form.
    for host in
        ["xn--.example", "xn--a.example", "XN--A.example", "xn--a-.example", "a.xn--zzzzzz99999", "xn--a-ecp.example"]
    {
        let reason = "its host is no name in any script";
        assert_eq!(format!("ws://{host}:1").parse::<PeerAddress>().expect_err(host).reason(), reason);
        let relay = format!("{host}:1").parse::<RelayHint>().expect_err(host);
        assert_eq!(relay.reason(), reason);
    }
    for (text, anywhere) in [
        ("ws://a-xn--b.example:1", true),
        ("ws://10.0.0.1:1", true),
        ("wss://[::1]:1", true),
        ("ws://[fe80::1]:1", true),
        ("ws://[fe80::1%eth0]:1", false),
        (&format!("iroh:{}", "a7".repeat(32)), false),
    ] {
        assert_eq!(address(text).is_url_anywhere(), anywhere, "{text}");
    }
}

mod nodes;
