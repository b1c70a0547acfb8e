//! Native peers with a key, which a test speaks for: they prove their ids, or try to.

use std::net::{IpAddr, Ipv4Addr};

use meshpool::NodeKey;
use meshpool::protocol::id::{NodeId, Nonce, Session, UpgradeIdentity};
use meshpool::protocol::signature::{Purpose, Signature, Signer};
use meshpool::protocol::wire::{Hello, Party, Proof, RequestFrame, Statement};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{accept_hdr_async, client_async};

use super::node::address;
use super::tester::{Socket, Tester};
use super::within;

/// A native peer of which a test has the key.
pub struct Prover {
    key: NodeKey,
    pub session: Session,
}

/// A connection whose upgrade is done.
pub struct Upgraded<S = Socket> {
    pub socket: S,
    pub dialler: Party,
    pub acceptor: Party,
    /// The address that was dialled.
    pub address: String,
}

/// A nonce that no other test link has.
pub fn nonce() -> Nonce {
    Nonce(rand::random())
}

impl Prover {
    pub fn new() -> Self {
        let session = Session::from_random(rand::random());
        Self { key: NodeKey::load_or_create(TempDir::new().unwrap().path()).unwrap(), session }
    }

    pub fn id(&self) -> NodeId {
        self.key.node_id()
    }

    pub fn party(&self) -> Party {
        Party { id: self.id(), session: self.session, nonce: nonce() }
    }

    /// Dials a node that announces proofs.
    pub async fn dial(&self, port: u16) -> Upgraded {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (socket, answer) = within("the upgrade", client_async(address(port), stream)).await.unwrap();
        let text = |name| answer.headers()[name].to_str().unwrap();
        let UpgradeIdentity { node: id, session } = text(UpgradeIdentity::HEADER).parse().unwrap();
        let acceptor = Party { id, session, nonce: text(Nonce::HEADER).parse().unwrap() };
        Upgraded { socket: Socket(socket), dialler: self.party(), acceptor, address: address(port) }
    }

    /// Waits for a node to dial, and answers with this identity; `nonce`: a header that announces a
    /// proof.
    pub async fn accept(&self, tester: &Tester, nonce: Option<Nonce>) -> Socket {
        let identity = UpgradeIdentity { node: self.id(), session: self.session }.to_string();
        #[expect(clippy::result_large_err, reason = "the library's callback is defined so")]
        let respond = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            response.headers_mut().insert(UpgradeIdentity::HEADER, identity.parse().unwrap());
            if let Some(nonce) = nonce {
                response.headers_mut().insert(Nonce::HEADER, nonce.to_string().parse().unwrap());
            }
            Ok(response)
        };
        Socket(within("the upgrade", accept_hdr_async(tester.accept_raw().await, respond)).await.unwrap())
    }

    /// A HANDSHAKE of this peer, which names this id.
    pub fn hello_as(&self, id: NodeId, proof: Option<Value>) -> Value {
        let mut node = json!({
            "id": id.to_string(), "session": self.session.to_string(), "agent": "test", "protocol": 1,
            "network": "p2p-node", "maxPeers": null,
        });
        if let Some(proof) = proof {
            node["proof"] = proof;
        }
        json!({ "type": "HANDSHAKE", "data": [], "node": node })
    }

    /// A HANDSHAKE of this peer.
    pub fn hello(&self, proof: Option<Value>) -> Value {
        self.hello_as(self.id(), proof)
    }

    /// Signs what the two ends of a link are, as the dialler or, with `direct`, as the acceptor.
    pub fn signature(&self, link: &Upgraded, direct: Option<bool>) -> String {
        self.signature_for(Purpose::Handshake, link, direct).to_string()
    }

    /// As [`Self::signature`], for any kind of connection.
    pub fn signature_for<S>(&self, purpose: Purpose, link: &Upgraded<S>, direct: Option<bool>) -> Signature {
        let address = link.address.parse().unwrap();
        let statement = Statement {
            network: "p2p-node",
            dialler: link.dialler,
            acceptor: link.acceptor,
            address: &address,
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            direct,
        };
        Signer::sign(&self.key, purpose, &statement.canonical().unwrap()).unwrap()
    }

    /// The HELLO of this peer on a connection for requests that it dialled.
    pub fn request_hello(&self, connection: &Upgraded<()>) -> RequestFrame {
        let proof = Proof::Dialler {
            nonce: connection.dialler.nonce,
            address: connection.address.parse().unwrap(),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            signature: self.signature_for(Purpose::Request, connection, None),
        };
        self.hello_frame(proof)
    }

    /// The HELLO of this peer on a connection for requests that it accepted.
    pub fn request_answer(&self, connection: &Upgraded<()>) -> RequestFrame {
        let signature = self.signature_for(Purpose::Request, connection, Some(true));
        self.hello_frame(Proof::Acceptor { direct: true, signature })
    }

    fn hello_frame(&self, proof: Proof) -> RequestFrame {
        let (network, node, session) = ("p2p-node".to_owned(), self.id(), self.session);
        RequestFrame::Hello(Box::new(Hello { network, node, session, proof, callback: None }))
    }

    /// An ANNOUNCE of this peer, signed, with this address.
    pub fn announce(&self, address: &str) -> Value {
        // Its members are in the order of RFC 8785, and its numbers are integers.
        let data = json!({
            "address": address, "interval": 3600, "links": 1, "maxPeers": null, "node": self.id().to_string(),
            "nodes": 1, "peers": [], "seq": 1, "session": self.session.to_string(), "since": 1,
        });
        let signature = self.key.signature(Purpose::Announce, &data.to_string());
        json!({ "type": "ANNOUNCE", "data": data, "signature": signature.to_string() })
    }

    /// The proof of this peer on a link that it dialled.
    pub fn proof(&self, link: &Upgraded) -> Value {
        json!({
            "nonce": link.dialler.nonce.to_string(), "address": link.address, "ip": "127.0.0.1",
            "signature": self.signature(link, None),
        })
    }

    /// Dials a node, proves this peer's id, and waits for the answer.
    pub async fn link(&self, port: u16) -> Upgraded {
        let mut link = self.dial(port).await;
        link.socket.send(&self.hello(Some(self.proof(&link)))).await;
        let answer = link.socket.frame().await;
        assert!(answer["node"]["proof"]["direct"] == true, "{answer}");
        link
    }

    /// Dials a node, and names an id without a proof.
    pub async fn claim(&self, port: u16, id: NodeId) -> Socket {
        let mut link = self.dial(port).await;
        link.socket.send(&self.hello_as(id, None)).await;
        link.socket
    }
}
