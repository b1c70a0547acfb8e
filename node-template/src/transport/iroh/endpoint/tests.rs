use std::cell::Cell;

use iroh_relay::server::{RelayConfig as ServedRelay, Server, ServerConfig};
use meshpool_proto::limits::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::folder::node_key::NodeKey;

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
    let by = NamedBy { reach: Scope::Loopback, sources: vec![SourceGroup::User] };
    let (permits, progress) = (DialPermits::new(&Limits::default()), DialProgress::default());
    let address = PeerAddress::of_node(to.0.node, []);
    let dialled = async {
        loop {
            let dial = from.connect(&address, &by, &permits, &progress);
            // As long as a dial may take.
            if let Ok(Ok((mut stream, _))) = tokio::time::timeout(Duration::from_secs(5), dial).await
                && stream.write_all(b"x").await.is_ok()
            {
                return stream;
            }
        }
    };
    tokio::time::timeout(WITHIN, dialled).await.expect("linked in time")
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

#[tokio::test(start_paused = true)]
async fn the_name_of_a_relay_that_led_nowhere_is_looked_up_until_it_is_found() {
    let wan = Wan::new(&WanIdentity { node: NodeId([1; 32]), seed: [1; 32] }, None, Vec::new());
    let hint: RelayHint = "relay.invalid:1".parse().expect("a hint");
    let at = "192.0.2.1:1".parse().expect("an address");
    let (began, asked) = (tokio::time::Instant::now(), Cell::new(0));
    let resolve = async |_: &RelayHint| {
        asked.set(asked.get() + 1);
        if asked.get() < 8 { Err(io::ErrorKind::NotFound.into()) } else { Ok(at) }
    };
    let named = async {
        // The system's resolver knows no such name (RFC 6761, section 6.4).
        wan.add_named(vec![hint.clone()]).await;
        assert_eq!(wan.unresolved().map(|(hint, _)| hint), Some(hint.clone()));
        wan.0.changed.notified().await;
    };
    tokio::select! {
        () = wan.look_up_again_by(resolve) => unreachable!("it goes on"),
        () = named => {}
    }
    assert_eq!(wan.relays().all().iter().map(|relay| relay.at).collect::<Vec<_>>(), [at]);
    assert_eq!(wan.unresolved(), None);
    // 2, 4, 8, 16, 32, 60, 60 and 60 s.
    assert_eq!((asked.get(), began.elapsed().as_secs()), (8, 242));
}

#[tokio::test]
async fn an_endpoint_that_finds_no_relay_is_replaced_and_the_next_one_has_its_time() {
    // Nothing listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").await.and_then(|listener| listener.local_addr()).expect("a port");
    let mut wan = Wan::new(&WanIdentity { node: NodeId([1; 32]), seed: [1; 32] }, None, Vec::new());
    let stuck = Duration::from_secs(1);
    Arc::get_mut(&mut wan.0).expect("no clone").stuck = stuck;
    let mut endpoints = wan.0.endpoint.subscribe();
    wan.start();
    let following = async {
        wan.add_relay(gone.to_string().parse().expect("a hint"), true, Scope::Loopback).await;
        for _ in 0..2 {
            let began = Instant::now();
            endpoints.wait_for(Option::is_some).await.expect("it runs");
            endpoints.wait_for(Option::is_none).await.expect("it runs");
            assert!(began.elapsed() >= stuck, "replaced after {:?}", began.elapsed());
        }
    };
    tokio::select! {
        () = wan.clone().run(async |_| {}) => unreachable!("it runs on"),
        followed = tokio::time::timeout(stuck * 20, following) => followed.expect("replaced twice"),
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
    let asked = wan.candidates(hints, &by, &permits, false, &progress);
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
