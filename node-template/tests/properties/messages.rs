//! Messages: no text harms, and a frame reads back as what it was written from, whatever another
//! version adds to it.

use std::collections::BTreeMap;

use meshpool::protocol::json::Parser;
use meshpool::protocol::transaction::origin_of_frame;
use meshpool::protocol::wire::{Malformed, Message, TransactionFrame};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::value::RawValue;

use super::generated::{config, messages, transaction_frames, values};

fn read(text: &str) -> Result<Message, Malformed> {
    Message::parse(&mut Parser::new(), text)
}

/// Whether two messages are the same to the last byte; their `Debug` shortens identities.
fn same(one: &Message, other: &Message) -> bool {
    match (one, other) {
        (Message::Handshake(one), Message::Handshake(other)) => one == other,
        (Message::Transaction(one), Message::Transaction(other)) => same_delivery(one, other),
        (Message::Ack(one), Message::Ack(other)) => one == other,
        (Message::Status(one), Message::Status(other)) => one == other,
        (Message::Sync(one), Message::Sync(other)) => one == other,
        (Message::SyncOther(set, one), Message::SyncOther(other_set, other)) => set == other_set && one == other,
        (Message::Broadcast(one), Message::Broadcast(other)) => one == other,
        (Message::Announce(one), Message::Announce(other)) => one == other,
        (Message::Network(one), Message::Network(other)) => one == other,
        (Message::Want(one), Message::Want(other)) => one == other,
        (Message::Prune(one), Message::Prune(other)) | (Message::Graft(one), Message::Graft(other)) => one == other,
        (Message::Join(one), Message::Join(other)) => one == other,
        (Message::Peers(one), Message::Peers(other)) => one == other,
        (Message::Declined(one), Message::Declined(other)) => one == other,
        (Message::Beacon(one), Message::Beacon(other)) => one == other,
        (Message::DialBack(one), Message::DialBack(other)) => one == other,
        (Message::CallBack(one), Message::CallBack(other)) => one == other,
        (Message::Exercise(one), Message::Exercise(other)) => one == other,
        (Message::Unknown(one), Message::Unknown(other)) => one == other,
        _ => false,
    }
}

fn same_delivery(one: &TransactionFrame, other: &TransactionFrame) -> bool {
    let siblings = |delivery: &TransactionFrame| (delivery.origin.clone(), delivery.ack, delivery.synced);
    let content = |delivery: &TransactionFrame| {
        let transaction = delivery.transaction.as_ref();
        transaction
            .map(|found| (found.id(), found.time(), found.body().to_owned(), found.frame().clone()))
            .map_err(Clone::clone)
    };
    siblings(one) == siblings(other) && content(one) == content(other)
}

/// A change to a text: what a fault of a sender, or its malice, makes of a frame.
#[derive(Debug, Clone)]
enum Change {
    Cut(Index, Index),
    Insert(Index, String),
    Repeat(Index, Index),
    Replace(Index, char),
}

fn changes() -> impl Strategy<Value = Change> {
    let telling = prop_oneof![
        "[\\[\\]{}:,\"\\\\0-9eE.-]{1,3}",
        Just("null".to_owned()),
        Just("\\ud800".to_owned()),
        Just("9".repeat(400)),
        Just("[".repeat(70)),
        any::<String>(),
    ];
    prop_oneof![
        any::<(Index, Index)>().prop_map(|(from, to)| Change::Cut(from, to)),
        (any::<Index>(), telling).prop_map(|(at, text)| Change::Insert(at, text)),
        any::<(Index, Index)>().prop_map(|(from, to)| Change::Repeat(from, to)),
        any::<(Index, char)>().prop_map(|(at, character)| Change::Replace(at, character)),
    ]
}

fn changed(text: &str, change: &Change) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let end = characters.len() + 1;
    let range = |from: &Index, to: &Index| {
        let (from, to) = (from.index(end), to.index(end));
        from.min(to)..from.max(to)
    };
    match change {
        Change::Cut(from, to) => drop(characters.drain(range(from, to))),
        Change::Insert(at, text) => drop(characters.splice(at.index(end)..at.index(end), text.chars())),
        Change::Repeat(from, to) => characters.extend_from_within(range(from, to)),
        Change::Replace(at, character) => {
            let at = at.index(end);
            characters.splice(at..(at + 1).min(end - 1).max(at), [*character]);
        }
    }
    characters.into_iter().collect()
}

/// An object's text with unknown members added, in an order that `keys` gives, and blanks between.
fn reordered(text: &str, unknown: &[serde_json::Value], keys: &[u32]) -> String {
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).unwrap();
    let known = members.iter().map(|(key, value)| (key.clone(), value.get().to_owned()));
    let added = unknown.iter().enumerate().map(|(number, value)| (format!("x-{number}"), value.to_string()));
    let mut members: Vec<_> = known.chain(added).zip(keys.iter().cycle()).collect();
    members.sort_by_key(|(_, key)| **key);
    let members = members.into_iter().map(|((key, value), _)| format!("{} : {value}", serde_json::json!(key)));
    format!("{{ {} }}", members.collect::<Vec<_>>().join(" ,\n"))
}

/// The same for a frame, and for the objects in it that are not a transaction.
fn by_another_version(text: &str, unknown: &[serde_json::Value], keys: &[u32]) -> String {
    let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).unwrap();
    let transaction = members["type"].get() == "\"TRANSACTION\"";
    for name in ["data", "node"] {
        if let Some(member) = members.get_mut(name).filter(|member| !transaction && member.get().starts_with('{')) {
            *member = RawValue::from_string(reordered(member.get(), unknown, keys)).unwrap();
        }
    }
    reordered(&serde_json::to_string(&members).unwrap(), unknown, keys)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), json in r#"[\[\]{}:,"\\u0-9deE+.a\- ]{0,40}"#) {
        drop((read(&text), origin_of_frame(&text)));
        drop((read(&json), origin_of_frame(&json)));
    }

    #[test]
    fn no_content_makes_it_panic(
        kind in "(HANDSHAKE|TRANSACTION|ACK|STATUS|SYNC|WANT|PRUNE|GRAFT|OTHER)",
        data in values(),
        name in "(from|node|ack|session|set|type)",
        sibling in values(),
    ) {
        let text = format!(r#"{{"type":"{kind}","data":{data},"{name}":{sibling}}}"#);
        match read(&text) {
            Ok(message) => prop_assert!(name == "type" || message.kind() == kind),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn no_change_of_a_frame_makes_it_panic((frame, _) in messages(), changes in vec(changes(), 1..4)) {
        let mut text = frame.as_str().to_owned();
        for change in &changes {
            text = changed(&text, change);
            drop((read(&text), origin_of_frame(&text)));
        }
    }

    #[test]
    fn a_frame_reads_back_as_what_it_was_written_from((frame, message) in messages()) {
        let found = read(frame.as_str()).unwrap();
        prop_assert_eq!(found.kind(), message.kind());
        prop_assert!(same(&found, &message), "{:?}\n{:?}", found, message);
    }

    #[test]
    fn what_another_version_adds_and_reorders_changes_nothing(
        (frame, message) in messages(),
        unknown in vec(values(), 0..4),
        keys in vec(any::<u32>(), 1..12),
    ) {
        let text = by_another_version(frame.as_str(), &unknown, &keys);
        let found = read(&text).unwrap();
        prop_assert!(same(&found, &message), "{}\n{:?}\n{:?}", text, found, message);
    }

    #[test]
    fn an_origin_is_the_same_read_from_the_end_and_read_whole((frame, message) in transaction_frames()) {
        let Message::Transaction(delivery) = message else { unreachable!("only transactions are generated") };
        prop_assert_eq!(origin_of_frame(frame.as_str()), delivery.origin, "{:?}", frame);
    }
}
