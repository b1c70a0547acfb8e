//! Any text as `denied.txt` or `allowed.txt`.

use std::net::IpAddr;
use std::time::Instant;

use meshpool_proto::access::{Access, Rules};
use meshpool_proto::{Input, Node as Core};

use crate::names::config;

/// Hosts that are checked against each list.
const HOSTS: [&str; 6] = ["127.0.0.1", "10.0.0.7", "198.51.100.7", "::1", "2001:db8::7", "::ffff:10.0.0.7"];

/// Parses a list, and checks which hosts a core that denies it serves images to.
pub(crate) fn check(text: &str) {
    let rules = match text.parse::<Rules>() {
        Ok(rules) => rules,
        Err(error) => {
            let line = text.lines().nth(error.line - 1).expect("the line exists");
            assert!(text.parse::<Rules>() == Err(error.clone()) && line.parse::<Rules>().is_err(), "{error}");
            return assert!(!error.to_string().contains(char::is_control), "{error:?} has control characters");
        }
    };
    assert!(rules.len() <= text.lines().count(), "a line has one rule at most");
    let commented: String = text.lines().map(|line| format!("# a comment\r\n \t{line} # another\r\n")).collect();
    assert_eq!(commented.parse(), Ok(rules.clone()), "comments and white space do not count");
    let ranges: Vec<(IpAddr, usize)> = text.lines().filter_map(range).collect();
    let mut core = Core::new(Instant::now(), config(0), Vec::new());
    core.handle(Instant::now(), Input::AccessChanged { access: Access { denied: rules, ..Access::default() } });
    let hosts = HOSTS.map(|host| host.parse().expect("an IP address"));
    for host in ranges.iter().map(|(first, _)| *first).chain(hosts) {
        let denied = ranges.iter().any(|(first, bits)| is_within(host.to_canonical(), *first, *bits));
        assert_eq!(core.may_fetch(host, None), !denied, "of {host} and {text:?}");
    }
}

/// The range of a line of a valid list: its first address and the length of its prefix.
fn range(line: &str) -> Option<(IpAddr, usize)> {
    let rule = line.split('#').next()?.trim();
    let (first, bits) = rule.split_once('/').unwrap_or((rule, "128"));
    Some((first.trim_matches(['[', ']']).parse().ok()?, bits.parse().ok()?))
}

fn is_within(host: IpAddr, first: IpAddr, bits: usize) -> bool {
    let (host, first) = (digits(host), digits(first));
    host.len() == first.len() && host.bytes().zip(first.bytes()).take(bits).all(|(one, other)| one == other)
}

/// An address as binary digits.
fn digits(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{:032b}", ip.to_bits()),
        IpAddr::V6(ip) => format!("{:0128b}", ip.to_bits()),
    }
}
