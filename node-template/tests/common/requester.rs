//! One end of a connection for requests, which a test speaks for.

use std::net::Ipv4Addr;

use futures_util::{SinkExt, StreamExt};
use meshpool::protocol::id::{NodeId, Nonce, UpgradeIdentity};
use meshpool::protocol::wire::{ChunkOf, Party, Proof, REQUEST_PROTOCOL, RequestFrame};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use super::node::address;
use super::prover::{Prover, Upgraded, nonce};
use super::tester::{Socket, Tester};
use super::within;

/// An upgraded connection.
pub struct Requester {
    pub socket: WebSocketStream<TcpStream>,
}

/// What comes next on a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Frame(RequestFrame),
    Chunk(ChunkOf, u64, Vec<u8>),
    Closed(u16, String),
}

impl Requester {
    /// Dials a node, and proves who it is.
    pub async fn dial(prover: &Prover, port: u16) -> Self {
        let (mut requester, upgraded) = Self::upgrade(prover, port).await;
        requester.send(&prover.request_hello(&upgraded)).await;
        assert!(matches!(requester.next().await, Next::Frame(RequestFrame::Hello(_))));
        requester
    }

    /// Dials a node, and says nothing yet.
    pub async fn upgrade(prover: &Prover, port: u16) -> (Self, Upgraded<()>) {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = address(port).into_client_request().unwrap();
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, REQUEST_PROTOCOL.parse().unwrap());
        let (socket, answer) = within("the upgrade", client_async(request, stream)).await.unwrap();
        let text = |name| answer.headers()[name].to_str().unwrap();
        let UpgradeIdentity { node: id, session } = text(UpgradeIdentity::HEADER).parse().unwrap();
        let acceptor = Party { id, session, nonce: text(Nonce::HEADER).parse().unwrap() };
        (Self { socket }, Upgraded { socket: (), dialler: prover.party(), acceptor, address: address(port) })
    }

    /// Waits for a node to dial, proves who this is, and returns what it asks next.
    pub async fn accept(prover: &Prover, tester: &Tester, at: &str) -> Self {
        let own = Party { nonce: nonce(), ..prover.party() };
        let identity = UpgradeIdentity { node: own.id, session: own.session }.to_string();
        #[expect(clippy::result_large_err, reason = "the library's callback is defined so")]
        let respond = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            let headers = response.headers_mut();
            headers.insert(UpgradeIdentity::HEADER, identity.parse().unwrap());
            headers.insert(Nonce::HEADER, own.nonce.to_string().parse().unwrap());
            headers.insert(SEC_WEBSOCKET_PROTOCOL, REQUEST_PROTOCOL.parse().unwrap());
            Ok(response)
        };
        let socket = within("the upgrade", accept_hdr_async(tester.accept_raw().await, respond)).await.unwrap();
        let mut requester = Self { socket };
        let Next::Frame(RequestFrame::Hello(hello)) = requester.next().await else { panic!("HELLO was due") };
        let Proof::Dialler { nonce, .. } = hello.proof else { panic!("{hello:?}") };
        let dialler = Party { id: hello.node, session: hello.session, nonce };
        let upgraded = Upgraded { socket: (), dialler, acceptor: own, address: at.to_owned() };
        let answer = prover.request_answer(&upgraded);
        requester.send(&answer).await;
        requester
    }

    pub async fn send(&mut self, frame: &RequestFrame) {
        self.socket.send(Message::text(frame.to_text())).await.unwrap();
    }

    pub async fn request(&mut self, id: u64, bytes: usize) {
        self.send(&RequestFrame::Request { id, bytes, timeout: 600_000 }).await;
    }

    pub async fn chunk(&mut self, of: ChunkOf, id: u64, content: &[u8]) {
        self.socket.send(Message::Binary(of.to_bytes(id, content).into())).await.unwrap();
    }

    pub async fn next(&mut self) -> Next {
        match within("a frame", self.socket.next()).await {
            Some(Ok(Message::Text(text))) => Next::Frame(RequestFrame::read(&text).unwrap()),
            Some(Ok(Message::Binary(bytes))) => {
                let (of, id, content) = ChunkOf::read(&bytes).unwrap();
                Next::Chunk(of, id, content.to_vec())
            }
            Some(Ok(Message::Close(Some(frame)))) => Next::Closed(frame.code.into(), frame.reason.to_string()),
            other => panic!("{other:?}"),
        }
    }

    /// Waits for a whole answer, and gives it.
    pub async fn answer(&mut self, to: u64) -> Vec<u8> {
        let Next::Frame(RequestFrame::Response { id, bytes }) = self.next().await else { panic!("an answer to {to}") };
        assert_eq!(id, to);
        let mut answer = Vec::new();
        while answer.len() < bytes {
            let Next::Chunk(ChunkOf::Response, id, chunk) = self.next().await else { panic!("a chunk of {to}") };
            assert_eq!(id, to);
            answer.extend(chunk);
        }
        answer
    }

    /// Waits for the close frame; gives its code and reason.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Next::Closed(code, reason) = self.next().await {
                return (code, reason);
            }
        }
    }
}

/// Waits for a dial of a node that speaks for `id`, and closes it without the subprotocol, as a
/// node of the previous release does.
pub async fn accept_as_previous_release(prover: &Prover, tester: &Tester) -> Socket {
    prover.accept(tester, Some(nonce())).await
}

/// The id in a HELLO that a test changes.
pub fn with_id(frame: RequestFrame, id: NodeId) -> RequestFrame {
    match frame {
        RequestFrame::Hello(mut hello) => {
            hello.node = id;
            RequestFrame::Hello(hello)
        }
        frame => frame,
    }
}

/// A HELLO that claims to be asked for by CALLBACK.
pub fn with_callback(frame: RequestFrame, nonce: Nonce) -> RequestFrame {
    match frame {
        RequestFrame::Hello(mut hello) => {
            hello.callback = Some(nonce);
            RequestFrame::Hello(hello)
        }
        frame => frame,
    }
}
