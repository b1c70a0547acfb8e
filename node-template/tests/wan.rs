//! Links over iroh, on loopback: invites, the relay that a node serves, and what strangers may do
//! there. Nodes behind NATs are in the tests of `xtask`.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::embedded::{Embedded, event};
use common::scripted::ScriptedPeer;
use common::{eventually, exactly, transaction};
use futures_util::{SinkExt, StreamExt};
use iroh::dns::DnsResolver;
use iroh::{RelayUrl, SecretKey};
use iroh_relay::client::{Client, ClientBuilder};
use iroh_relay::protos::relay::{ClientToRelayMsg, RelayToClientMsg};
use meshpool::protocol::LinkKind;
use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::wire::NodeInfo;
use meshpool::tls::{Authority, CA_CERTIFICATE, NODE_CERTIFICATE, NODE_VALIDITY};
use meshpool::{
    Event, Invite, InviteError, LinkPath, LookupMode, Network, NodeKey, OpenLink, RelayMode, StartError, WanMode,
    WanSettings,
};
use tempfile::TempDir;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// A relay, which knows nobody.
async fn relay(mode: RelayMode) -> Embedded {
    Embedded::start(|network| network.wan(WanSettings { mode: WanMode::On, relay: mode, ..WanSettings::default() }))
        .await
}

/// The settings of a node that is reached over a relay.
fn over(relay: &Embedded) -> WanSettings {
    let relays = vec![format!("127.0.0.1:{}", relay.port()).parse().unwrap()];
    WanSettings { mode: WanMode::On, relays, ..WanSettings::default() }
}

/// The links of a node to peers.
async fn links(node: &Embedded) -> Vec<OpenLink> {
    node.links().await.unwrap().into_iter().filter(|link| link.kind == LinkKind::Native).collect()
}

#[tokio::test]
async fn an_invite_leads_a_newcomer_to_a_network_over_a_relay() {
    let relay = relay(RelayMode::On).await;
    let one = Embedded::start(|network| network.name("friends").wan(over(&relay))).await;
    let invite = one.invite().await.unwrap();
    assert_eq!((invite.address.node(), invite.network.as_str()), (Some(one.id()), "friends"));
    let relays: Vec<String> = invite.address.relays().iter().map(ToString::to_string).collect();
    assert_eq!(relays, [format!("127.0.0.1:{}", relay.port())]);
    let invite: Invite = invite.to_string().parse().unwrap();
    let two = Embedded::start(|network| network.join(&invite)).await;
    one.links_to(&[&two]).await;
    two.links_to(&[&one]).await;
    for node in [&one, &two] {
        let link = links(node).await.remove(0);
        assert!(link.proved, "the connection proves the ids");
        assert!(link.path.is_some() && link.round_trip.is_some(), "{link:?}");
    }
    // On one host there is a direct path, to which the link changes by itself.
    eventually("a direct path", async || match links(&two).await.remove(0).path {
        Some(LinkPath::Direct(at)) => Ok(at),
        path => Err(format!("{path:?}")),
    })
    .await;
    two.submit(&transaction(1)).await.unwrap();
    one.submit(&transaction(2)).await.unwrap();
    for node in [&one, &two] {
        exactly(node, &[transaction(1), transaction(2)]).await;
    }
    // The third comes by the invite of the second, and dials the first by what it is told.
    let three = Embedded::start_joined(&two).await;
    three.links_to(&[&one, &two]).await;
    exactly(&three, &[transaction(1), transaction(2)]).await;
    assert_eq!(relay.counted("relay_clients_refused").await, 0);
    assert!(relay.counted("relay_clients_admitted").await >= 3 && relay.counted("relay_bytes").await > 0);
    assert!(relay.links().await.unwrap().is_empty(), "clients of a relay are no links");
}

#[tokio::test]
async fn without_a_relay_an_invite_says_what_is_needed() {
    let off = Embedded::start(|network| network).await;
    assert_eq!(off.invite().await, Err(InviteError::Off));
    let dead = common::free_port_holder().1;
    let settings = |relays: Vec<String>| WanSettings {
        mode: WanMode::On,
        relays: relays.iter().map(|relay| relay.parse().unwrap()).collect(),
        ..WanSettings::default()
    };
    let alone = Embedded::start(|network| network.wan(settings(Vec::new()))).await;
    let away = Embedded::start(|network| network.wan(settings(vec![format!("127.0.0.1:{dead}")]))).await;
    let unknown = Embedded::start(|network| network.wan(settings(vec!["nobody.invalid:1".to_owned()]))).await;
    // A node that is no relay, or the port of a page.
    let other = Embedded::start(|network| network.wan(over(&off))).await;
    let (alone, away, unknown, other) = tokio::join!(alone.invite(), away.invite(), unknown.invite(), other.invite());
    let other = other.unwrap_err().to_string();
    assert!(other.contains(&format!("127.0.0.1:{} is not a relay: ", off.port())), "{other}");
    let unknown = unknown.unwrap_err().to_string();
    assert!(unknown.contains("nobody.invalid:1 is not found: ") && unknown.contains("RELAYS"), "{unknown}");
    let alone = alone.unwrap_err();
    assert!(alone == InviteError::NoRelay && alone.to_string().contains("RELAY=on, HOST=0.0.0.0"), "{alone}");
    let away = away.unwrap_err().to_string();
    assert!(away.contains(&dead.to_string()) && away.contains("does not answer"), "{away}");
}

#[tokio::test]
async fn a_relay_whose_udp_port_is_taken_does_not_start_and_gives_its_port_back() {
    let port = common::node::free_port();
    let taken = std::net::UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let folder = TempDir::new().unwrap();
    let start = || {
        let wan = WanSettings { mode: WanMode::On, relay: RelayMode::On, ..WanSettings::default() };
        Network::new("127.0.0.1").port(port).folder(folder.path()).wan(wan).start()
    };
    let error = start().await.expect_err("its UDP port is taken");
    assert!(matches!(error, StartError::RelayPort { port: named, .. } if named == port), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("UDP port {port}")) && text.contains("set another PORT"), "{text}");
    drop(taken);
    start().await.unwrap().shutdown().await.unwrap();
}

#[tokio::test]
async fn a_relay_for_members_refuses_strangers_and_serves_the_nodes_of_its_network() {
    let relay = relay(RelayMode::Members).await;
    let stranger = Embedded::start(|network| network.wan(over(&relay))).await;
    let refused = stranger.invite().await.unwrap_err().to_string();
    assert!(refused.contains(" refuses this node: ") && refused.contains("RELAY=members"), "{refused}");
    assert!(relay.counted("relay_clients_refused").await > 0);
    let member = Embedded::start(|network| network.wan(over(&relay)).known_peer(relay.address().clone())).await;
    member.links_to(&[&relay]).await;
    eventually("the relay takes the member", async || member.invite().await.map_err(|error| error.to_string())).await;
}

/// Connects to a relay as the client with this key. Nobody reads from the connection.
async fn client(relay: &Embedded, key: &SecretKey) -> Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let url: RelayUrl = format!("http://127.0.0.1:{}", relay.port()).parse().unwrap();
    let builder = ClientBuilder::new(url, key.clone(), DnsResolver::new()).tls_client_config(tls);
    builder.connect().await.expect("the relay takes it")
}

#[tokio::test]
async fn a_node_whose_two_connections_to_the_relay_are_dead_is_served_on_a_third() {
    let relay = relay(RelayMode::On).await;
    let key = SecretKey::from_bytes(&[5; 32]);
    let (_dead, _dead_too) = (client(&relay, &key).await, client(&relay, &key).await);
    let mut third = client(&relay, &key).await;
    third.send(ClientToRelayMsg::Ping([7; 8])).await.unwrap();
    let answer = async { while third.next().await.unwrap().unwrap() != RelayToClientMsg::Pong([7; 8]) {} };
    tokio::time::timeout(Duration::from_secs(20), answer).await.expect("it is served");
    assert_eq!(relay.counted("relay_clients_refused").await, 0);
    eventually("the oldest connection is ended", async || match relay.counted("relay_clients_ended").await {
        1 => Ok(()),
        ended => Err(format!("{ended} have ended")),
    })
    .await;
}

#[tokio::test]
async fn connections_that_prove_no_key_keep_no_client_from_the_relay() {
    let relay = relay(RelayMode::On).await;
    let mut silent = Vec::new();
    // More than are under way at once.
    for _ in 0..300 {
        let mut request = format!("ws://127.0.0.1:{}/relay", relay.port()).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "iroh-relay-v2".parse().unwrap());
        silent.push(connect_async(request).await.unwrap().0);
    }
    let _client = client(&relay, &SecretKey::from_bytes(&[5; 32])).await;
    assert_eq!(relay.counted("relay_clients_admitted").await, 1);
    let oldest = async { while let Some(Ok(_)) = silent[0].next().await {} };
    tokio::time::timeout(Duration::from_secs(20), oldest).await.expect("it was displaced");
}

#[tokio::test]
async fn a_peer_that_relays_is_taken_up_once_its_address_is_verified() {
    let relay = relay(RelayMode::On).await;
    let on = WanSettings { mode: WanMode::On, ..WanSettings::default() };
    let dead: PeerAddress = format!("ws://127.0.0.1:{}", common::free_port_holder().1).parse().unwrap();
    let liar = |info| NodeInfo { relays: true, address: Some(dead.clone()), ..info };
    let misled = Embedded::start(|network| network.wan(on.clone()).known_peer(dead.clone())).await;
    let _liar = ScriptedPeer::link_as(misled.port(), liar).await;
    assert_eq!(misled.invite().await, Err(InviteError::NoRelay), "a claim is no relay");
    let node = Embedded::start(|network| network.wan(on).known_peer(relay.address().clone())).await;
    let invite = node.invite().await.unwrap();
    assert_eq!(invite.address.relays(), [relay.address().as_relay().unwrap()]);
}

#[tokio::test]
async fn a_node_that_ends_leaves_its_peers_and_its_relay_at_once() {
    let relay = relay(RelayMode::On).await;
    let one = Embedded::start(|network| network.wan(over(&relay))).await;
    let two = Embedded::start_joined(&one).await;
    one.links_to(&[&two]).await;
    let (mut events, _handle) = (one.events(), two.handle());
    let before = relay.counted("relay_clients_ended").await;
    two.stop().await;
    event(&mut events, "the goodbye", |event| {
        let (_, text) = meshpool::describe(&event);
        text.contains("shutting down").then_some(())
    })
    .await;
    eventually("the relay's client is gone", async || match relay.counted("relay_clients_ended").await {
        ended if ended > before => Ok(()),
        ended => Err(format!("{ended} have ended")),
    })
    .await;
    // The relay's own end is that of its clients, also while a handle to its node is held.
    let _handle = relay.handle();
    one.invite().await.unwrap();
    relay.stop().await;
    eventually("the relay is away", async || match one.status().await.unwrap().by_id {
        None => Ok(()),
        by_id => Err(format!("{by_id:?}")),
    })
    .await;
}

/// An authority and a folder with a certificate of it.
fn member_of(authority: &Authority) -> TempDir {
    let folder = TempDir::new().unwrap();
    let key = NodeKey::load_or_create(folder.path()).unwrap();
    std::fs::write(folder.path().join(CA_CERTIFICATE), authority.certificate()).unwrap();
    let certificate = authority.issue(key.node_id(), NODE_VALIDITY).unwrap();
    std::fs::write(folder.path().join(NODE_CERTIFICATE), certificate).unwrap();
    folder
}

#[tokio::test]
async fn members_of_a_closed_network_link_over_an_open_relay_and_strangers_do_not() {
    let relay = relay(RelayMode::On).await;
    let office = TempDir::new().unwrap();
    let authority = Authority::create(&office.path().join("network-ca")).unwrap();
    let closed = |network: Network| network.closed(CA_CERTIFICATE, NODE_CERTIFICATE);
    let one = Embedded::start_in(member_of(&authority), |network| closed(network).wan(over(&relay))).await;
    let invite = one.invite().await.unwrap();
    let two = Embedded::start_in(member_of(&authority), |network| closed(network).join(&invite)).await;
    one.links_to(&[&two]).await;
    let link = links(&two).await.remove(0);
    assert!(link.proved && link.path.is_some(), "{link:?}");
    two.submit(&transaction(1)).await.unwrap();
    exactly(&one, &[transaction(1)]).await;

    let stranger = Embedded::start(|network| network.join(&invite)).await;
    let mut events = stranger.events();
    event(&mut events, "the refusal", |event| {
        let (_, text) = meshpool::describe(&event);
        (text.contains("could not be dialled") && text.contains("closed network")).then_some(())
    })
    .await;
    one.links_to(&[&two]).await;
}

#[tokio::test]
async fn a_node_that_has_published_nothing_is_not_found_and_the_dial_says_so() {
    let dht = tokio::task::spawn_blocking(|| mainline::Testnet::builder(3).build()).await.unwrap().unwrap();
    let unknown: PeerAddress = format!("iroh:{}", NodeKey::from_bytes(&[9; 32]).node_id()).parse().unwrap();
    let refused = async |lookup| {
        let wan = WanSettings { mode: WanMode::On, lookup, ..WanSettings::default() };
        let node = Embedded::start(|network| network.known_peer(unknown.clone()).wan(wan)).await;
        let mut events = node.events();
        let why = event(&mut events, "the dial fails", |event| match event {
            Event::DialFailed { address, error, .. } => Some((address, error.to_string())),
            _ => None,
        });
        let (address, why) = why.await;
        assert_eq!(address, unknown);
        why
    };
    let off = refused(LookupMode::Off).await;
    assert!(off.contains("name one behind its address"), "{off}");
    let on = refused(LookupMode::Dht { bootstrap: dht.bootstrap.clone() }).await;
    assert!(on.contains("the DHT has none of it") && on.contains("LOOKUP=dht"), "{on}");
}

#[tokio::test]
async fn a_node_id_is_dialled_once_the_relays_that_the_user_named_are_known() {
    let relay = relay(RelayMode::On).await;
    let one = Embedded::start(|network| network.wan(over(&relay))).await;
    one.invite().await.unwrap();
    let bare: PeerAddress = format!("iroh:{}", one.id()).parse().unwrap();
    let two = Embedded::start(|network| network.wan(over(&relay)).known_peer(bare)).await;
    two.links_to(&[&one]).await;
    assert_eq!(two.counted("dials_failed").await, 0);
}

#[tokio::test]
async fn a_relay_that_does_not_answer_holds_up_no_dial_over_others() {
    let relay = relay(RelayMode::On).await;
    let one = Embedded::start(|network| network.wan(over(&relay))).await;
    one.invite().await.unwrap();
    // The system takes connections to it, and nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hint = format!("iroh:{}@{}", one.id(), silent.local_addr().unwrap());
    let open = WanSettings { mode: WanMode::On, ..WanSettings::default() };
    for (address, wan) in [(format!("{hint},127.0.0.1:{}", relay.port()), open), (hint, over(&relay))] {
        let two = Embedded::start(|network| network.wan(wan)).await;
        two.set_known_peers(vec![address.parse().unwrap()]).await.unwrap();
        two.links_to(&[&one]).await;
        assert_eq!(two.counted("dials_failed").await, 0);
    }
}

#[tokio::test]
async fn a_node_id_that_is_named_to_a_running_node_starts_the_endpoint_and_is_dialled() {
    let relay = relay(RelayMode::On).await;
    let one = Embedded::start(|network| network.wan(over(&relay))).await;
    let address = one.invite().await.unwrap().address;
    for most in [None, Some(4)] {
        let two = Embedded::start(|network| {
            let network = network.wan(WanSettings::default());
            if let Some(most) = most { network.max_peers(most) } else { network }
        })
        .await;
        two.set_known_peers(vec![address.clone()]).await.unwrap();
        eventually("a link", async || match links(&two).await.len() {
            1 => Ok(()),
            links => Err(format!("{links} links")),
        })
        .await;
        // Its relays are those of this node, too.
        assert_eq!(two.invite().await.unwrap().address.relays(), address.relays());
    }
}

#[tokio::test]
async fn other_relays_of_a_known_node_take_the_place_of_those_that_lead_nowhere() {
    let relay = relay(RelayMode::On).await;
    let one = Embedded::start(|network| network.wan(over(&relay))).await;
    let address = one.invite().await.unwrap().address;
    let stale = address.clone().with_relays([format!("127.0.0.1:{}", common::free_port_holder().1).parse().unwrap()]);
    let two = Embedded::start(|network| network.wan(WanSettings::default()).known_peer(stale.clone())).await;
    let mut events = two.events();
    event(&mut events, "the dial fails", |event| matches!(event, Event::DialFailed { .. }).then_some(())).await;
    two.set_known_peers(vec![address.clone()]).await.unwrap();
    two.links_to(&[&one]).await;
    assert_eq!(two.invite().await.unwrap().address.relays(), address.relays(), "the old one is the user's no more");
    // Of two words at the start the last counts.
    let wan = WanSettings::default;
    let three = Embedded::start(|network| network.wan(wan()).known_peer(stale).known_peer(address)).await;
    eventually("a link", async || if links(&three).await.is_empty() { Err(String::new()) } else { Ok(()) }).await;
}

#[tokio::test]
async fn a_node_id_that_can_never_be_dialled_is_an_error_that_says_what_to_do() {
    let id = NodeKey::from_bytes(&[9; 32]).node_id();
    let invite: Invite = format!("iroh:{id}@127.0.0.1:1#friends").parse().unwrap();
    let no_key: PeerAddress = format!("iroh:02{}", "0".repeat(62)).parse().unwrap();
    let folder = TempDir::new().unwrap();
    let network = || Network::new("localhost").folder(folder.path());
    let off = WanSettings { mode: WanMode::Off, ..WanSettings::default() };
    for (network, says) in [
        (network().join(&invite).wan(off), "WanMode::On"),
        (network().known_peer(invite.address.clone()), "WanMode::On"),
        (network().genesis(invite.address.clone()), "WanMode::On"),
        (network().wan(WanSettings::default()).known_peer(no_key.clone()), "no public key"),
    ] {
        let error = network.start().await.expect_err("it starts").to_string();
        assert!(error.contains("iroh:") && error.contains(says), "{error}");
    }
    let (off, auto) = (Embedded::start(|network| network).await, WanSettings::default());
    let auto = Embedded::start(|network| network.wan(auto)).await;
    let by_ip: PeerAddress = "ws://127.0.0.1:1".parse().unwrap();
    for (node, address, says) in [(&off, &invite.address, "WanMode::On"), (&auto, &no_key, "no public key")] {
        let error = node.set_known_peers(vec![by_ip.clone(), address.clone()]).await.unwrap_err().to_string();
        assert!(error.contains("iroh:") && error.contains(says), "{error}");
        assert_eq!(node.status().await.unwrap().known, 0, "nothing is changed");
    }
}

#[tokio::test]
async fn a_dial_by_node_id_says_which_part_is_missing() {
    let relay = relay(RelayMode::On).await;
    let none = Embedded::start(|network| network).await;
    let (_held, dead) = common::free_port_holder();
    let id = NodeKey::from_bytes(&[9; 32]).node_id();
    let says = async |relay: &str, at_start: bool| {
        let address: PeerAddress = format!("iroh:{id}@{relay}").parse().unwrap();
        let network = |network: Network| network.wan(WanSettings::default());
        let node = match at_start {
            true => Embedded::start(|described| network(described).known_peer(address.clone())).await,
            false => Embedded::start(network).await,
        };
        let mut events = node.events();
        node.set_known_peers(vec![address]).await.unwrap();
        let text = event(&mut events, "the dial fails", |event| match event {
            Event::DialFailed { .. } => Some(meshpool::describe(&event).1),
            _ => None,
        });
        (text.await, format!("the relay {relay} "))
    };
    let [dead, none_at, at] = [dead, none.port(), relay.port()].map(|port| format!("127.0.0.1:{port}"));
    for at_start in [true, false] {
        let found = tokio::join!(
            says(&dead, at_start),
            says(&none_at, at_start),
            says(&at, at_start),
            says("nobody.invalid:1", at_start)
        );
        for ((text, relay), part) in [
            (found.0, "does not answer; check that its node runs"),
            (found.1, "is not a relay: what answers there does not relay; set RELAY=on"),
            (found.2, "answers, but the node does not answer over it; check that the node runs"),
            (found.3, "is not found: "),
        ] {
            assert!(text.contains(&(relay + part)), "{at_start}: {text}");
        }
    }
}

#[tokio::test]
async fn networks_with_other_names_do_not_link() {
    let relay = relay(RelayMode::On).await;
    let one = Embedded::start(|network| network.wan(over(&relay))).await;
    let invite = Invite { network: "elsewhere".to_owned(), ..one.invite().await.unwrap() };
    let two = Embedded::start(|network| network.join(&invite)).await;
    let mut events = two.events();
    event(&mut events, "what to do", |event| meshpool::describe(&event).1.contains("set NETWORK alike").then_some(()))
        .await;
    eventually("the refusal", async || match two.counted("dials_failed").await + two.counted("links_opened").await {
        0 => Err("nothing was tried".to_owned()),
        _ => Ok(()),
    })
    .await;
    eventually("no link", async || match (links(&one).await.len(), links(&two).await.len()) {
        (0, 0) => Ok(()),
        open => Err(format!("{open:?}")),
    })
    .await;
}

impl Embedded {
    /// Starts a node that joins by the invite of another.
    async fn start_joined(inviting: &Self) -> Self {
        let invite = inviting.invite().await.unwrap();
        Self::start(|network: Network| network.join(&invite)).await
    }
}
