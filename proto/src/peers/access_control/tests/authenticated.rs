//! Links over a transport that proves the node at the other end.

use super::*;
use crate::address::Scope;
use crate::id::Session;

/// The id and the session that [`hello`] of this number names.
fn identity(node: u8) -> UpgradeIdentity {
    let session = format!("00000000-0000-4000-8000-0000000000{node:02x}");
    UpgradeIdentity { node: NodeId([node; 32]), session: session.parse::<Session>().expect("a session") }
}

fn authenticate(core: &mut Core, link: u64, node: u8) {
    core.tell(Input::NodeAuthenticated { link: LinkId(link), node: NodeId([node; 32]) });
}

#[test]
fn the_node_that_the_transport_proves_needs_no_proof_of_its_own() {
    let mut core = Core::new(Access::default());
    authenticate(&mut core, 1, 5);
    core.accept(1, "192.0.2.1", None);
    core.receive(1, &hello(5));
    assert_eq!(core.farewell(), None);
    authenticate(&mut core, 2, 6);
    core.dialled(2, "192.0.2.1", Some(identity(6)));
    assert_eq!(core.farewell(), None);
    core.receive(2, &hello(6));
    let proved = |link: u64| core.protocol.connections.links.get(LinkId(link)).map(|open| open.is_proved());
    assert_eq!((proved(1), proved(2)), (Some(true), Some(true)));
}

#[test]
fn another_node_than_the_transport_proves_is_refused() {
    let why = "you say that you are 06060606, your connection is that of 05050505";
    let mut core = Core::new(Access::default());
    authenticate(&mut core, 1, 5);
    core.accept(1, "192.0.2.1", None);
    core.receive(1, &hello(6));
    assert_eq!(core.farewell(), Some(why));
    authenticate(&mut core, 2, 5);
    core.dialled(2, "192.0.2.1", Some(identity(6)));
    assert_eq!(core.farewell(), Some(why));
    assert_eq!(core.protocol.counters().impostors_refused, 2);
    // In a closed network the certificate must be of that node too.
    authenticate(&mut core, 3, 5);
    core.accept(3, "192.0.2.1", Some(certified(6)));
    assert_eq!(core.farewell(), Some(why));
    authenticate(&mut core, 4, 5);
    core.accept(4, "192.0.2.1", Some(certified(5)));
    core.receive(4, &hello(5));
    assert_eq!(core.farewell(), None);
}

#[test]
fn clients_and_exercise_peers_do_not_come_over_such_links() {
    let why = "over iroh nodes are linked and nobody else: send the HANDSHAKE of a node first";
    let mut core = Core::new(Access::default());
    for (link, text) in [(1, TRANSACTION), (2, PLAIN_HELLO), (3, r#"{"type":"STATUS","data":{}}"#)] {
        for remote in ["127.0.0.1", "192.0.2.1"] {
            let link = if remote == "127.0.0.1" { link } else { link + 10 };
            authenticate(&mut core, link, 5);
            core.accept(link, remote, None);
            core.receive(link, text);
            assert_eq!(core.farewell(), Some(why), "{text} from {remote}");
        }
    }
    authenticate(&mut core, 4, 5);
    core.dialled(4, "192.0.2.1", None);
    assert_eq!(core.farewell(), Some(why), "it has no identity");
    assert_eq!(core.protocol.counters().clients_refused, 7);
}

#[test]
fn a_silent_link_is_closed_because_its_handshake_is_missing() {
    let mut core = Core::new(Access::default());
    authenticate(&mut core, 1, 5);
    core.accept(1, "192.0.2.1", None);
    core.now += Duration::from_secs(5);
    core.tell(Input::Timeout);
    assert_eq!(core.farewell(), Some("you did not send your HANDSHAKE"));
}

#[test]
fn no_rights_come_with_a_path_over_loopback() {
    let mut core = Core::new(Access::default());
    core.accept(1, "127.0.0.1", None);
    authenticate(&mut core, 2, 5);
    core.accept(2, "127.0.0.1", None);
    let links = &core.protocol.connections.links;
    let shown = |link: u64| {
        let open = links.get(LinkId(link)).expect("open");
        (open.scope, open.address_group.map(|address_group| address_group.to_string()))
    };
    assert_eq!(shown(1), (Scope::Loopback, None));
    assert_eq!(shown(2), (Scope::Public, Some("127.0.0.1".to_owned())), "it counts as a address group");
}
