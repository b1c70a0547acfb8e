use std::cell::{Cell, RefCell};

use iroh_relay::server::{RelayConfig as ServedRelay, Server, ServerConfig};
use meshpool_proto::id::{Session, UpgradeIdentity};
use meshpool_proto::limits::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::*;
use crate::folder::node_key::NodeKey;
use crate::transport::arrival::Arrival;
use crate::transport::websocket::listener::{Acceptor, Outside};
use crate::transport::websocket::plain_http::PageLocation;
use crate::util::ip_range::IpRange;

/// How long a link may take to come about, or to come about again.
const WITHIN: Duration = Duration::from_secs(45);

fn new() -> Wan {
    Wan::new(&WanIdentity { node: NodeId([1; 32]), seed: [1; 32] }, None, Vec::new())
}

/// A relay on loopback. Once it is shut down connections to it are refused.
async fn relay() -> (Server, SocketAddr) {
    let mut config = ServerConfig::default();
    config.relay = Some(ServedRelay::new(([127, 0, 0, 1], 0)));
    let server = Server::spawn(config).await.expect("a relay");
    let at = server.http_addr().expect("it listens");
    (server, at)
}

/// A node without direct paths that knows these relays.
async fn relayed(seed: u8, relays: &[SocketAddr]) -> Wan {
    let node = NodeKey::from_bytes(&[seed; 32]).node_id();
    let mut wan = Wan::new(&WanIdentity { node, seed: [seed; 32] }, None, Vec::new());
    Arc::get_mut(&mut wan.0).expect("no clone").has_direct_paths = false;
    wan.add_named(relays.iter().map(|at| at.to_string().parse().expect("a hint")).collect()).await;
    wan.start();
    wan
}

/// Takes each stream and keeps it until its end.
async fn keep(incoming: Incoming) {
    if let Ok(mut stream) = incoming.accept().await {
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.unwrap_or_default();
    }
}

/// Dials a node over its relays as often as is needed. Returns the stream, after a first byte.
async fn linked(from: &Wan, to: &Wan) -> IrohStream {
    let linking = async {
        loop {
            let mut stream = linked_silently(from, to).await;
            if stream.write_all(b"x").await.is_ok() {
                return stream;
            }
        }
    };
    tokio::time::timeout(WITHIN, linking).await.expect("linked in time")
}

/// Dials a node over its relays as often as is needed.
async fn linked_silently(from: &Wan, to: &Wan) -> IrohStream {
    let by = NamedBy { reach: Scope::Loopback, sources: vec![SourceGroup::User] };
    let (permits, progress) = (DialPermits::new(&Limits::default()), DialProgress::default());
    let address = PeerAddress::of_node(to.0.node, []);
    loop {
        let dial = from.connect(&address, &by, &permits, &progress);
        // As long as a dial may take.
        if let Ok(Ok((stream, _))) = tokio::time::timeout(Duration::from_secs(5), dial).await {
            return stream;
        }
    }
}

/// Waits until the endpoint that a node has now was replaced.
async fn replaced(wan: &Wan) {
    let mut endpoints = wan.0.endpoint.subscribe();
    let next = async {
        endpoints.wait_for(Option::is_none).await.expect("it runs");
        endpoints.wait_for(Option::is_some).await.expect("it runs");
    };
    tokio::time::timeout(WITHIN, next).await.expect("replaced in time");
}

#[tokio::test]
async fn an_endpoint_whose_only_links_went_over_a_relay_that_is_gone_is_replaced() {
    let ((first, first_at), (_second, second_at)) = (relay().await, relay().await);
    let (one, two) = (relayed(1, &[first_at, second_at]).await, relayed(2, &[first_at, second_at]).await);
    let following = async {
        let _link = linked(&one, &two).await;
        first.shutdown().await.expect("ended");
        replaced(&one).await;
        linked(&one, &two).await;
        assert_eq!(one.home().map(|home| home.to_string()), Some(second_at.to_string()));
    };
    tokio::select! {
        () = one.clone().run(keep) => unreachable!("it runs on"),
        () = two.clone().run(keep) => unreachable!("it runs on"),
        followed = tokio::time::timeout(WITHIN * 2, following) => followed.expect("followed in time"),
    }
}

#[tokio::test]
async fn an_endpoint_that_sends_nothing_since_a_relay_is_gone_is_replaced() {
    let ((first, first_at), (_second, second_at)) = (relay().await, relay().await);
    let (one, two) = (relayed(1, &[first_at, second_at]).await, relayed(2, &[second_at]).await);
    let following = async {
        let mut told = one.address();
        told.wait_for(Option::is_some).await.expect("connected");
        first.shutdown().await.expect("ended");
        told.wait_for(Option::is_none).await.expect("away");
        told.wait_for(Option::is_some).await.expect("connected to the second");
        let endpoint = one.0.endpoint.borrow().clone().expect("it runs");
        // More packets than the engine keeps for a relay, to nodes that may be anywhere.
        let dials = (10..100).map(|seed| {
            let node = NodeKey::from_bytes(&[seed; 32]).node_id();
            let id = EndpointId::from_bytes(&node.0).expect("a public key");
            let over = EndpointAddr::from_parts(id, [TransportAddr::Relay(relay_url::of(first_at))]);
            let endpoint = endpoint.clone();
            async move { endpoint.connect(over, ALPN).await.map(drop) }
        });
        let mut dials: FuturesUnordered<_> = dials.collect();
        let blocking = async {
            while dials.next().await.is_some() {}
            pending::<()>().await;
        };
        tokio::select! {
            () = blocking => {}
            ((), _link) = async { tokio::join!(replaced(&one), linked(&one, &two)) } => {}
        }
    };
    tokio::select! {
        () = one.clone().run(keep) => unreachable!("it runs on"),
        () = two.clone().run(keep) => unreachable!("it runs on"),
        followed = tokio::time::timeout(WITHIN * 2, following) => followed.expect("followed in time"),
    }
}

/// A relay on loopback, and what makes it mute. Then its connections are dead. New ones lead to a
/// relay of their own each: it answers pings and serves the node, which meets no other one there.
async fn relay_that_falls_mute() -> (SocketAddr, watch::Sender<bool>, JoinSet<()>) {
    let (server, behind) = relay().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound");
    let (mute, is_mute) = watch::channel(false);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let _server = server;
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut is_mute = is_mute.clone();
            connections.spawn(async move {
                let own = if *is_mute.borrow() { Some(relay().await) } else { None };
                let to = own.as_ref().map_or(behind, |(_, at)| *at);
                let mut server = TcpStream::connect(to).await.expect("it listens");
                let carrying = tokio::io::copy_bidirectional(&mut client, &mut server);
                let dying = async {
                    match own {
                        Some(_) => pending().await,
                        None => is_mute.wait_for(|is| *is).await.map(drop),
                    }
                };
                tokio::select! {
                    _ = carrying => return,
                    _ = dying => {}
                }
                pending::<()>().await;
            });
        }
    });
    (at, mute, serving)
}

#[tokio::test]
async fn a_home_relay_that_answers_and_forwards_nothing_is_left() {
    let ((first_at, mute, _serving), (_second, second_at)) = (relay_that_falls_mute().await, relay().await);
    let (one, two) = (relayed(1, &[first_at, second_at]).await, relayed(2, &[first_at, second_at]).await);
    let (taken, mut taken_by_two) = mpsc::channel(8);
    let take = move |incoming: Incoming| {
        let taken = taken.clone();
        async move {
            if let Ok(mut stream) = incoming.accept().await {
                taken.send(()).await.expect("the test runs");
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.unwrap_or_default();
            }
        }
    };
    let homes = || [&one, &two].map(|wan| wan.home().map(|home| home.to_string()));
    let following = async {
        let link = linked(&one, &two).await;
        taken_by_two.recv().await.expect("it runs");
        assert_eq!(homes(), [Some(first_at.to_string()), Some(first_at.to_string())]);
        mute.send_replace(true);
        replaced(&one).await;
        drop(link);
        linked(&one, &two).await;
        assert_eq!(homes(), [Some(second_at.to_string()), Some(second_at.to_string())]);
    };
    tokio::select! {
        () = one.clone().run(keep) => unreachable!("it runs on"),
        () = two.clone().run(take) => unreachable!("it runs on"),
        followed = tokio::time::timeout(WITHIN * 2, following) => followed.expect("followed in time"),
    }
}

fn hint(text: &str) -> RelayHint {
    text.parse().expect("a hint")
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Where the known relays are.
fn known(wan: &Wan) -> Vec<SocketAddr> {
    wan.relays().all().iter().map(|relay| relay.at).collect()
}

#[tokio::test(start_paused = true)]
async fn the_name_of_a_relay_that_led_nowhere_is_looked_up_until_it_is_found() {
    let wan = new();
    let (unknown, found) = (hint("relay.invalid:1"), at("192.0.2.1:1"));
    let (began, asked) = (tokio::time::Instant::now(), Cell::new(0));
    let resolve = async |_: &RelayHint| {
        asked.set(asked.get() + 1);
        if asked.get() < 8 { Err(io::ErrorKind::NotFound.into()) } else { Ok(vec![found]) }
    };
    let named = async {
        // The system's resolver knows no such name (RFC 6761, section 6.4).
        wan.add_named(vec![unknown.clone()]).await;
        let (relay, fault) = wan.home_fault().await.expect("it is kept");
        assert!(relay == unknown && matches!(fault, RelayFault::Unresolved(_)) && !wan.has_relays(), "{fault}");
        wan.0.changed.notified().await;
    };
    tokio::select! {
        () = wan.look_up_again_by(resolve, async |_| Ok(())) => unreachable!("it goes on"),
        () = named => {}
    }
    assert_eq!((known(&wan), wan.relays().unanswered()), (vec![found], &[][..]));
    // 2, 4, 8, 16, 32, 60, 60 and 60 s.
    assert_eq!((asked.get(), began.elapsed().as_secs()), (8, 242));
}

#[tokio::test(start_paused = true)]
async fn a_relay_is_kept_from_the_engine_and_asked_ever_less_often_until_it_answers() {
    let wan = new();
    let (victim, silent) = (at("192.0.2.1:1"), at("192.0.2.2:1"));
    let (began, asked) = (tokio::time::Instant::now(), RefCell::new(Vec::new()));
    let ask = async |relay: SocketAddr| {
        asked.borrow_mut().push(relay);
        let times = asked.borrow().iter().filter(|other| **other == relay).count();
        match times {
            // It starts meanwhile.
            ..6 if relay == victim => Err(io::ErrorKind::ConnectionRefused.into()),
            _ if relay == silent => pending().await,
            _ => Ok(()),
        }
    };
    let resolve = async |hint: &RelayHint| Ok(vec![at(&hint.to_string())]);
    // As an invite names them, and with one address each.
    let named = [victim, silent].map(|at| hint(&at.to_string()));
    wan.add_named_by(named.to_vec(), resolve, ask).await;
    assert_eq!((known(&wan), began.elapsed()), (Vec::new(), HEAD_START + RELAYS_WITHIN));
    let began = tokio::time::Instant::now();
    assert!(wan.has_relays() && *wan.0.named.borrow(), "no dial waits for it");
    tokio::select! {
        () = wan.look_up_again_by(resolve, ask) => unreachable!("it goes on"),
        () = wan.0.changed.notified() => {}
    }
    assert_eq!(known(&wan), [victim]);
    // 2, 4, 8, 16 and 32 s, and 5 s each for the silent one.
    assert_eq!(began.elapsed(), Duration::from_secs(62) + ASKED_WITHIN * 4);
    assert_eq!(wan.relays().unanswered(), [(hint("192.0.2.2:1"), RelayFault::Silent)]);
}

#[cfg(feature = "cli")]
#[test]
fn an_endpoint_that_cannot_be_made_is_reported_once() {
    let (wan, error) = (new(), io::Error::other("no socket is left"));
    let lines = crate::cli::logs::tests::logged(false, || {
        (0..3).for_each(|_| wan.on_bound(Some(&error)));
        assert_eq!(wan.bind_fault().as_deref(), Some("no socket is left"));
        wan.on_bound(None);
    });
    assert_eq!((lines.matches("no socket is left").count(), wan.bind_fault()), (1, None), "{lines}");
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_away_is_followed_to_an_address_of_its_name_that_answers() {
    let (wan, named) = (new(), hint("relay.example:1"));
    let [old, dead, new] = ["192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.2:1"].map(at);
    assert!(wan.relays().add(named.clone(), old, true));
    wan.relays().on_gone(old, Instant::now());
    let asked = Cell::new(0);
    let resolve = async |asked_for: &RelayHint| {
        assert_eq!(*asked_for, named);
        asked.set(asked.get() + 1);
        Ok(if asked.get() < 3 { vec![old] } else { vec![dead, new] })
    };
    let ask = async |relay: SocketAddr| match relay {
        relay if relay == new => Ok(()),
        relay if relay == dead => pending().await,
        _ => Err(io::ErrorKind::ConnectionRefused.into()),
    };
    tokio::select! {
        () = wan.look_up_again_by(resolve, ask) => unreachable!("it goes on"),
        () = wan.0.changed.notified() => {}
    }
    assert_eq!((known(&wan), asked.get()), (vec![new], 3));
    assert!(wan.relays().works(new));
}

#[tokio::test(start_paused = true)]
async fn of_the_addresses_of_a_relay_that_one_is_taken_which_answers() {
    let [six, four, other] = ["[2001:db8::1]:1", "192.0.2.1:1", "192.0.2.2:1"].map(at);
    let ask = async |relay: SocketAddr| match relay {
        relay if relay == four => Ok(()),
        relay if relay == six => pending().await,
        _ => Err(io::ErrorKind::ConnectionRefused.into()),
    };
    for (addresses, taken) in [
        (vec![six, four], Ok(four)),
        (vec![other, six, four], Ok(four)),
        (vec![four], Ok(four)),
        (vec![six, other], Err(RelayFault::Silent)),
        (vec![six], Err(RelayFault::Silent)),
    ] {
        let resolve = async |_: &RelayHint| Ok(addresses.clone());
        assert_eq!(find(&hint("one.example:1"), &resolve, &ask, RELAYS_WITHIN).await, taken, "{addresses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_relay_that_was_named_first_becomes_the_home_relay_unless_it_is_slow() {
    let resolve = async |hint: &RelayHint| Ok(vec![at(&hint.to_string())]);
    for (slow, home) in [(200, "192.0.2.1:1"), (300, "192.0.2.2:1")] {
        let wan = new();
        let ask = async |relay: SocketAddr| {
            tokio::time::sleep(Duration::from_millis(if relay == at("192.0.2.1:1") { slow } else { 1 })).await;
            Ok(())
        };
        wan.add_named_by(["192.0.2.1:1", "192.0.2.2:1"].map(hint).to_vec(), resolve, ask).await;
        assert_eq!(wan.home(), Some(hint(home)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_takes_long_keeps_no_other_relay_waiting() {
    let wan = new();
    let (slow, fast) = (hint("slow.example:1"), hint("192.0.2.2:1"));
    let resolve = async |hint: &RelayHint| {
        if *hint == slow {
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        Ok(vec![at(if *hint == slow { "192.0.2.1:1" } else { "192.0.2.2:1" })])
    };
    let began = tokio::time::Instant::now();
    let adding = wan.add_named_by(vec![slow.clone(), fast], resolve, async |_| Ok(()));
    let first = async {
        wan.0.changed.notified().await;
        assert_eq!((known(&wan), began.elapsed().as_secs()), (vec![at("192.0.2.2:1")], 0));
        assert!(!*wan.0.named.borrow(), "dials wait for the others");
    };
    tokio::join!(adding, first);
    assert_eq!((known(&wan).len(), began.elapsed().as_secs()), (2, 30));
    assert!(*wan.0.named.borrow());
}

/// Answers pings, and serves nothing. Returns its address.
async fn no_relay() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound");
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 512];
            let read = stream.read(&mut request).await.unwrap_or_default();
            if request[..read].starts_with(b"GET /ping ") {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap_or_default();
            }
        }
    });
    (at, serving)
}

#[tokio::test]
async fn an_endpoint_that_is_not_connected_although_a_relay_answers_is_replaced() {
    let (answers, _serving) = no_relay().await;
    // Nothing listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").await.and_then(|listener| listener.local_addr()).expect("a port");
    let mut wan = new();
    Arc::get_mut(&mut wan.0).expect("no clone").warn_after = Duration::from_secs(1);
    wan.start();
    let following = async {
        wan.0.endpoint.subscribe().wait_for(Option::is_some).await.expect("it runs");
        for at in [gone, answers] {
            assert!(wan.relays().add(hint(&at.to_string()), at, true));
        }
        wan.0.changed.notify_one();
        replaced(&wan).await;
        assert_eq!(wan.home(), Some(hint(&answers.to_string())), "the one that answers");
    };
    tokio::select! {
        () = wan.clone().run(async |_| {}) => unreachable!("it runs on"),
        () = following => {}
    }
}

/// An acceptor for connections over iroh, and what it reports.
fn acceptor(trusted_proxies: Vec<IpRange>) -> (Arc<Acceptor>, mpsc::Receiver<Arrival>) {
    let identity = UpgradeIdentity { node: NodeId([2; 32]), session: Session::from_random([2; 16]) };
    let address = "ws://localhost:4001".parse().expect("an address");
    let outside = Outside { address, page: PageLocation::default(), is_relay: false, trusted_proxies };
    let (sender, arrivals) = mpsc::channel(8);
    (Arc::new(Acceptor::new(&identity, outside, Limits::default(), sender, None, Vec::new())), arrivals)
}

#[tokio::test]
async fn the_other_end_of_a_connection_over_iroh_does_not_choose_its_address() {
    let (_relay, relay_at) = relay().await;
    let (one, two) = (relayed(1, &[relay_at]).await, relayed(2, &[relay_at]).await);
    // A relay on this host has no address of its own.
    let (acceptor, mut arrivals) = acceptor(vec!["192.0.0.8".parse().expect("a range")]);
    let upgrading = async {
        let stream = linked_silently(&one, &two).await;
        let mut request = "ws://two/".into_client_request().expect("a request");
        request.headers_mut().insert("x-forwarded-for", "203.0.113.9".parse().expect("a value"));
        let upgraded = tokio_tungstenite::client_async(request, stream).await.expect("it is upgraded");
        let Some(Arrival::Accepted { connection, .. }) = arrivals.recv().await else { panic!("it is accepted") };
        assert_eq!(connection.remote.to_string(), "192.0.0.8");
        drop(upgraded);
    };
    tokio::select! {
        () = one.clone().run(keep) => unreachable!("it runs on"),
        () = two.clone().run(move |incoming| Arc::clone(&acceptor).receive_iroh(incoming)) => unreachable!("it runs on"),
        done = tokio::time::timeout(WITHIN, upgrading) => done.expect("in time"),
    }
}

#[tokio::test]
async fn a_connection_over_udp_shows_that_its_address_is_right_while_many_are_under_way() {
    for (under_way, expected) in [(0, &[true][..]), (64, &[true, false])] {
        let two = new();
        two.start();
        let (acceptor, _arrivals) = acceptor(Vec::new());
        let held: Vec<_> = (0..under_way).map(|n| acceptor.pend([203, 0, 113, n].into())).collect();
        let unvalidated = Arc::new(Mutex::new(Vec::new()));
        let noting = Arc::clone(&unvalidated);
        let connecting = async {
            let endpoint = two.0.endpoint.subscribe().wait_for(Option::is_some).await.expect("it runs").clone();
            let endpoint = endpoint.expect("it is there");
            let port = endpoint.bound_sockets().into_iter().find(SocketAddr::is_ipv4).expect("a socket").port();
            let to = EndpointAddr::from_parts(endpoint.id(), [TransportAddr::Ip(([127, 0, 0, 1], port).into())]);
            let client =
                Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).bind().await.expect("bound");
            client.connect(to, ALPN).await.expect("connected")
        };
        tokio::select! {
            () = two.clone().run(move |incoming| {
                noting.lock().expect("no panic").push(incoming.is_unvalidated());
                Arc::clone(&acceptor).receive_iroh(incoming)
            }) => unreachable!("it runs on"),
            connected = tokio::time::timeout(WITHIN, connecting) => drop(connected.expect("in time")),
        }
        assert_eq!(*unvalidated.lock().expect("no panic"), expected, "{under_way}");
        drop(held);
    }
}

#[tokio::test(start_paused = true)]
async fn hints_are_asked_on_a_word_of_unknown_origin_unless_the_user_named_the_address() {
    let at: SocketAddr = "192.0.2.1:80".parse().expect("an address");
    let permits = DialPermits::new(&Limits::default());
    let mut spent = Vec::new();
    while let Ok(permit) = permits.take(&[SourceGroup::Relayed], at).await {
        spent.push(permit);
    }
    let groups: Vec<_> = (1..=4).map(|n| SourceGroup::of([198, 51, 100, n].into())).collect();
    let by = NamedBy { reach: Scope::Public, sources: groups };
    let hints = vec![at.to_string().parse().expect("a hint")];
    let (wan, progress) = (new(), DialProgress::default());
    let asked = wan.candidates(hints, &by, &permits, || false, &progress);
    let asked = tokio::time::timeout(Duration::from_secs(1), asked).await.expect("nothing is connected to");
    let failed = asked.failed.expect("it is put off");
    assert!(crate::transport::dial_permit::PutOff::of(&failed).is_some(), "{failed}");
    permits.take(&[SourceGroup::User], at).await.expect("what the user names has an allowance of its own");
}

#[tokio::test]
async fn a_relay_that_is_a_peer_is_asked_where_it_is_linked_and_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound");
    let permits = DialPermits::new(&Limits::default());
    let hint: RelayHint = format!("name.invalid:{}", at.port()).parse().expect("a hint");
    let wan = new();
    for (answer, taken) in [("HTTP/1.1 404 Not Found\r\n\r\n", false), ("HTTP/1.1 200 OK\r\n\r\n", true)] {
        let serving = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            assert!(stream.read(&mut [0; 512]).await.expect("a request") > 0);
            stream.write_all(answer.as_bytes()).await.expect("sent");
        };
        tokio::join!(wan.learn_relay((hint.clone(), at), &[SourceGroup::Host], &permits), serving);
        assert_eq!(wan.home(), taken.then(|| hint.clone()), "{answer}");
    }
    drop(listener);
    wan.learn_relay((hint.clone(), at), &[SourceGroup::Host], &permits).await;
    assert_eq!(wan.home(), Some(hint), "it is known, and not asked again");
}
