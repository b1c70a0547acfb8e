//! Shows by measurement that each kind of NAT does what its description says.
//!
//! The order of frames is kept on every path, once both ends know each other's hardware address. So
//! a datagram that has not come when a later one does was dropped, and no test has to wait to see
//! that nothing comes.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::watch::{NAME_SERVER, Watch};
use super::{Host, Lab, Nat, is_allowed};

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(10);
const DELAY: Duration = Duration::from_millis(5);

/// Makes a lab. `None` where that is not possible, which is a failure in CI.
fn lab(delay: Duration) -> Option<Lab> {
    if let Err(error) = is_allowed() {
        assert!(std::env::var_os("CI").is_none(), "no lab: {error:#}");
        eprintln!("skipped, for want of a lab: {error:#}");
        return None;
    }
    Some(Lab::new(delay).expect("a lab"))
}

/// A UDP socket on a host.
struct Socket(UdpSocket);

impl Socket {
    fn open(host: &Host) -> Self {
        let socket = host.run(|| Ok(UdpSocket::bind("0.0.0.0:0")?)).expect("a free port");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Self(socket)
    }

    /// Returns where others reach it if it is behind no NAT.
    fn on(&self, host: &Host) -> SocketAddr {
        (host.public_address(), self.0.local_addr().expect("bound").port()).into()
    }

    fn send(&self, to: SocketAddr, text: &str) {
        self.0.send_to(text.as_bytes(), to).expect("sent");
    }

    /// Waits for a datagram. Returns its text and where it comes from.
    fn receive(&self) -> (String, SocketAddr) {
        let mut buffer = [0; 2_000];
        let (length, from) = loop {
            // A call with a time limit is not restarted after a signal.
            match self.0.recv_from(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.expect("a datagram in time"),
            }
        };
        (String::from_utf8_lossy(&buffer[..length]).into_owned(), from)
    }

    /// Checks that no datagram has come so far.
    fn has_nothing(&self) {
        self.0.set_nonblocking(true).expect("set");
        let error = self.0.recv_from(&mut [0; 2_000]).expect_err("no datagram");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        self.0.set_nonblocking(false).expect("set");
    }

    /// Sends to a socket of a public host and returns how that one sees this one.
    fn seen_by(&self, other: &Self, host: &Host) -> SocketAddr {
        self.send(other.on(host), "who am I?");
        let (text, from) = other.receive();
        assert_eq!(text, "who am I?");
        from
    }
}

/// Makes two hosts, or their routers, learn each other's hardware address. `public` is without a
/// router. A datagram that waits for an answer of ARP would be overtaken by others.
fn introduce(host: &Host, public: &Host) {
    Socket::open(host).seen_by(&Socket::open(public), public);
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn home_maps_independently_of_the_endpoint_and_filters_by_address_and_port() {
    let Some(mut lab) = lab(DELAY) else { return };
    let (a, b) = (lab.behind(Nat::Home).expect("made"), lab.behind(Nat::Home).expect("made"));
    let (one, two) = (lab.public("one").expect("made"), lab.public("two").expect("made"));
    let (of_one, other_of_one, of_two) = (Socket::open(&one), Socket::open(&one), Socket::open(&two));
    let (of_a, of_b) = (Socket::open(&a), Socket::open(&b));
    introduce(&a, &two);

    let mapped = of_a.seen_by(&of_one, &one);
    assert_eq!(mapped.ip(), a.public_address());
    other_of_one.send(mapped, "from another port");
    of_two.send(mapped, "from another address");
    of_one.send(mapped, "from whom it was sent to");
    assert_eq!(of_a.receive(), ("from whom it was sent to".to_owned(), of_one.on(&one)));
    assert_eq!(of_a.seen_by(&of_two, &two), mapped, "the same for another address");
    of_two.send(mapped, "from another address, now that it was sent to");
    assert_eq!(of_a.receive().1, of_two.on(&two));

    let mapped_b = of_b.seen_by(&of_one, &one);
    let before = lab.counts().forwarded;
    of_a.send(mapped_b, "the first opens the way back and is dropped itself");
    wait_until("after a question and an answer of ARP it leaves", || lab.counts().forwarded >= before + 3);
    // When this has come, the first one has come to the other router.
    of_a.seen_by(&of_two, &two);
    of_b.send(mapped, "punched");
    assert_eq!(of_a.receive(), ("punched".to_owned(), mapped_b));
    of_a.send(mapped_b, "punched");
    assert_eq!(of_b.receive(), ("punched".to_owned(), mapped));
}

#[test]
fn full_lets_anybody_in() {
    let Some(mut lab) = lab(DELAY) else { return };
    let a = lab.behind(Nat::Full).expect("made");
    let (one, two) = (lab.public("one").expect("made"), lab.public("two").expect("made"));
    let (of_one, of_two, of_a) = (Socket::open(&one), Socket::open(&two), Socket::open(&a));
    let mapped = of_a.seen_by(&of_one, &one);
    assert_eq!(mapped.ip(), a.public_address());
    of_two.send(mapped, "from a stranger");
    assert_eq!(of_a.receive(), ("from a stranger".to_owned(), of_two.on(&two)));
    assert_eq!(of_a.seen_by(&of_two, &two), mapped, "the same for the answer");

    let other = Socket::open(&a);
    of_two.send((a.public_address(), other.on(&a).port()).into(), "to a port that has not sent");
    of_two.send(mapped, "later");
    assert_eq!(of_a.receive().0, "later");
    other.has_nothing();
}

#[test]
fn symmetric_maps_each_destination_to_another_port() {
    let Some(mut lab) = lab(DELAY) else { return };
    let (a, b) = (lab.behind(Nat::Symmetric).expect("made"), lab.behind(Nat::Home).expect("made"));
    let one = lab.public("one").expect("made");
    let (of_a, of_b) = (Socket::open(&a), Socket::open(&b));
    let sockets: Vec<_> = (0..4).map(|_| Socket::open(&one)).collect();
    let mut mapped: Vec<_> = sockets.iter().map(|socket| of_a.seen_by(socket, &one)).collect();
    assert!(mapped.iter().all(|mapped| mapped.ip() == a.public_address()));
    assert_eq!(of_a.seen_by(&sockets[0], &one), mapped[0], "the mapping of a destination stays");

    // What the two tell each other are the addresses that the public host sees.
    let mapped_b = of_b.seen_by(&sockets[1], &one);
    of_b.send(mapped[0], "to where the other one does not send from");
    of_a.send(mapped_b, "from where the other one has not sent to");
    sockets[0].send(mapped[0], "later");
    sockets[1].send(mapped_b, "later");
    assert_eq!((of_a.receive().0, of_b.receive().0), ("later".to_owned(), "later".to_owned()));

    mapped.sort();
    mapped.dedup();
    assert!(mapped.len() >= 3, "of four random ports two may be equal by chance: {mapped:?}");
}

#[test]
fn udpblock_passes_tcp_only() {
    let Some(mut lab) = lab(DELAY) else { return };
    let (a, one) = (lab.behind(Nat::UdpBlocked).expect("made"), lab.public("one").expect("made"));
    let (of_a, of_one) = (Socket::open(&a), Socket::open(&one));
    let listener = one.run(|| Ok(TcpListener::bind("0.0.0.0:0")?)).expect("a free port");
    let to: SocketAddr = (one.address(), listener.local_addr().expect("bound").port()).into();
    of_a.send(of_one.on(&one), "over UDP");
    let mut stream = a.run(|| Ok(TcpStream::connect_timeout(&to, PATIENCE)?)).expect("connected");
    let (mut accepted, from) = listener.accept().expect("accepted");
    assert_eq!(from.ip(), IpAddr::from(a.public_address()));
    // Longer than a frame, so that segments and their checksums are right.
    let sent: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
    accepted.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut received = vec![0; sent.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| stream.write_all(&sent).expect("sent"));
        accepted.read_exact(&mut received).expect("received");
    });
    assert!(received == sent);
    of_one.has_nothing();
}

#[test]
fn a_host_without_a_nat_is_reached_by_anybody() {
    let Some(mut lab) = lab(DELAY) else { return };
    let (a, b) = (lab.behind(Nat::None).expect("made"), lab.behind(Nat::Home).expect("made"));
    let (of_a, of_b) = (Socket::open(&a), Socket::open(&b));
    assert_eq!(of_b.seen_by(&of_a, &a).ip(), IpAddr::from(b.public_address()));
    assert_eq!(a.address(), a.public_address());
    assert_ne!(b.address(), b.public_address());
}

#[test]
fn a_packet_takes_the_delay_that_was_set_also_under_load() {
    let Some(mut lab) = lab(Duration::from_millis(20)) else { return };
    let (one, two) = (lab.public("one").expect("made"), lab.public("two").expect("made"));
    let (here, there) = (Socket::open(&one), Socket::open(&two));
    let round_trip = || {
        let began = Instant::now();
        here.send(there.on(&two), "there");
        let (_, from) = there.receive();
        there.send(from, "and back");
        here.receive();
        began.elapsed().as_secs_f64() * 1e3
    };
    // The first looks for the other's hardware address.
    round_trip();
    let median = measuring::median((0..9).map(|_| round_trip())).expect("nine");
    assert!((28.0..=52.0).contains(&median), "a round trip takes {median:.1} ms, not 2 × 20 ms");

    // As many as would be 4,000 in a second, sent ten at a time.
    let (packets, to) = (2_000, there.on(&two));
    let began = Instant::now();
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        let here = &here;
        scope.spawn(move || {
            let mut ticks = 0;
            for number in 0..packets {
                if number % 10 == 0 {
                    let next = began + Duration::from_micros(2_500) * ticks;
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    ticks += 1;
                }
                here.send(to, &began.elapsed().as_micros().to_string());
            }
        });
        for _ in 0..packets {
            let sent: f64 = there.receive().0.parse().expect("a number");
            times.push((began.elapsed().as_micros() as f64 - sent) / 1e3);
        }
    });
    let median = measuring::median(times).expect("some");
    assert!((14.0..=26.0).contains(&median), "under load a packet takes {median:.1} ms, not 20 ms");
}

#[test]
fn a_line_is_cut_and_restored() {
    let Some(mut lab) = lab(DELAY) else { return };
    let (a, one) = (lab.behind(Nat::Home).expect("made"), lab.public("one").expect("made"));
    let (of_a, of_one) = (Socket::open(&a), Socket::open(&one));
    let mapped = of_a.seen_by(&of_one, &one);
    lab.cut(&a);
    let before = lab.counts().cut;
    of_a.send(of_one.on(&one), "to nowhere");
    of_one.send(mapped, "to nowhere");
    wait_until("both are dropped", || lab.counts().cut >= before + 2);
    lab.restore(&a);
    of_one.send(mapped, "after");
    assert_eq!(of_a.receive().0, "after");
    of_a.send(of_one.on(&one), "after");
    assert_eq!(of_one.receive(), ("after".to_owned(), mapped));
}

#[test]
fn a_part_of_all_packets_is_lost() {
    let Some(mut lab) = lab(Duration::from_millis(1)) else { return };
    let (one, two) = (lab.public("one").expect("made"), lab.public("two").expect("made"));
    let (here, there) = (Socket::open(&one), Socket::open(&two));
    here.seen_by(&there, &two);
    lab.set_loss(0.5);
    for _ in 0..100 {
        here.send(there.on(&two), "perhaps");
    }
    lab.counts();
    wait_until("all have left or are lost", || lab.counts().lost + lab.counts().forwarded >= 100);
    lab.set_loss(0.0);
    here.send(there.on(&two), "certainly");
    let received = std::iter::from_fn(|| Some(there.receive().0)).take_while(|text| text == "perhaps").count();
    assert!((20..=80).contains(&received), "{received} of 100");
}

#[test]
fn a_nat_moves_to_a_new_address_and_forgets_its_mappings() {
    for nat in [Nat::Home, Nat::Full, Nat::None] {
        let Some(mut lab) = lab(DELAY) else { return };
        let (mut a, one) = (lab.behind(nat).expect("made"), lab.public("one").expect("made"));
        let two = lab.public("two").expect("made");
        let (of_a, of_one, of_two) = (Socket::open(&a), Socket::open(&one), Socket::open(&two));
        let mapped = of_a.seen_by(&of_one, &one);
        if nat == Nat::Full {
            // This connection begins outside.
            of_two.send(mapped, "from a stranger");
            of_a.receive();
        }
        let old = a.public_address();
        let new = lab.move_nat(&mut a).expect("moved");
        assert!(new != old && new == a.public_address());
        let was = SocketAddr::from((new, mapped.port()));
        let other = Socket::open(&a);
        let mapped_other = other.seen_by(&of_one, &one);
        of_one.send(mapped, "to the old address");
        if nat != Nat::None {
            of_one.send(was, "to the new address, which has no mapping yet");
        }
        of_one.send(mapped_other, "later");
        assert_eq!(other.receive().0, "later", "{nat}");
        assert_eq!(of_a.seen_by(&of_one, &one), was, "{nat}: an old connection has the new address");
        assert_eq!(of_a.seen_by(&of_two, &two), was, "{nat}");
        of_one.send(was, "to the new address");
        assert_eq!(of_a.receive().0, "to the new address", "{nat}");
    }
}

#[test]
fn a_host_that_is_killed_is_silent_and_its_processes_are_gone() {
    let Some(mut lab) = lab(DELAY) else { return };
    let (a, one) = (lab.behind(Nat::Home).expect("made"), lab.public("one").expect("made"));
    let mut child = one.command("sleep").arg("1000").stdin(Stdio::null()).spawn().expect("started");
    // Until then it is `ip`, and may not be there yet.
    let program = format!("/proc/{}/comm", child.id());
    wait_until("it is started", || std::fs::read_to_string(&program).is_ok_and(|name| name.trim() == "sleep"));
    let (of_a, of_one) = (Socket::open(&a), Socket::open(&one));
    of_a.seen_by(&of_one, &one);
    lab.kill(&one).expect("killed");
    assert!(!child.wait().expect("ended").success());
    let before = lab.counts().cut;
    of_a.send(of_one.on(&one), "to nobody");
    wait_until("it is dropped", || lab.counts().cut > before);
    of_one.has_nothing();
}

#[test]
fn packets_to_strangers_are_counted() {
    let Some(mut lab) = lab(DELAY) else { return };
    let (behind, public) = (lab.behind(Nat::Home).expect("made"), lab.public("one").expect("made"));
    let friend = lab.public("friend").expect("made");
    let of_friend = Socket::open(&friend);
    for host in [&behind, &public] {
        let watch = Watch::start(host, &[friend.address().into()]).expect("watched");
        let socket = Socket::open(host);
        socket.seen_by(&of_friend, &friend);
        assert_eq!(watch.strangers().expect("read"), []);
        let stranger: SocketAddr = "203.0.113.7:4001".parse().expect("valid");
        socket.send(stranger, "one");
        socket.send(stranger, "two");
        host.run(|| {
            UdpSocket::bind("[::]:0")?.send_to(b"six", "[2001:db8:7::1]:53")?;
            let stream = TcpStream::connect_timeout(&"192.0.2.1:443".parse()?, Duration::from_millis(10));
            assert!(stream.is_err());
            Ok(())
        })
        .expect("sent");
        // The libc of the program asks the name server that it finds in its files.
        let looked_up = host.command("cat").arg("/etc/resolv.conf").output().expect("run").stdout;
        assert_eq!(String::from_utf8_lossy(&looked_up), format!("nameserver {NAME_SERVER}\n"));
        let found = watch.strangers().expect("read");
        let found: Vec<_> = found.iter().map(|one| (one.address.to_string(), one.port, one.packets)).collect();
        let expected = [("192.0.2.1", Some(443), 1), ("203.0.113.7", Some(4_001), 2), ("2001:db8:7::1", Some(53), 1)];
        assert_eq!(found, expected.map(|(address, port, packets)| (address.to_owned(), port, packets)));
    }
}

#[test]
fn nothing_is_left_of_a_lab() -> Result<()> {
    let Some(mut lab) = lab(DELAY) else { return Ok(()) };
    let (a, one) = (lab.behind(Nat::Home)?, lab.public("one")?);
    let watch = Watch::start(&one, &[])?;
    let namespaces: Vec<_> = lab.namespaces.names().map(str::to_owned).collect();
    let exists = |name: &String| Path::new("/run/netns").join(name).exists();
    assert!(namespaces.len() == 4 && namespaces.iter().all(exists), "{namespaces:?}");
    let mut child = a.command("cat").stdin(Stdio::piped()).spawn()?;
    let program = format!("/proc/{}/comm", child.id());
    wait_until("it is started", || std::fs::read_to_string(&program).is_ok_and(|name| name.trim() == "cat"));
    drop(watch);
    drop(lab);
    assert!(!namespaces.iter().any(exists), "{namespaces:?}");
    assert!(!namespaces.iter().any(|name| Path::new("/etc/netns").join(name).exists()));
    wait_until("its process has ended", || child.try_wait().is_ok_and(|status| status.is_some()));
    Ok(())
}
