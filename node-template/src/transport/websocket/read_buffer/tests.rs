//! Reads as a link's task does, and compares with the library alone.

use futures_util::{Stream, StreamExt};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use crate::transport::websocket::read_buffer::*;
use crate::transport::websocket::socket::config;
use crate::transport::websocket::write_buffer::WriteBuffer;

type Socket = WebSocketStream<WriteBuffer<ReadBuffer<DuplexStream>>>;

const MASK: [u8; 4] = [0x12, 0x80, 0xff, 7];

fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { MASKED } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(masked | length as u8),
        length @ 126..0x1_0000 => frame.extend([&[masked | 126][..], &(length as u16).to_be_bytes()].concat()),
        length => frame.extend([&[masked | 127][..], &(length as u64).to_be_bytes()].concat()),
    }
    frame.extend(mask.into_iter().flatten());
    let start = frame.len();
    frame.extend_from_slice(payload);
    apply_mask(mask.unwrap_or_default(), &mut frame[start..]);
    frame
}

/// A WebSocket whose upgrade is over, and its other end, over a pipe of so many bytes.
async fn socket(role: Role, capacity: usize) -> (Socket, DuplexStream) {
    let (near, far) = tokio::io::duplex(capacity);
    let mut buffer = ReadBuffer::new(near);
    buffer.unread.reader = Reader::Undecided;
    buffer.begin_texts(role == Role::Server);
    (WebSocketStream::from_raw_socket(WriteBuffer::new(buffer), role, Some(config())).await, far)
}

/// Reads as a link's task does. The flag says that a text did not pass through the library.
pub(crate) async fn read<S>(
    socket: &mut WebSocketStream<WriteBuffer<ReadBuffer<S>>>,
) -> Option<Result<(Message, bool), Error>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    std::future::poll_fn(|cx| {
        loop {
            let buffer = socket.get_mut().stream_mut();
            let mut unread = buffer.lend();
            let next = match unread.next() {
                Next::Text(text) => Some(Ok(Some(Message::text(text)))),
                Next::InvalidText => Some(Err(Error::Utf8(String::new()))),
                Next::Library => None,
                Next::Incomplete => Some(Ok(None)),
            };
            buffer.give_back(unread);
            match next {
                Some(Ok(Some(text))) => return Poll::Ready(Some(Ok((text, true)))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(None)) => match ready!(buffer.poll_more(cx)) {
                    Ok(1..) => continue,
                    Ok(0) => buffer.end_texts(),
                    Err(error) => return Poll::Ready(Some(Err(error.into()))),
                },
                None => {}
            }
            match Pin::new(&mut *socket).poll_next(cx) {
                Poll::Pending if !socket.get_ref().stream().is_for_library() => {}
                Poll::Pending => return Poll::Pending,
                Poll::Ready(message) => return Poll::Ready(message.map(|message| Ok((message?, false)))),
            }
        }
    })
    .await
}

/// Polls a future once.
async fn now<T>(future: impl Future<Output = T>) -> Poll<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

async fn all_kinds(role: Role, mask: Option<[u8; 4]>, buffer: usize) {
    let text = |length: usize| "é".repeat(length / 2) + &"x".repeat(length % 2);
    let (mut bytes, mut sent) = (Vec::new(), Vec::new());
    for length in [0, 1, 125, 126, PIECE - 8, PIECE - 3, PIECE, 300_000] {
        bytes.extend(frame(WHOLE_TEXT, text(length).as_bytes(), mask));
        // Four bytes of head, and four of a mask.
        let whole = length + 4 + if mask.is_some() { 4 } else { 0 } <= PIECE;
        sent.push((Message::text(text(length)), whole));
        bytes.extend(frame(0x89, b"ping", mask));
        sent.push((Message::Ping("ping".into()), false));
    }
    let fragments = [(0x01, "a"), (0x89, "ping"), (0x00, "b"), (0x80, "c"), (0x82, "binary"), (WHOLE_TEXT, "d")];
    bytes.extend(fragments.iter().flat_map(|(first, payload)| frame(*first, payload.as_bytes(), mask)));
    sent.push((Message::Ping("ping".into()), false));
    sent.push((Message::text("abc"), false));
    sent.push((Message::binary("binary"), false));
    sent.push((Message::text("d"), true));
    let (mut near, mut far) = socket(role, buffer).await;
    let writing = tokio::spawn(async move {
        far.write_all(&bytes).await.expect("it is read");
        far
    });
    for expected in &sent {
        let got = read(&mut near).await.map(|got| got.expect("no rule is broken"));
        assert!(got.as_ref() == Some(expected), "{buffer} bytes at once");
    }
    let far = writing.await.expect("no panic");
    drop(far);
    assert!(!matches!(read(&mut near).await, Some(Ok(_))), "it has left");
    assert_eq!(near.get_ref().stream().unread.memory.capacity(), 0, "at rest nothing is kept");
}

#[tokio::test]
async fn every_kind_of_frame_arrives_in_order_however_its_bytes_come_in() {
    for buffer in [7, 1_000, 10_000_000] {
        all_kinds(Role::Client, None, buffer).await;
        all_kinds(Role::Server, Some(MASK), buffer).await;
    }
}

#[tokio::test]
async fn what_breaks_a_rule_is_the_librarys_to_judge() {
    let within = [frame(0x01, b"a", None), frame(WHOLE_TEXT, b"b", None)].concat();
    let announced = [vec![WHOLE_TEXT, 127], vec![0xff; 8]].concat();
    for bytes in [frame(WHOLE_TEXT, b"masked", Some(MASK)), frame(0xc1, b"reserved", None), within, announced] {
        let (mut near, mut far) = socket(Role::Client, 1_000).await;
        far.write_all(&bytes).await.expect("room");
        let waiting = near.get_mut().stream_mut();
        assert!(std::future::poll_fn(|cx| waiting.poll_more(cx)).await.expect("it reads") > 0);
        loop {
            let mut waiting = near.get_mut().stream_mut().lend();
            assert_eq!(waiting.next(), Next::Library);
            near.get_mut().stream_mut().give_back(waiting);
            match now(near.next()).await {
                Poll::Ready(judged) => break assert!(judged.expect("something").is_err(), "{bytes:?}"),
                Poll::Pending => {}
            }
        }
    }
    let (mut near, mut far) = socket(Role::Client, 1_000).await;
    far.write_all(&frame(WHOLE_TEXT, &[0xff], None)).await.expect("room");
    let waiting = near.get_mut().stream_mut();
    assert!(std::future::poll_fn(|cx| waiting.poll_more(cx)).await.expect("it reads") > 0);
    assert_eq!(waiting.lend().next(), Next::InvalidText);
}

#[tokio::test]
async fn of_an_upgrade_the_library_gets_the_head_and_of_a_refusal_everything() {
    let text = frame(WHOLE_TEXT, b"early", None);
    let agreed = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    for capacity in [13, 1_000] {
        let (near, mut far) = tokio::io::duplex(capacity);
        let mut buffer = ReadBuffer::new(near);
        let bytes = [&agreed[..], &text].concat();
        let writing = tokio::spawn(async move { far.write_all(&bytes).await.map(|()| far) });
        let mut head = vec![0; agreed.len()];
        buffer.read_exact(&mut head).await.expect("a head");
        assert_eq!(head, agreed);
        buffer.begin_texts(false);
        while buffer.unread.bytes().len() < text.len() {
            std::future::poll_fn(|cx| buffer.poll_more(cx)).await.expect("it reads");
        }
        assert_eq!(buffer.lend().next(), Next::Text("early"));
        writing.await.expect("no panic").expect("it was read");
    }
    let (near, mut far) = tokio::io::duplex(1_000);
    let (mut buffer, mut head) = (ReadBuffer::new(near), vec![0; agreed.len()]);
    far.write_all(agreed).await.expect("room");
    buffer.read_exact(&mut head).await.expect("a head");
    assert_eq!(buffer.unread.memory.capacity(), 0, "a link that is opened keeps nothing either");
    let (near, mut far) = tokio::io::duplex(1_000);
    let refused = b"HTTP/1.1 404 Not Found\r\n\r\nthis node is elsewhere";
    far.write_all(refused).await.expect("room");
    drop(far);
    let (mut buffer, mut read) = (ReadBuffer::new(near), Vec::new());
    buffer.read_to_end(&mut read).await.expect("it reads");
    assert_eq!(read, refused);
    buffer.begin_texts(false);
    assert!(buffer.is_for_library(), "what it has begun it goes on with");
}

#[tokio::test]
async fn a_link_that_waits_for_the_rest_of_a_text_keeps_what_it_has_of_it_alone() {
    let (mut near, mut far) = socket(Role::Client, 1_000).await;
    let text = frame(WHOLE_TEXT, &[b'x'; 100], None);
    far.write_all(&text[..50]).await.expect("room");
    assert!(now(read(&mut near)).await.is_pending());
    assert_eq!(near.get_ref().stream().unread.memory.capacity(), 50);
    far.write_all(&text[50..]).await.expect("room");
    let got = read(&mut near).await.expect("a message").expect("no rule is broken");
    assert_eq!(got, (Message::text("x".repeat(100)), true));
}

/// A frame as a stranger may send it: nearly always by the rules.
fn any_frame(masked: bool) -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        12 => Just(WHOLE_TEXT),
        2 => Just(0x82),
        3 => prop_oneof![Just(0x01), Just(0x00), Just(0x80), Just(0x02)],
        4 => prop_oneof![Just(0x89), Just(0x8a)],
        1 => prop_oneof![Just(0x88), Just(0x09), any::<u8>()],
    ];
    let payload = prop_oneof![
        12 => "[a-zé]{0,140}".prop_map(String::into_bytes),
        1 => (PIECE - 20..PIECE + 20).prop_map(|length| vec![b'x'; length]),
        1 => prop::collection::vec(any::<u8>(), 0..130),
    ];
    let mask = prop_oneof![30 => Just(masked), 1 => Just(!masked)];
    (first, payload, mask, any::<[u8; 4]>()).prop_map(|(first, payload, masked, mask)| {
        // A control frame has no more (RFC 6455, section 5.5).
        let most = if first & 0x08 != 0 { 125 } else { payload.len() };
        frame(first, &payload[..payload.len().min(most)], masked.then_some(mask))
    })
}

/// Reads until the end, or until a rule is broken.
async fn all<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: WebSocketStream<WriteBuffer<ReadBuffer<S>>>,
) -> Vec<String> {
    let mut got = Vec::new();
    loop {
        let message = read(&mut socket).await.map(|message| message.map(|(message, _)| message));
        let last = !matches!(&message, Some(Ok(message)) if !message.is_close());
        got.push(match message {
            // Only the library knows which byte is wrong.
            Some(Err(Error::Utf8(_))) => "no UTF-8".into(),
            message => format!("{message:?}"),
        });
        if last {
            return got;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(2026), ..ProptestConfig::with_cases(512) })]

    #[test]
    fn whatever_comes_in_is_read_as_the_library_alone_would(
        (masked, frames, lost) in any::<bool>().prop_flat_map(|masked| (Just(masked), prop::collection::vec(any_frame(masked), 0..40), 0..30_usize)),
        buffer in prop_oneof![1..40_usize, Just(8_000), Just(1_000_000)],
    ) {
        let mut bytes = frames.concat();
        // Often all of it, otherwise without its end.
        bytes.truncate(bytes.len().saturating_sub(lost.saturating_sub(20)));
        let role = if masked { Role::Server } else { Role::Client };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let [ours, theirs] = [true, false].map(|texts| {
            runtime.block_on(async {
                let (mut near, mut far) = socket(role, buffer).await;
                if !texts {
                    near.get_mut().stream_mut().end_texts();
                }
                let bytes = bytes.clone();
                let writing = async move {
                    // The reader leaves at the first fault.
                    far.write_all(&bytes).await.unwrap_or_default();
                    far.shutdown().await.unwrap_or_default();
                    // Takes the answers to pings.
                    tokio::io::copy(&mut far, &mut tokio::io::sink()).await.unwrap_or_default();
                };
                tokio::join!(all(near), writing).0
            })
        });
        prop_assert_eq!(ours, theirs);
    }
}
