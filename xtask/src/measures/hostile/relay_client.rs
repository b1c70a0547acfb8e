//! A client of the relay that a node serves, as far as an attacker needs it: the proof of a key,
//! and frames. The protocol is that of the crate `iroh-relay`, version 2.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Result, ensure};
use iroh::{PublicKey, SecretKey};

use crate::measures::hostile::maker::Maker;
use crate::support::testbed::frames;

/// The header of the upgrade to the relay's subprotocol.
pub(crate) const HEADER: &str = "Sec-WebSocket-Protocol: iroh-relay-v2\r\n";
/// How many clients of one address a relay serves.
pub(crate) const PLACES: u64 = 4;

/// The first byte of a WebSocket frame that is a whole binary message.
const BINARY: u8 = 0x82;
/// The kinds of frames of the relay's protocol.
const CLIENT_AUTH: u8 = 1;
const SERVER_CONFIRMS_AUTH: u8 = 2;
const DATAGRAM: u8 = 4;
/// The length of a short WebSocket frame's head, with the kind of the relay's frame in it.
const HEAD: usize = 3;
/// The length of the relay's challenge.
const CHALLENGE: usize = 16;
/// What is signed is derived from the challenge under this name.
const CONTEXT: &str = "iroh-relay handshake v1 challenge signature";

/// Returns the key of a client.
fn key(number: u64) -> SecretKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    SecretKey::from_bytes(&bytes)
}

/// Returns the id of the client that the client `number` sends to.
pub(crate) fn neighbour(number: u64) -> PublicKey {
    key((number + 1) % PLACES).public()
}

/// Returns an id that nobody has. The relay does not know that before it has looked for it.
pub(crate) fn invented(maker: &mut Maker) -> PublicKey {
    loop {
        // Every second number is a point of the curve.
        if let Ok(id) = PublicKey::from_bytes(&maker.bytes()) {
            return id;
        }
    }
}

/// Appends a datagram.
pub(crate) fn datagram(out: &mut Vec<u8>, to: &PublicKey, bytes: usize) {
    out.extend(frames::frame(BINARY, &datagram_frame(to, bytes)));
}

/// Appends a datagram as a message in thousands of pieces, of which most have no byte.
pub(crate) fn datagram_in_pieces(out: &mut Vec<u8>, to: &PublicKey) {
    out.extend(frames::frame(0x02, &datagram_frame(to, 1)));
    for _ in 0..10_000 {
        out.extend(frames::frame(0x00, b""));
    }
    out.extend(frames::frame(0x80, b""));
}

fn datagram_frame(to: &PublicKey, bytes: usize) -> Vec<u8> {
    // Behind the id, the bits of explicit congestion notification.
    [&[DATAGRAM], to.as_bytes().as_slice(), &[0], &vec![b'x'; bytes]].concat()
}

/// Appends a proof whose signature is wrong.
pub(crate) fn false_proof(out: &mut Vec<u8>) {
    out.extend(proof(&key(0), b"another challenge"));
}

/// Makes the frame that proves a key: the id and the signature, each with its length if that is not
/// fixed.
fn proof(key: &SecretKey, challenge: &[u8]) -> Vec<u8> {
    let signature = key.sign(&blake3::derive_key(CONTEXT, challenge)).to_bytes();
    let length = signature.len() as u8;
    frames::frame(BINARY, &[&[CLIENT_AUTH], key.public().as_bytes().as_slice(), &[length], &signature].concat())
}

/// Proves the key of client `number` on a connection whose upgrade was requested.
///
/// # Errors
/// The relay has no place, or the connection ends.
pub(crate) fn prove(stream: &mut TcpStream, number: u64) -> Result<()> {
    let mut answer = Vec::new();
    let challenge = loop {
        let mut bytes = [0; 1024];
        let read = stream.read(&mut bytes)?;
        ensure!(read > 0, "the node closed the connection");
        answer.extend(&bytes[..read]);
        if let Some(challenge) = challenge(&answer) {
            break challenge;
        }
    };
    stream.write_all(&proof(&key(number), challenge))?;
    let mut head = [0; HEAD];
    stream.read_exact(&mut head)?;
    ensure!(head[HEAD - 1] == SERVER_CONFIRMS_AUTH, "the relay refused the client");
    Ok(())
}

/// Returns the challenge, which follows the answer to the upgrade, once it is there.
fn challenge(answer: &[u8]) -> Option<&[u8]> {
    const END: &[u8] = b"\r\n\r\n";
    let end = answer.windows(END.len()).position(|bytes| bytes == END)? + END.len();
    answer.get(end + HEAD..end + HEAD + CHALLENGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_found_once_all_of_it_has_come() {
        let answer = [b"HTTP/1.1 101 x\r\nA: b\r\n\r\n\x82\x11\0".as_slice(), &[5; CHALLENGE]].concat();
        assert_eq!(challenge(&answer), Some([5; CHALLENGE].as_slice()));
        for length in 0..answer.len() {
            assert_eq!(challenge(&answer[..length]), None, "{length}");
        }
    }

    #[test]
    fn datagrams_go_round_among_the_clients() {
        let ids: Vec<_> = (0..PLACES).map(|number| key(number).public()).collect();
        let to: Vec<_> = (0..PLACES).map(neighbour).collect();
        assert_eq!(to, [&ids[1..], &ids[..1]].concat());
    }
}
