//! EXERCISE: what native peers tell each other of exercise peers; and what one of them remembers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::address::{PeerAddress, Scope};
use crate::frame::Frame;
use crate::json::Value;
use crate::limits;
use crate::wire::codec::{Malformed, Typed, read, to_frame};

/// What a node knows of one exercise peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExerciseUpdate {
    /// Where it is dialled.
    pub address: PeerAddress,
    /// How often in a row its link ended at its first TRANSACTION, at most
    /// [`limits::EXERCISE_DROPS`].
    pub drops: Option<u32>,
    /// For how many seconds it lacks transactions, at most [`limits::EXERCISE_LACKS`]; 0: a node is
    /// linked to it and sends it all.
    pub lacks: Option<u64>,
    /// The number of the event, by which it is recognised.
    pub event: u64,
}

/// What is remembered of an exercise peer over a restart of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedExercise {
    /// Where it was dialled.
    pub address: PeerAddress,
    /// The nearest scope that its name may resolve to, by those that named it.
    pub reach: Scope,
    /// How often in a row its link ended at its first TRANSACTION.
    pub drops: u32,
    /// The position in the pool from which on it may lack transactions; `None`: it had no slot
    /// here.
    pub position: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct OnWire<'a> {
    #[serde(borrow)]
    address: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drops: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lacks: Option<u64>,
    #[serde(default)]
    event: u64,
}

impl ExerciseUpdate {
    /// Reads the entries of a frame, at most [`limits::EXERCISE_UPDATES`]. Unreadable addresses are
    /// dropped. Numbers beyond their bounds are cut here: what is read is calculated with, and
    /// passed on.
    pub(super) fn read_all(frame: Value<'_>) -> Result<Vec<Self>, Malformed> {
        let entries: Vec<OnWire<'_>> = read(frame, "EXERCISE")?;
        let entries = entries.into_iter().take(limits::EXERCISE_UPDATES);
        let entry = |entry: OnWire<'_>| {
            let address = entry.address.parse().ok()?;
            let drops = entry.drops.map(|drops| drops.min(limits::EXERCISE_DROPS));
            let lacks = entry.lacks.map(|lacks| lacks.min(limits::EXERCISE_LACKS));
            Some(Self { address, drops, lacks, event: entry.event })
        };
        Ok(entries.filter_map(entry).collect())
    }
}

/// Returns the EXERCISE frame for at most [`limits::EXERCISE_UPDATES`] entries.
pub fn exercise_frame(news: &[ExerciseUpdate]) -> Frame {
    let entries = news.iter().map(|one| OnWire {
        address: one.address.to_string().into(),
        drops: one.drops,
        lacks: one.lacks,
        event: one.event,
    });
    let entries: Vec<OnWire<'_>> = entries.collect();
    to_frame(&Typed { r#type: "EXERCISE", data: &entries })
}
