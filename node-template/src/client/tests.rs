//! The client against small servers that behave as nodes, or misbehave.

use std::collections::HashMap;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::client::pump::WINDOW;
use crate::client::*;
use crate::protocol::id::{NodeId, Session};
use crate::protocol::json::Parser;
use crate::protocol::wire::{AckStatus, Summary};

type Socket = WebSocketStream<TcpStream>;

fn identity() -> UpgradeIdentity {
    UpgradeIdentity { node: NodeId([7; 32]), session: Session::from_random([3; 16]) }
}

/// Starts a server that accepts one connection, sends the identity of a native node if `native`,
/// and runs `act`.
async fn server<F, T>(native: bool, act: impl FnOnce(Socket) -> F + Send + 'static) -> (PeerAddress, JoinHandle<T>)
where
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = PeerAddress::new("localhost", listener.local_addr().expect("bound").port()).expect("an address");
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        #[expect(clippy::result_large_err, reason = "the library's callback type")]
        let upgrade = |_: &Request, mut answer: Response| {
            if native {
                let text = identity().to_string().parse().expect("a header value");
                answer.headers_mut().insert(UpgradeIdentity::HEADER, text);
            }
            Ok(answer)
        };
        let socket = accept_hdr_async(stream, upgrade).await.expect("an upgrade");
        act(socket).await
    });
    (address, task)
}

/// Returns the next message of the client; `None` once it has closed.
async fn next(socket: &mut Socket) -> Option<Message> {
    loop {
        match socket.next().await?.ok()? {
            WsMessage::Text(text) => return Some(Message::parse(&mut Parser::new(), &text).expect("a message")),
            WsMessage::Close(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

async fn transaction(socket: &mut Socket) -> Option<Transaction> {
    match next(socket).await? {
        Message::Transaction(delivery) => {
            assert!(delivery.ack, "the client asks for an ACK");
            Some(delivery.transaction.expect("a transaction"))
        }
        other => panic!("unexpected {other:?}"),
    }
}

fn ack(id: TransactionId) -> WsMessage {
    text(Ack { id: id.to_string(), status: AckStatus::Stored, reason: None, links: 2 }.to_frame())
}

fn numbered(count: usize) -> Vec<Transaction> {
    let mut parser = Parser::new();
    (0..count).map(|n| Transaction::parse(&mut parser, &format!(r#"{{"n":{n}}}"#)).expect("a transaction")).collect()
}

fn status(holds: usize) -> Status {
    Status {
        node: identity().node.to_string(),
        session: identity().session.to_string(),
        agent: "test".to_owned(),
        address: "ws://localhost:1".to_owned(),
        uptime: 1,
        pool: Summary { count: 0, sum: "0".repeat(64) },
        writable: true,
        held: holds,
        ..Status::default()
    }
}

#[tokio::test]
async fn a_transaction_is_acknowledged_and_the_close_answered() {
    let (address, server) = server(true, async |mut socket| {
        let taken = transaction(&mut socket).await.expect("a transaction");
        socket.send(ack(taken.id())).await.expect("sent");
        assert!(next(&mut socket).await.is_none());
        taken.body().to_owned()
    })
    .await;
    let mut client = Client::connect(&address).await.expect("connected");
    assert_eq!(client.identity(), Some(identity()));
    let ack = client.submit(r#"{ "amount": 1 }"#).await.expect("an ACK");
    assert_eq!((ack.status, ack.links), (AckStatus::Stored, 2));
    assert!(client.close().await, "the close is answered");
    assert_eq!(server.await.expect("no panic"), r#"{"amount":1}"#);
}

#[tokio::test]
async fn acks_come_in_any_order_and_the_window_is_kept() {
    const COUNT: usize = 2 * WINDOW + 100;
    // Acknowledges a full window in reverse order: a client with a smaller window would hang, one
    // with a larger window fails.
    let (address, server) = server(true, async |mut socket| {
        let mut seen = 0;
        while seen < COUNT {
            let expected = WINDOW.min(COUNT - seen);
            let mut outstanding = Vec::new();
            while outstanding.len() < expected {
                outstanding.push(transaction(&mut socket).await.expect("a transaction").id());
            }
            seen += expected;
            for id in outstanding.into_iter().rev() {
                socket.feed(ack(id)).await.expect("fed");
            }
            socket.flush().await.expect("flushed");
        }
        assert!(next(&mut socket).await.is_none(), "nothing more than the source has");
    })
    .await;
    let transactions = numbered(COUNT);
    let mut expected: HashMap<String, ()> =
        transactions.iter().map(|transaction| (transaction.id().to_string(), ())).collect();
    let mut client = Client::connect(&address).await.expect("connected");
    let source = stream::iter(transactions);
    client.submit_many(source, |ack| expected.remove(&ack.id).expect("each once")).await.expect("all");
    assert!(expected.is_empty());
    client.close().await;
    server.await.expect("no panic");
}

#[tokio::test]
async fn one_transaction_twice_has_two_acks() {
    let (address, server) = server(true, async |mut socket| {
        while let Some(taken) = transaction(&mut socket).await {
            socket.send(ack(taken.id())).await.expect("sent");
        }
    })
    .await;
    let mut client = Client::connect(&address).await.expect("connected");
    let twice = [numbered(1), numbered(1)].concat();
    let mut acks = 0;
    client.submit_many(stream::iter(twice), |_| acks += 1).await.expect("both");
    assert_eq!(acks, 2);
    client.close().await;
    server.await.expect("no panic");
}

#[tokio::test]
async fn a_node_that_writes_before_it_reads_is_no_deadlock() {
    let filler = WsMessage::text(format!(r#"{{"type":"FILLER","data":"{}"}}"#, "x".repeat(900_000)));
    let (address, server) = server(true, async move |mut socket| {
        for _ in 0..40 {
            socket.send(filler.clone()).await.expect("sent");
        }
        while let Some(taken) = transaction(&mut socket).await {
            socket.send(ack(taken.id())).await.expect("sent");
        }
    })
    .await;
    let mut parser = Parser::new();
    let large = (0..60).map(|n| format!(r#"{{"n":{n},"text":"{}"}}"#, "y".repeat(200_000)));
    let large: Vec<_> = large.map(|body| Transaction::parse(&mut parser, &body).expect("a transaction")).collect();
    let mut client = Client::connect(&address).await.expect("connected");
    let mut acks = 0;
    client.submit_many(stream::iter(large), |_| acks += 1).await.expect("all");
    assert_eq!(acks, 60);
    client.close().await;
    server.await.expect("no panic");
}

#[tokio::test]
async fn a_refusal_without_identity_is_matched_only_if_it_is_unambiguous() {
    let nameless = || {
        text(
            Ack { id: String::new(), status: AckStatus::Rejected, reason: Some("too deep".into()), links: 0 }
                .to_frame(),
        )
    };
    for count in [1, 2] {
        let (address, server) = server(true, async move |mut socket| {
            for _ in 0..count {
                transaction(&mut socket).await.expect("a transaction");
            }
            socket.send(nameless()).await.expect("sent");
        })
        .await;
        let mut client = Client::connect(&address).await.expect("connected");
        let result = client
            .submit_many(stream::iter(numbered(count)), |ack| assert_eq!(ack.reason.as_deref(), Some("too deep")))
            .await;
        server.await.expect("no panic");
        match count {
            1 => result.expect("there is only one"),
            _ => assert!(result.expect_err("ambiguous").to_string().contains("too deep")),
        }
    }
}

#[tokio::test]
async fn an_early_close_names_code_and_reason() {
    let (address, server) = server(true, async |mut socket| {
        transaction(&mut socket).await.expect("a transaction");
        let frame = CloseFrame { code: CloseCode::Again, reason: "full\u{1b}[31m".into() };
        socket.close(Some(frame)).await.expect("closed");
    })
    .await;
    let mut client = Client::connect(&address).await.expect("connected");
    let error = client.submit(r#"{"amount":1}"#).await.expect_err("closed").to_string();
    assert!(error.contains("1013") && error.contains("full") && error.contains(&address.to_string()), "{error}");
    assert!(!error.contains('\u{1b}'), "control characters are escaped");
    assert!(error.contains("unconfirmed transactions may be stored or not"), "{error}");
    server.await.expect("no panic");
}

#[tokio::test]
async fn a_close_before_any_transaction_says_nothing_of_transactions() {
    let (address, server) = server(true, async |mut socket| socket.close(None).await.expect("closed")).await;
    let mut client = Client::connect(&address).await.expect("connected");
    let error = client.status(&[]).await.expect_err("closed").to_string();
    assert!(error.contains("ended the connection") && !error.contains("transaction"), "{error}");
    server.await.expect("no panic");
}

#[tokio::test]
async fn an_exercise_peer_gets_no_requests() {
    let (address, server) =
        server(false, async |mut socket| socket.next().await.expect("a frame").expect("no error")).await;
    let mut client = Client::connect(&address).await.expect("connected");
    assert_eq!(client.identity(), None);
    assert!(matches!(client.status(&[]).await, Err(ClientError::ExercisePeer { .. })));
    assert!(matches!(client.submit("{}").await, Err(ClientError::ExercisePeer { .. })));
    client.send(r#"{"amount":1}"#).await.expect("sent");
    assert_eq!(
        server.await.expect("no panic").to_text().expect("text"),
        r#"{"type":"TRANSACTION","data":{"amount":1}}"#
    );
}

#[tokio::test]
async fn an_invalid_transaction_is_not_sent() {
    let (address, server) = server(true, async |mut socket| assert!(next(&mut socket).await.is_none())).await;
    let mut client = Client::connect(&address).await.expect("connected");
    for body in ["", "[1]", "1", "{\"a\":", "null"] {
        assert!(matches!(client.submit(body).await, Err(ClientError::Invalid(_))), "{body}");
        assert!(matches!(client.send(body).await, Err(ClientError::Invalid(_))), "{body}");
    }
    client.close().await;
    server.await.expect("no panic");
}

#[tokio::test]
async fn many_identities_are_split_over_requests() {
    let (address, server) = server(true, async |mut socket| {
        let mut asked = Vec::new();
        while let Some(message) = next(&mut socket).await {
            let Message::Status(StatusFrame::Question { holds }) = message else { panic!("unexpected {message:?}") };
            asked.push(holds.len());
            socket.send(text(StatusFrame::Answer(Box::new(status(holds.len()))).to_frame())).await.expect("sent");
        }
        asked
    })
    .await;
    let mut client = Client::connect(&address).await.expect("connected");
    let ids: Vec<_> =
        (0..2_500_u16).map(|n| TransactionId([n.to_be_bytes(); 16].concat().try_into().expect("32 bytes"))).collect();
    assert_eq!(client.status(&ids).await.expect("a status").held, 2_500);
    assert_eq!(client.status(&[]).await.expect("a status").held, 0);
    client.close().await;
    assert_eq!(server.await.expect("no panic"), [1_000, 1_000, 500, 0]);
}

#[tokio::test]
async fn an_unreachable_node_says_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = PeerAddress::new("127.0.0.1", listener.local_addr().expect("bound").port()).expect("an address");
    drop(listener);
    let error = Client::connect(&address).await.expect_err("unreachable").to_string();
    assert!(error.contains(&address.to_string()) && error.contains("cargo run") && !error.contains('\n'), "{error}");
    let secure = "wss://localhost:1".parse().expect("an address");
    assert!(matches!(Client::connect(&secure).await, Err(ClientError::Secure { .. })));
}

#[tokio::test]
async fn another_program_on_the_port_is_recognised() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = PeerAddress::new("127.0.0.1", listener.local_addr().expect("bound").port()).expect("an address");
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).await.expect("a request") > 0);
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.expect("written");
    });
    let error = Client::connect(&address).await.expect_err("not a node").to_string();
    assert!(error.contains("404") && error.contains("PORT"), "{error}");
    server.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn every_wait_has_a_limit() {
    // Nothing answers. The paused clock advances to each limit when all tasks wait.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mute = PeerAddress::new("127.0.0.1", listener.local_addr().expect("bound").port()).expect("an address");
    assert!(matches!(Client::connect(&mute).await, Err(ClientError::Unreachable { .. })));
    drop(listener);
}

#[tokio::test]
async fn a_node_that_never_answers_is_an_error() {
    let (address, server) =
        server(
            true,
            async |mut socket| {
                while next(&mut socket).await.is_some_and(|message| !matches!(message, Message::Ack(_))) {}
            },
        )
        .await;
    let mut client = Client::connect(&address).await.expect("connected");
    tokio::time::pause();
    assert!(matches!(client.status(&[]).await, Err(ClientError::Silent { .. })));
    assert!(matches!(client.submit("{}").await, Err(ClientError::Silent { .. })));
    drop(client);
    server.await.expect("no panic");
}
