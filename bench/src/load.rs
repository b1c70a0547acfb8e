//! The load: transactions as the exercise makes them, and whoever pushes them at the nodes.
//!
//! The pushers must be far faster than any node. So the frames are made before the clock starts,
//! they leave many per flush, and a thread of its own pushes them. The nodes slow it down by TCP
//! alone.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use ed25519_dalek::{Signer, SigningKey};
use futures_util::future::try_join_all;
use futures_util::{SinkExt, StreamExt};
use rustix::time::{ClockId, clock_gettime};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::door::{Door, Socket};

/// How long each transaction's JSON text is, in bytes.
pub(crate) const TRANSACTION_BYTES: usize = 300;
/// How many frames leave at once.
const FLUSH: usize = 64;

/// The `id` of transaction `number`, and of no other: the UUID as a number.
pub(crate) fn id(number: u64) -> u128 {
    // SplitMix64's last step is a bijection, so different numbers have different halves.
    (u128::from(mix(number)) << 64) | u128::from(mix(!number))
}

/// The sum of all [`id`]s below `count`, modulo 2^128: what a pool that holds each once must have.
pub(crate) fn sum_of_ids(count: u64) -> u128 {
    (0..count).fold(0, |sum, number| sum.wrapping_add(id(number)))
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
/// 2014).
fn mix(number: u64) -> u64 {
    let z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The JSON text of transaction `number`: [`TRANSACTION_BYTES`] bytes, different for each.
fn transaction(number: u64) -> String {
    let word = |salt: u64| mix(number ^ (salt << 56));
    transaction_with(number, word(1))
}

/// The same with `first` as the first 16 digits.
fn transaction_with(number: u64, first: u64) -> String {
    let word = |salt: u64| mix(number ^ (salt << 56));
    let uuid = format!("{:032x}", id(number));
    let (a, b, c, d, e) = (&uuid[..8], &uuid[8..12], &uuid[12..16], &uuid[16..20], &uuid[20..]);
    format!(
        r#"{{"fromAddress":"{:016x}{:016x}{:016x}{:016x}","toAddress":"{:016x}{:016x}{:08x}","amount":{}.{:03}{},"timeStamp":{},"hash":"{:016x}{:016x}{:016x}{:016x}","id":"{a}-{b}-{c}-{d}-{e}"}}"#,
        first,
        word(2),
        word(3),
        word(4),
        word(5),
        word(6),
        word(7) >> 32,
        1_000 + word(8) % 9_000,
        word(9) % 1_000,
        1 + word(10) % 9,
        1_700_000_000_000 + number,
        word(11),
        word(12),
        word(13),
        word(14),
    )
}

/// The same, signed with the key of one of the pushers: some 220 bytes longer.
fn signed(number: u64, share: u64) -> String {
    let key = SigningKey::from_bytes(&[share as u8; 32]);
    let text = transaction(number);
    let text = format!(r#"{},"publicKey":"{}""#, &text[..text.len() - 1], hex(key.verifying_key().as_bytes()));
    // Its numbers and texts stand as canonical JSON has them; there the members are in the order of
    // their keys.
    let members: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(&format!("{text}}}")).expect("a transaction is an object");
    let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let signature = key.sign(format!("p2p-node TRANSACTION\n{{{}}}", members.join(",")).as_bytes());
    format!(r#"{text},"signature":"{}"}}"#, hex(&signature.to_bytes()))
}

/// In lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The frame that brings transaction `number` to a node, the one at which this share is pushed.
fn frame(number: u64, share: u64, is_signed: bool) -> Utf8Bytes {
    frame_of(&if is_signed { signed(number, share) } else { transaction(number) })
}

fn frame_of(transaction: &str) -> Utf8Bytes {
    format!(r#"{{"type":"TRANSACTION","data":{transaction}}}"#).into()
}

/// Pushes transactions at a node one by one, `pause` apart, each with the time at which it leaves
/// as its first 16 digits: nanoseconds of the clock that the nodes read too. Returns when the last
/// has left; the connection stays as long as the node.
pub(crate) async fn trickle(door: &Door, count: u64, pause: Duration) -> Result<()> {
    let (mut writing, mut reading) = door.open().await?.split();
    tokio::spawn(async move { while let Some(Ok(_)) = reading.next().await {} });
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..count {
        ticks.tick().await;
        writing.send(Message::Text(frame_of(&transaction_with(number, now())))).await?;
    }
    Ok(())
}

/// Nanoseconds of the clock that all processes of this machine share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Pushers that are connected, with their frames made, and wait for the word.
#[derive(Debug)]
pub(crate) struct Pushers {
    go: oneshot::Sender<()>,
    finish: oneshot::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Pushers {
    /// Connects one pusher to each node and parts `count` transactions among them. With `signed`
    /// each pusher has signed its share.
    pub(crate) async fn connect(doors: Vec<Door>, count: u64, signed: bool) -> Result<Self> {
        let (ready, readied) = oneshot::channel();
        let (go, gone) = oneshot::channel();
        let (finish, finished) = oneshot::channel();
        let thread = std::thread::Builder::new().name("pusher".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let shares = doors.len() as u64;
                let numbers = |share| (share..count).step_by(doors.len());
                let frames =
                    (0..shares).map(|share| numbers(share).map(|number| frame(number, share, signed)).collect());
                let frames: Vec<Vec<_>> = frames.collect();
                let sockets = try_join_all(doors.iter().map(Door::open)).await?;
                ready.send(()).map_err(|()| anyhow!("nobody waits for the pushers"))?;
                if gone.await.is_err() {
                    return Ok(());
                }
                let readers =
                    try_join_all(sockets.into_iter().zip(frames).map(|(socket, frames)| push(socket, frames))).await?;
                // The connections stay until nobody can mistake their end for the nodes' work. A
                // dropped sender is that word too.
                finished.await.unwrap_or_default();
                readers.iter().for_each(|reader| reader.abort());
                Ok(())
            })
        })?;
        match readied.await {
            Ok(()) => Ok(Self { go, finish, thread }),
            Err(_) => Err(join(thread).err().unwrap_or_else(|| anyhow!("the pushers are gone")))
                .context("the pushers could not connect"),
        }
    }

    /// Lets them push, as fast as the nodes take it.
    pub(crate) fn go(self) -> Pushing {
        // If they are gone, joining them tells why.
        self.go.send(()).unwrap_or_default();
        Pushing { finish: self.finish, thread: self.thread }
    }
}

/// Pushers at work.
#[derive(Debug)]
pub(crate) struct Pushing {
    finish: oneshot::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Pushing {
    /// Ends them, once the nodes have everything; an error if a node did not take everything.
    pub(crate) fn finish(self) -> Result<()> {
        self.finish.send(()).unwrap_or_default();
        join(self.thread).context("a node did not take all that was pushed at it")
    }
}

fn join(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread.join().map_err(|_| anyhow!("the pushers' thread panicked"))?
}

async fn push(socket: Socket, frames: Vec<Utf8Bytes>) -> Result<tokio::task::JoinHandle<()>> {
    let (mut writing, mut reading) = socket.split();
    // Nothing of interest comes back, but pings must be answered.
    let reader = tokio::spawn(async move { while let Some(Ok(_)) = reading.next().await {} });
    let mut frames = frames.into_iter().map(Message::Text).peekable();
    while frames.peek().is_some() {
        for frame in frames.by_ref().take(FLUSH) {
            writing.feed(frame).await?;
        }
        writing.flush().await?;
    }
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn transactions_have_their_length_and_are_all_different() {
        let texts: HashSet<_> = (0..5_000).map(transaction).collect();
        assert_eq!(texts.len(), 5_000);
        for text in &texts {
            assert_eq!(text.len(), TRANSACTION_BYTES, "{text}");
        }
        let one: serde_json::Value = serde_json::from_str(&transaction(7)).unwrap();
        assert_eq!(one["id"].as_str().unwrap().replace('-', ""), format!("{:032x}", id(7)));
        assert_eq!(one["hash"].as_str().unwrap().len(), 64);
    }

    #[test]
    fn number_and_time_stand_where_the_rivals_look_for_them() {
        let text = transaction_with(7, 0xabc);
        assert!(text.starts_with(r#"{"fromAddress":"0000000000000abc"#), "{text}");
        assert_eq!(&text[155..181], r#","timeStamp":1700000000007"#);
    }

    #[test]
    fn a_signature_is_one_over_the_rest_in_the_order_of_its_keys() {
        use ed25519_dalek::{Signature, VerifyingKey};
        let text = signed(7, 2);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let bytes = |name: &str| -> Vec<u8> {
            let text = value[name].as_str().unwrap();
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let key = VerifyingKey::from_bytes(&bytes("publicKey").try_into().unwrap()).unwrap();
        let amount = text.split(r#""amount":"#).nth(1).unwrap().split(',').next().unwrap();
        let canonical = format!(
            r#"{{"amount":{amount},"fromAddress":{},"hash":{},"id":{},"publicKey":{},"timeStamp":{},"toAddress":{}}}"#,
            value["fromAddress"],
            value["hash"],
            value["id"],
            value["publicKey"],
            value["timeStamp"],
            value["toAddress"]
        );
        let signature = Signature::from_bytes(&bytes("signature").try_into().unwrap());
        key.verify_strict(format!("p2p-node TRANSACTION\n{canonical}").as_bytes(), &signature).unwrap();
    }

    #[test]
    fn the_sum_misses_nobody() {
        assert_eq!(sum_of_ids(3), id(0).wrapping_add(id(1)).wrapping_add(id(2)));
    }
}
