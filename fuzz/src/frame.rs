//! Whatever a WebSocket text holds, as a message; and every message as the frame that is written for it.

use meshpool_proto::frame::Frame;
use meshpool_proto::id::Session;
use meshpool_proto::json::Parser;
use meshpool_proto::limits;
use meshpool_proto::wire::{
    Declined, TransactionFrame, Handshake, Malformed, Message, Sample, graft_frame, prune_frame, want_frame,
};
use meshpool_proto::transaction::origin_of_frame;

use crate::planted;

/// Reads a frame, writes what was understood, and reads that.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut parser = Parser::new();
    match Message::parse(&mut parser, text) {
        Ok(message) => {
            check(&message);
            let Some(frame) = written(&message) else { return };
            let read = Message::parse(&mut parser, frame.as_str()).expect("what we write is a message");
            assert_eq!(read.kind(), message.kind());
            assert_eq!(said(&read), said(&message), "what is written says what was read");
            check(&read);
            assert_eq!(written(&read), Some(frame), "of {message:?}");
        }
        Err(error) => {
            let broken = parser.parse(text).is_err();
            assert_eq!(matches!(error, Malformed::Json(_)), broken, "{error}");
        }
    }
}

/// What a message may not exceed, whoever wrote it.
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
            assert_eq!(&origin_of_frame(transaction.frame().as_str()), origin, "the frame travels on with its origin");
        }
        Message::Want(ids) => assert!(ids.len() <= limits::WANT_IDS),
        Message::Prune(origins) | Message::Graft(origins) => assert!(origins.len() <= limits::ORIGINS),
        Message::Peers(sample) => assert!(sample.addresses.len() <= limits::SAMPLE_ADDRESSES),
        Message::Declined(declined) => assert!(declined.addresses.len() <= limits::SAMPLE_ADDRESSES),
        Message::Broadcast(frame) => assert!(frame.broadcast.message.len() <= limits::BROADCAST_BYTES),
        Message::Announce(frame) => assert!(frame.announcement.peers.len() <= limits::ANNOUNCED_PEERS),
        Message::Found(found) => assert!(found.images.len() <= limits::FOUND_IMAGES),
        Message::Unknown(kind) => assert!(kind.chars().count() <= limits::SHOWN_CHARACTERS),
        _ => {}
    }
}

/// What a message says, in words; nothing of what was left out in reading it, for that is not written again.
fn said(message: &Message) -> String {
    match message {
        Message::Handshake(handshake) => format!("{:?}", Handshake { dropped: 0, ..handshake.clone() }),
        Message::Peers(sample) => format!("{:?}", Sample { dropped: 0, ..sample.clone() }),
        Message::Declined(declined) => format!("{:?}", Declined { dropped: 0, ..declined.clone() }),
        // A client's wish for an answer goes no further, and an answer to a comparison has no origin.
        Message::Transaction(TransactionFrame { transaction: Ok(transaction), synced, .. }) => {
            format!("{} {} {synced}", transaction.id(), transaction.body())
        }
        _ => format!("{message:?}"),
    }
}

/// The frame that a node writes for a message; none for what it never sends.
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
        // What is compared is forgotten.
        Message::SyncOther(_, sync) if planted::is_due(|| true) => sync.to_frame(),
        Message::SyncOther(set, sync) => sync.to_frame_of(*set),
        Message::Want(ids) => want_frame(ids),
        Message::Prune(origins) => prune_frame(origins),
        Message::Graft(origins) => graft_frame(origins),
        Message::Join(join) => join.to_frame(),
        Message::Peers(sample) => sample.to_frame(),
        Message::Declined(declined) => declined.to_frame(),
        Message::Beacon(beacon) => beacon.to_frame(),
        Message::Broadcast(frame) => frame.to_frame(session),
        Message::Announce(frame) => frame.to_frame(session),
        Message::Network(frame) => frame.to_frame(),
        Message::Find(find) => find.to_frame(),
        Message::Found(found) => found.to_frame(),
        Message::Unknown(_) => return None,
    })
}
