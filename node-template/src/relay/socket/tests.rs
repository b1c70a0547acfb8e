use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;
use crate::transport::websocket::socket::accept;

#[tokio::test(start_paused = true)]
async fn what_is_beyond_what_goes_at_once_waits_for_the_rate() {
    let now = Instant::now();
    let mut meter = Meter::new(Rate { per_second: 100, at_once: 1_000 });
    assert_eq!((meter.spend(600, now), meter.spend(400, now)), (Duration::ZERO, Duration::ZERO));
    assert_eq!(meter.spend(50, now), Duration::from_millis(500));
    assert_eq!(meter.spend(0, now + Duration::from_millis(500)), Duration::ZERO);
    assert_eq!(meter.spend(1_000, now + Duration::from_secs(60)), Duration::ZERO, "it is all there again");
}

#[tokio::test(start_paused = true)]
async fn bytes_and_frames_are_both_bounded() {
    let now = Instant::now();
    let (few, many) = (Rate { per_second: 10, at_once: 10 }, Rate { per_second: 1_000, at_once: 1_000 });
    let mut bytes = Traffic::new(few, many);
    assert_eq!((bytes.spend(10, now), bytes.spend(10, now)), (Duration::ZERO, Duration::from_secs(1)));
    assert_eq!(bytes.bytes(), 20);
    let mut frames = Traffic::new(many, few);
    let waits: Vec<_> = (0..11).map(|_| frames.spend(1, now)).collect();
    assert_eq!(waits, [vec![Duration::ZERO; 10], vec![Duration::from_millis(100)]].concat());
}

/// Returns the relay's end of a connection, with these frames at once, and the client's.
async fn connection(frames_at_once: u32) -> (RelaySocket, WebSocketStream<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    let client = async {
        let stream = TcpStream::connect(at).await.expect("a connection");
        client_async(format!("ws://{at}/"), stream).await.expect("an upgrade").0
    };
    let relay = async { accept(listener.accept().await.expect("a connection").0).await };
    let (relay, client) = tokio::join!(relay, client);
    let bytes = Rate { per_second: u32::MAX, at_once: u32::MAX };
    let traffic = |at_once| Traffic::new(bytes, Rate { per_second: 1, at_once });
    (RelaySocket::new(relay, traffic(frames_at_once), Arc::new(Mutex::new(traffic(u32::MAX)))), client)
}

/// A message of the relay's protocol: a datagram with this content.
fn datagram(content: &[u8]) -> Vec<u8> {
    [&[4], [1; 32].as_slice(), &[0], content].concat()
}

#[tokio::test]
async fn frames_of_every_kind_count_and_reading_pauses() {
    let piece = |opcode| Message::Frame(Frame::message(Bytes::new(), OpCode::Data(opcode), false));
    let pieces = [vec![piece(Data::Binary)], vec![piece(Data::Continue); 9]].concat();
    let kinds = [
        vec![Message::Ping(Bytes::from_static(b"x")); 10],
        vec![Message::Pong(Bytes::new()); 10],
        vec![Message::binary(datagram(b"")); 10],
        pieces,
    ];
    for frames in kinds {
        let (mut relay, mut client) = connection(9).await;
        for frame in &frames {
            client.send(frame.clone()).await.expect("it is sent");
        }
        let paused = std::future::poll_fn(|cx| {
            let read = Pin::new(&mut relay).poll_next(cx);
            assert!(read.is_pending(), "{read:?} of {frames:?}");
            if relay.pause.is_some() { Poll::Ready(()) } else { Poll::Pending }
        });
        let waited = tokio::time::timeout(Duration::from_secs(10), paused).await;
        assert!(waited.is_ok(), "reading went on after {frames:?}");
    }
}

#[tokio::test]
async fn messages_come_whole_beside_control_frames_and_a_text_ends_them() {
    let (mut relay, mut client) = connection(100).await;
    let long = datagram(&[7; 60_000]);
    let (first, rest) = long.split_at(40_000);
    let sent = [
        Message::binary(datagram(b"one")),
        Message::Ping(Bytes::new()),
        Message::binary(datagram(b"")),
        Message::Frame(Frame::message(first.to_vec(), OpCode::Data(Data::Binary), false)),
        Message::Ping(Bytes::new()),
        Message::Frame(Frame::message(rest.to_vec(), OpCode::Data(Data::Continue), true)),
        Message::text("not of this protocol"),
    ];
    let send = async {
        for message in sent {
            client.send(message).await.expect("it is sent");
        }
    };
    let receive = async {
        let mut received = Vec::new();
        while let Some(message) = relay.next().await {
            received.push(message.expect("a message"));
        }
        received
    };
    let ((), received) = tokio::join!(send, receive);
    assert_eq!(received, [datagram(b"one"), long]);
}

#[test]
fn what_would_end_the_connection_of_another_client_is_not_passed_on() {
    let whole = |kind: &[u8], length: usize| [kind, &vec![0; length - kind.len()]].concat();
    for (kind, least) in [(4, 35), (5, 37), (9, 9), (1, 98)] {
        assert!(is_sound(&whole(&[kind], least)), "kind {kind}");
    }
    assert!(is_sound(&whole(&[4], MAX_PACKET_SIZE)));
    for (kind, length) in [(4, 34), (5, 36), (4, 1), (4, MAX_PACKET_SIZE + 1), (5, MAX_PACKET_SIZE + 1)] {
        assert!(!is_sound(&whole(&[kind], length)), "kind {kind}, {length} bytes");
    }
    assert!(!is_sound(&whole(&[0x40, 4], 35)), "the kind in two bytes");
    assert!(!is_sound(b""));
}
