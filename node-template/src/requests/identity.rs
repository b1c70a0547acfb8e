//! Who is at the other end of a connection for requests: both ends send HELLO first, with a proof
//! of their ids for this connection.
//!
//! It is the proof of links ([`Statement`]), signed for another purpose. The connection has to be
//! direct: at the address that was dialled nobody stands between the two.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use meshpool_proto::access::Certified;
use meshpool_proto::address::{PeerAddress, Scope};
use meshpool_proto::id::{NodeId, Nonce, UpgradeIdentity};
use meshpool_proto::limits::CLOSE_REASON_BYTES;
use meshpool_proto::signature::Purpose;
use meshpool_proto::wire::{Hello, Party, Proof, RequestFrame, Statement};
use meshpool_proto::{Challenge, IpPrefix};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::events::text::{strip_control, strip_control_max};
use crate::requests::error::{Refusal, Unreachable};
use crate::requests::shared::{DENIED, DONE, GOING_AWAY, LATER, Shared};
use crate::requests::table::CallBackWaiter;
use crate::transport::subprotocol::Connection as Accepted;
use crate::transport::websocket::dialer::Dialled;
use crate::transport::websocket::socket::Socket;

/// Why a dialled connection is of no use.
#[derive(Debug)]
pub(super) enum Failure {
    NotReachable(Unreachable),
    Refused(Refusal),
}

/// Why an accepted connection is refused: code and reason of our close frame.
pub(super) type Closing = (u16, String);

/// What to do if the acceptor does not know its own address.
const NOT_DIRECT: &str = "the connection is not direct: set ADDRESS there to the address that others dial";

/// Introduces this node on a connection that it dialled, and verifies who answers.
///
/// `callback`: the nonce of the CALLBACK that asked for it.
pub(super) async fn dial(
    shared: &Shared,
    dialled: &mut Dialled,
    address: &PeerAddress,
    callback: Option<Nonce>,
) -> Result<(), Failure> {
    let elsewhere =
        |why: &str| Failure::NotReachable(Unreachable::NotProved { address: address.clone(), why: why.to_owned() });
    let Challenge::Dialled { nonce, answered, ip } = dialled.challenge else {
        return Err(elsewhere("no node answers"));
    };
    let Some(UpgradeIdentity { node, session }) = dialled.identity else {
        return Err(elsewhere("no node answers"));
    };
    let Some(theirs) = answered else { return Err(Failure::Refused(Refusal::NotSupported)) };
    if dialled.certified.is_some_and(|certified| certified.node != node) {
        return Err(elsewhere("a node with the certificate of another answers"));
    }
    if dialled.iroh.as_ref().is_some_and(|iroh| iroh.node() != node) {
        return Err(elsewhere("a node with the key of another answers"));
    }
    let acceptor = Party { id: node, session, nonce: theirs };
    let statement =
        |direct| Statement { network: &shared.network, dialler: shared.party(nonce), acceptor, address, ip, direct };
    let signature = statement(None).sign(&*shared.signer, Purpose::Request);
    let signature = signature.ok_or_else(|| elsewhere("this node has no key for the connection"))?;
    let proof = Proof::Dialler { nonce, address: address.clone(), ip, signature };
    send_hello(shared, &mut dialled.socket, proof, callback).await.map_err(|why| elsewhere(&why))?;
    let hello = match receive_hello(&mut dialled.socket, shared.limits.dial_timeout).await {
        Ok(hello) => hello,
        Err(Received::Closed(LATER, _)) => return Err(Failure::Refused(Refusal::Busy)),
        Err(Received::Closed(DENIED, reason)) => return Err(Failure::Refused(Refusal::Denied(reason))),
        Err(Received::Closed(_, reason)) => return Err(elsewhere(&format!("\"{reason}\" is the answer"))),
        Err(Received::Wrong(why)) => return Err(elsewhere(&why)),
    };
    if hello.network != shared.network {
        return Err(elsewhere(&format!("a node of the network \"{}\" answers", strip_control(&hello.network))));
    }
    let Proof::Acceptor { direct, signature } = hello.proof else {
        return Err(elsewhere("a node with the wrong proof answers"));
    };
    let proves = (hello.node, hello.session) == (node, session)
        && statement(Some(direct)).is_signed(&*shared.signer, Purpose::Request, signature);
    match (proves, direct || dialled.certified.is_some()) {
        (true, true) => Ok(()),
        (true, false) => Err(elsewhere(NOT_DIRECT)),
        (false, _) => Err(elsewhere("a node that does not prove its id answers")),
    }
}

/// Verifies who opened a connection, and introduces this node. Returns the node, and the request
/// that waits for this connection.
pub(super) async fn accept(
    shared: &Shared,
    accepted: &mut Accepted,
) -> Result<(NodeId, Option<CallBackWaiter>), Closing> {
    let Accepted { socket, remote, iroh, certified, challenge, .. } = accepted;
    let denied = |why: &str| (DENIED, why.to_owned());
    let hello = receive_hello(socket, shared.limits.upgrade_timeout).await.map_err(|received| match received {
        Received::Closed(..) => denied("you closed"),
        Received::Wrong(why) => (DENIED, why),
    })?;
    if hello.network != shared.network {
        return Err((DENIED, format!("this node is in the network \"{}\"", shared.network)));
    }
    let Challenge::Accepted { nonce, local } = *challenge else { return Err(denied("no nonce")) };
    let Proof::Dialler { nonce: theirs, address, ip, signature } = hello.proof else {
        return Err(denied("your proof is one of the other end"));
    };
    if certified.is_some_and(|certified| certified.node != hello.node) {
        return Err(denied("you name another id than your certificate"));
    }
    if iroh.as_ref().is_some_and(|iroh| iroh.node() != hello.node) {
        return Err(denied("you name another id than the key of your connection"));
    }
    if let Some(group) = IpPrefix::address_group(*remote)
        && !shared.may_verify(group)
    {
        return Err((LATER, "too many connections from your address; come back later".to_owned()));
    }
    let dialler = Party { id: hello.node, session: hello.session, nonce: theirs };
    let statement = |direct| Statement {
        network: &shared.network,
        dialler,
        acceptor: shared.party(nonce),
        address: &address,
        ip,
        direct,
    };
    if !statement(None).is_signed(&*shared.signer, Purpose::Request, signature) {
        return Err(denied("your proof is not signed by the node that you name, for this connection"));
    }
    // Each nonce opens one connection, and only one of the node that was asked.
    let waiter = match hello.callback {
        Some(nonce) => Some(
            shared
                .table()
                .take_callback(hello.node, nonce)
                .ok_or((DONE, "nobody waits for this connection".to_owned()))?,
        ),
        None => None,
    };
    let own = admitted(shared, *remote, *certified, hello.node).await?;
    let ours = address.scope() != Scope::Loopback && address == own;
    let here = ip.to_canonical() == local.ip().to_canonical() && address.port() == local.port();
    // Nobody else has the key that the connection proves.
    let direct = ours || here || iroh.is_some();
    let signature = statement(Some(direct)).sign(&*shared.signer, Purpose::Request);
    let signature = signature.ok_or_else(|| denied("this node has no key"))?;
    send_hello(shared, socket, Proof::Acceptor { direct, signature }, None).await.map_err(|why| (DENIED, why))?;
    match direct || certified.is_some() {
        true => Ok((hello.node, waiter)),
        false => Err(denied("the connection is not direct")),
    }
}

/// Returns this node's address if the access rules admit a node.
async fn admitted(
    shared: &Shared,
    remote: IpAddr,
    certified: Option<Certified>,
    node: NodeId,
) -> Result<PeerAddress, Closing> {
    match shared.queries.may_request(remote, certified, node).await {
        Ok(may) => may.map_err(|why| (DENIED, why)),
        Err(_) => Err((GOING_AWAY, "this node is shutting down".to_owned())),
    }
}

impl Shared {
    fn party(&self, nonce: Nonce) -> Party {
        Party { id: self.identity.node, session: self.identity.session, nonce }
    }
}

async fn send_hello(shared: &Shared, socket: &mut Socket, proof: Proof, callback: Option<Nonce>) -> Result<(), String> {
    let UpgradeIdentity { node, session } = shared.identity;
    let hello =
        RequestFrame::Hello(Box::new(Hello { network: shared.network.clone(), node, session, proof, callback }));
    match timeout(shared.limits.write_deadline, socket.send(Message::text(hello.to_text()))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err("a node that takes no frame answers".to_owned()),
    }
}

/// What came in place of a HELLO.
enum Received {
    Closed(u16, String),
    Wrong(String),
}

async fn receive_hello(socket: &mut Socket, within: Duration) -> Result<Hello, Received> {
    let wrong = |why: &str| Err(Received::Wrong(why.to_owned()));
    let text = match timeout(within, socket.next()).await {
        Ok(Some(Ok(Message::Text(text)))) => text,
        Ok(Some(Ok(Message::Close(Some(frame))))) => {
            return Err(Received::Closed(
                frame.code.into(),
                strip_control_max(frame.reason.as_str(), CLOSE_REASON_BYTES),
            ));
        }
        Ok(Some(Ok(Message::Close(None))) | None) => return wrong("a node that closes at once answers"),
        Ok(Some(Ok(_))) => return wrong("HELLO was due"),
        Ok(Some(Err(error))) => return Err(Received::Wrong(error.to_string())),
        Err(_) => return wrong("no HELLO came in time"),
    };
    match RequestFrame::read(&text) {
        Ok(RequestFrame::Hello(hello)) => Ok(*hello),
        Ok(_) => wrong("HELLO was due"),
        Err(why) => Err(Received::Wrong(why)),
    }
}
