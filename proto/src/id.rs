//! The ids of a node, of one run of its process, and of a connection.
//!
//! Each is a newtype: it is parsed once, where it enters the program.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use data_encoding::HEXLOWER;
use uuid::Uuid;

/// The id of a node: its ed25519 public key, 32 bytes, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub [u8; 32]);

/// Each transaction is looked up by its origin several times.
impl Hash for NodeId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_start(&self.0, state);
    }
}

/// Hashes the first eight bytes of an id alone: finding another id that shares them takes 2^64
/// attempts.
pub(crate) fn hash_start(id: &[u8; 32], state: &mut impl Hasher) {
    let [a, b, c, d, e, f, g, h, ..] = *id;
    state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
}

impl NodeId {
    /// Returns the first eight hexadecimal digits, for logs.
    pub fn short(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0[..4])
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.short())
    }
}

/// A text that is not the id that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct InvalidId {
    /// What the text should be, for people.
    pub expected: &'static str,
}

impl FromStr for NodeId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex32(text).map(Self).ok_or(InvalidId { expected: "a node id: 64 hexadecimal digits" })
    }
}

/// Reads 64 hexadecimal digits, in lower or upper case; returns `None` for anything else.
///
/// Each transaction has its origin in hexadecimal digits. This loop and that of `push_hex32` have
/// no branch and no table, so the compiler makes vector instructions of them: half the time of
/// `data_encoding`.
pub fn parse_hex32(text: &str) -> Option<[u8; 32]> {
    let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let (mut bytes, mut all) = ([0; 32], 0);
    for (n, byte) in bytes.iter_mut().enumerate() {
        let (high, low) = (digit(text[2 * n]), digit(text[2 * n + 1]));
        all |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    (all < 16).then_some(bytes)
}

/// Returns the value of a hexadecimal digit; 255 for anything else.
#[inline]
fn digit(byte: u8) -> u8 {
    let (number, letter) = (byte.wrapping_sub(b'0'), (byte | 0x20).wrapping_sub(b'a'));
    if number < 10 {
        number
    } else if letter < 6 {
        letter + 10
    } else {
        u8::MAX
    }
}

/// Appends 64 lower-case hexadecimal digits.
pub(crate) fn push_hex32(bytes: &[u8; 32], out: &mut String) {
    let mut text = [0; 64];
    for (n, byte) in bytes.iter().enumerate() {
        for (place, value) in [(2 * n, byte >> 4), (2 * n + 1, byte & 0xf)] {
            text[place] = b'0' + value + if value < 10 { 0 } else { b'a' - b'0' - 10 };
        }
    }
    out.push_str(std::str::from_utf8(&text).expect("digits are ASCII"));
}

/// One run of a node's process: a random UUID (version 4). A connection to a node with our own
/// session leads to ourselves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub Uuid);

impl Session {
    /// Makes a session of 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.0)
    }
}

impl FromStr for Session {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidId { expected: "a session: a UUID" })
    }
}

/// The id of a connection. It is never reused within a process: a late input about a closed link
/// cannot be taken for one about a new link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.0)
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity in a native peer's answer to a WebSocket upgrade, in the header
/// [`UpgradeIdentity::HEADER`]: `<node id>/<session>`. The dialling node recognises itself, and
/// nodes that it is linked to, before it sends anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpgradeIdentity {
    /// The id of the node.
    pub node: NodeId,
    /// Its session.
    pub session: Session,
}

impl UpgradeIdentity {
    /// The name of the header.
    pub const HEADER: &'static str = "p2p-node";
}

/// A random number that is used for one connection. A signature that covers it cannot be one of
/// another connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; 32]);

impl Nonce {
    /// The name of the header with the acceptor's nonce, in the answer to an upgrade.
    pub const HEADER: &'static str = "p2p-node-nonce";
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEXLOWER.encode_mut_str(&self.0, &mut [0; 64]))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({})", HEXLOWER.encode_display(&self.0[..4]))
    }
}

impl FromStr for Nonce {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        // `decode_mut` panics if the length is wrong.
        let decoded = text.len() == 64 && HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).is_ok();
        decoded.then_some(Self(bytes)).ok_or(InvalidId { expected: "a nonce: 64 lower-case hexadecimal digits" })
    }
}

impl fmt::Display for UpgradeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.session)
    }
}

impl FromStr for UpgradeIdentity {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (node, session) = text.split_once('/').ok_or(InvalidId { expected: "an identity: <node id>/<session>" })?;
        Ok(Self { node: node.parse()?, session: session.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER_PERMISSIVE;

    use super::*;

    #[test]
    fn an_upgrade_identity_is_read_as_it_was_written() {
        let identity = UpgradeIdentity { node: NodeId([7; 32]), session: Session::from_random([3; 16]) };
        assert_eq!(identity.to_string().parse(), Ok(identity));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "00", &"g".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
            assert!(text.parse::<UpgradeIdentity>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_shown_in_lower_case_and_short_in_logs() {
        let mut id = NodeId([0xab; 32]);
        id.0[4] = 0;
        assert_eq!(id.to_string(), format!("abababab00{}", "ab".repeat(27)));
        assert_eq!((id.short(), format!("{id:?}")), ("abababab".to_owned(), "NodeId(abababab)".to_owned()));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        let error = "x".parse::<NodeId>().expect_err("no id").to_string();
        assert_eq!(error, "expected a node id: 64 hexadecimal digits");
        let session = Session::from_random([0xff; 16]);
        assert_eq!(session.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff", "a version 4 UUID");
        assert_eq!(format!("{session:?}"), format!("Session({session})"));
        assert_eq!(session.to_string().parse(), Ok(session));
        assert_eq!("x".parse::<Session>().expect_err("no session").to_string(), "expected a session: a UUID");
        assert_eq!((LinkId(7).to_string(), format!("{:?}", LinkId(7))), ("7".to_owned(), "link 7".to_owned()));
    }

    #[test]
    fn an_upgrade_identity_is_an_id_and_a_session() {
        let identity = UpgradeIdentity { node: NodeId([7; 32]), session: Session::from_random([3; 16]) };
        assert_eq!(identity.to_string(), format!("{}/{}", identity.node, identity.session));
        let (node, session) = (identity.node.to_string(), identity.session.to_string());
        for text in [node.clone(), format!("{node}/"), format!("{node}/{session}/"), format!("/{session}")] {
            assert!(text.parse::<UpgradeIdentity>().is_err(), "{text}");
        }
        assert_eq!(UpgradeIdentity::HEADER, "p2p-node");
    }

    #[test]
    fn a_nonce_has_one_spelling() {
        let nonce = Nonce([0xab; 32]);
        assert_eq!((nonce.to_string(), format!("{nonce:?}")), ("ab".repeat(32), "Nonce(abababab)".to_owned()));
        assert_eq!(nonce.to_string().parse(), Ok(nonce));
        for text in ["", &"ab".repeat(31), &"ab".repeat(33), &"AB".repeat(32), &"xy".repeat(32), &"é".repeat(32)] {
            let error = text.parse::<Nonce>().expect_err("no nonce").to_string();
            assert_eq!(error, "expected a nonce: 64 lower-case hexadecimal digits", "{text}");
        }
        assert_eq!(Nonce::HEADER, "p2p-node-nonce");
    }

    #[test]
    fn hexadecimal_digits_are_64_in_either_case() {
        let mut bytes = [0; 32];
        bytes[0] = 0x1f;
        bytes[31] = 0xa0;
        let text = format!("1F{}a0", "0".repeat(60));
        assert_eq!(parse_hex32(&text), Some(bytes));
        for text in [&text[1..], &format!("{text}0"), &format!("{text}00"), &text.replace('F', "x")] {
            assert_eq!(parse_hex32(text), None, "{text}");
        }
    }

    #[test]
    fn each_digit_at_each_place_is_read_and_written_as_the_library_does() {
        for (place, byte) in (0..64).flat_map(|place| (0..128).map(move |byte| (place, byte))) {
            let mut text = [b'3'; 64];
            text[place] = byte;
            let text = std::str::from_utf8(&text).expect("ASCII");
            let expected = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
            assert_eq!(parse_hex32(text).map(Vec::from), expected, "{text}");
        }
        assert_eq!(parse_hex32(&"é".repeat(32)), None);
        for byte in 0..=u8::MAX {
            let bytes: [u8; 32] = std::array::from_fn(|n| byte.wrapping_mul(n as u8 | 1));
            let mut text = "x".to_owned();
            push_hex32(&bytes, &mut text);
            assert_eq!(text, format!("x{}", HEXLOWER.encode(&bytes)));
        }
    }
}
