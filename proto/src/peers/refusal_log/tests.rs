use std::net::IpAddr;

use crate::peers::refusal_log::*;
use crate::testing::parts::context;

fn address_group(n: u8) -> Option<IpPrefix> {
    IpPrefix::address_group(IpAddr::from([198, 51, 100, n]))
}

/// Takes the lines: address group, reason, number of suppressed ones.
fn lines(cx: &mut Context) -> Vec<(String, String, u64)> {
    let outputs = std::iter::from_fn(|| cx.poll_output());
    let line = |output| match output {
        crate::Output::Notify(Event::PeerRefused { from, reason, suppressed }) => {
            (from.map_or("this host".into(), |from| from.to_string()), reason.to_string(), suppressed)
        }
        other => panic!("{other:?}"),
    };
    outputs.map(line).collect()
}

fn line(from: &str, reason: &str, suppressed: u64) -> (String, String, u64) {
    (from.into(), reason.into(), suppressed)
}

#[test]
fn each_address_group_has_a_line_a_minute_and_the_others_are_counted() {
    let (mut cx, mut log) = (context(), RefusalLog::default());
    log.log(&mut cx, address_group(1), "full".into());
    log.log(&mut cx, address_group(2), "full".into());
    log.log(&mut cx, None, "full".into());
    let first = [line("198.51.100.1", "full", 0), line("198.51.100.2", "full", 0), line("this host", "full", 0)];
    assert_eq!(lines(&mut cx), first);
    assert_eq!(cx.timers.due(&Timer::RefusalLog), None, "nothing is suppressed");
    log.log(&mut cx, address_group(1), "banned".into());
    log.log(&mut cx, address_group(1), "denied".into());
    assert_eq!(lines(&mut cx), []);
    let due = cx.timers.due(&Timer::RefusalLog).expect("set");
    assert_eq!(due, cx.now + limits::LOG_INTERVAL);
    cx.now = due;
    log.on_due(&mut cx);
    assert_eq!(lines(&mut cx), [line("198.51.100.1", "denied", 1)], "the line stands for one of them");
}

#[test]
fn the_report_comes_again_while_refusals_go_on() {
    let (mut cx, mut log) = (context(), RefusalLog::default());
    log.log(&mut cx, address_group(1), "full".into());
    log.log(&mut cx, address_group(1), "full".into());
    cx.now += limits::LOG_INTERVAL / 2;
    log.log(&mut cx, address_group(2), "full".into());
    log.log(&mut cx, address_group(2), "full".into());
    lines(&mut cx);
    cx.now += limits::LOG_INTERVAL / 2;
    log.on_due(&mut cx);
    assert_eq!(lines(&mut cx), [line("198.51.100.1", "full", 0)]);
    assert_eq!(cx.timers.due(&Timer::RefusalLog), Some(cx.now + limits::LOG_INTERVAL / 2), "for the other one");
    cx.now += limits::LOG_INTERVAL / 2;
    cx.timers.cancel(&Timer::RefusalLog);
    log.on_due(&mut cx);
    assert_eq!(lines(&mut cx), [line("198.51.100.2", "full", 0)]);
    assert_eq!(cx.timers.due(&Timer::RefusalLog), None);
}

#[test]
fn beyond_so_many_address_groups_no_line_is_logged() {
    let (mut cx, mut log) = (context(), RefusalLog::default());
    for n in 0..300_u16 {
        let [high, low] = n.to_be_bytes();
        log.log(&mut cx, IpPrefix::address_group(IpAddr::from([198, 18, high, low])), "full".into());
    }
    assert_eq!(lines(&mut cx).len(), limits::LOG_GROUPS);
}
