//! Any text as a message, and every message as a frame. The same of the frames of requests.

use meshpool_proto::frame::Frame;
use meshpool_proto::id::Session;
use meshpool_proto::json::Parser;
use meshpool_proto::limits;
use meshpool_proto::transaction::origin_of_frame;
use meshpool_proto::wire::{
    ChunkOf, Declined, Handshake, Malformed, Message, RequestFrame, Sample, TopicFrame, TransactionFrame,
    exercise_frame, graft_frame, prune_frame, want_frame,
};

use crate::planted;

/// Parses a frame, writes the message, and parses that.
pub fn run(data: &[u8]) {
    chunk(data);
    let Ok(text) = str::from_utf8(data) else { return };
    request_frame(text);
    let mut parser = Parser::new();
    match Message::parse(&mut parser, text) {
        Ok(message) => {
            check(&message);
            let Some(frame) = written(&message) else { return };
            let read = Message::parse(&mut parser, frame.as_str()).expect("a written frame is a message");
            assert_eq!(read.kind(), message.kind());
            assert_eq!(content(&read), content(&message), "the frame has the same content");
            check(&read);
            assert_eq!(written(&read), Some(frame), "of {message:?}");
        }
        Err(error) => {
            let broken = parser.parse(text).is_err();
            assert_eq!(matches!(error, Malformed::Json(_)), broken, "{error}");
        }
    }
}

/// Reads a frame of requests, writes it, and reads that.
fn request_frame(text: &str) {
    let Ok(frame) = RequestFrame::read(text) else { return };
    if let RequestFrame::Request { bytes, .. } | RequestFrame::Response { bytes, .. } = frame {
        assert!(bytes <= limits::REQUEST_BYTES);
    }
    assert_eq!(RequestFrame::read(&frame.to_text()), Ok(frame), "the frame has the same content");
}

/// Reads a chunk of a request, and writes it.
fn chunk(data: &[u8]) {
    let Ok((of, id, content)) = ChunkOf::read(data) else { return };
    assert!((1..=limits::REQUEST_CHUNK).contains(&content.len()));
    assert_eq!(of.to_bytes(id, content), data);
}

/// Checks the bounds of a message.
fn check(message: &Message) {
    match message {
        Message::Handshake(handshake) => {
            assert!(handshake.addresses.len() <= limits::HANDSHAKE_ADDRESSES);
            if let Some(node) = &handshake.node {
                let shown = [&node.agent, &node.network];
                assert!(shown.iter().all(|text| text.chars().count() <= limits::SHOWN_CHARACTERS));
            }
        }
        Message::Transaction(TransactionFrame { transaction: Ok(transaction), origin, .. }) => {
            assert!(transaction.body().len() <= limits::TRANSACTION_BYTES);
            assert_eq!(transaction.body_bytes(), transaction.body().len());
            assert_eq!(&origin_of_frame(transaction.frame().as_str()), origin, "the frame keeps its origin");
        }
        Message::Want(ids) => assert!(ids.len() <= limits::WANT_IDS),
        Message::Prune(origins) | Message::Graft(origins) => assert!(origins.len() <= limits::ORIGINS),
        Message::Peers(sample) => assert!(sample.addresses.len() <= limits::SAMPLE_ADDRESSES),
        Message::Declined(declined) => assert!(declined.addresses.len() <= limits::SAMPLE_ADDRESSES),
        Message::Broadcast(frame) => assert!(frame.broadcast.message.len() <= limits::BROADCAST_BYTES),
        Message::Announce(frame) => assert!(frame.announcement.peers.len() <= limits::ANNOUNCED_PEERS),
        Message::Exercise(news) => assert!(news.len() <= limits::EXERCISE_UPDATES),
        Message::Found(found) => assert!(found.images.len() <= limits::FOUND_IMAGES),
        Message::Unknown(kind) => assert!(kind.chars().count() <= limits::SHOWN_CHARACTERS),
        _ => {}
    }
}

/// The content of a message as a text, without what the parser dropped.
fn content(message: &Message) -> String {
    match message {
        Message::Handshake(handshake) => format!("{:?}", Handshake { dropped: 0, ..handshake.clone() }),
        Message::Peers(sample) => format!("{:?}", Sample { dropped: 0, ..sample.clone() }),
        Message::Declined(declined) => format!("{:?}", Declined { dropped: 0, ..declined.clone() }),
        // `ack` is for a client only, and a frame of anti-entropy has no origin.
        Message::Transaction(TransactionFrame { transaction: Ok(transaction), synced, .. }) => {
            format!("{} {} {synced}", transaction.id(), transaction.body())
        }
        Message::Topic(frame) => format!("{} {}", frame.topic, content(&frame.message)),
        _ => format!("{message:?}"),
    }
}

/// The frame of a message, unless a node never sends it.
fn written(message: &Message) -> Option<Frame> {
    let session = Session::from_random([1; 16]);
    Some(match message {
        Message::Handshake(handshake) => handshake.to_frame(),
        Message::Transaction(delivery) => match &delivery.transaction {
            Ok(transaction) if delivery.synced => TransactionFrame::sync_frame(transaction.body(), session),
            Ok(transaction) => transaction.frame().clone(),
            Err(_) => return None,
        },
        Message::Ack(ack) => ack.to_frame(),
        Message::Status(status) => status.to_frame(),
        Message::Sync(sync) => sync.to_frame(),
        // Planted: the set is lost.
        Message::SyncOther(_, sync) if planted::is_due(|| true) => sync.to_frame(),
        Message::SyncOther(set, sync) => sync.to_frame_of(*set),
        Message::Topic(frame) => TopicFrame::wrap(&frame.topic, &written(&frame.message)?),
        Message::Want(ids) => want_frame(ids),
        Message::Prune(origins) => prune_frame(origins),
        Message::Graft(origins) => graft_frame(origins),
        Message::Join(join) => join.to_frame(),
        Message::Peers(sample) => sample.to_frame(),
        Message::Declined(declined) => declined.to_frame(),
        Message::Beacon(beacon) => beacon.to_frame(),
        Message::DialBack(dial_back) => dial_back.to_frame(),
        Message::CallBack(call_back) => call_back.to_frame(),
        Message::Broadcast(frame) => frame.to_frame(session),
        Message::Announce(frame) => frame.to_frame(session),
        Message::Network(frame) => frame.to_frame(),
        Message::Find(find) => find.to_frame(),
        Message::Found(found) => found.to_frame(),
        Message::Exercise(news) => exercise_frame(news),
        Message::Unknown(_) => return None,
    })
}
