//! As much of DER as certificates and requests of ours need: who is in it, until when it holds, what was signed.
//!
//! What is read here was either checked against the authority before, or is a file of the person who runs the node; a wrong one reads as `None`.

use std::time::{Duration, SystemTime};

use ed25519_dalek::{Signature, VerifyingKey};

use crate::protocol::id::NodeId;

/// What stands before the 32 bytes of an ed25519 key in a SubjectPublicKeyInfo (RFC 8410, section 4).
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version of a certificate: `[0]`.
const VERSION: u8 = 0xa0;

/// What a certificate says (RFC 5280, section 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Whose it is: its key.
    pub(crate) node: NodeId,
    /// The subject's common name, with its tag and length left out.
    pub(crate) name: String,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

/// Reads a certificate; `None` if it is none, or its key is no ed25519 key.
pub(crate) fn certificate(der: &[u8]) -> Option<Facts> {
    let (certificate, _) = take(der, SEQUENCE)?;
    let (mut rest, _) = take(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = take(rest, VERSION)?.1;
    }
    rest = take(rest, INTEGER)?.1;
    // The algorithm and the issuer.
    rest = take(rest, SEQUENCE)?.1;
    rest = take(rest, SEQUENCE)?.1;
    let (validity, rest) = take(rest, SEQUENCE)?;
    let (not_before, validity) = time(validity)?;
    let (not_after, _) = time(validity)?;
    let (subject, rest) = take(rest, SEQUENCE)?;
    Some(Facts { node: key(rest)?, name: common_name(subject)?, not_before, not_after })
}

/// Reads a request for a certificate (RFC 2986, section 4) and checks that its key signed it; `None` if it is none of ours.
pub(crate) fn request(der: &[u8]) -> Option<NodeId> {
    let (request, _) = take(der, SEQUENCE)?;
    let (info, rest) = take(request, SEQUENCE)?;
    let signed = &request[..request.len() - rest.len()];
    let info = take(info, INTEGER)?.1;
    let node = key(take(info, SEQUENCE)?.1)?;
    let (signature, _) = take(take(rest, SEQUENCE)?.1, BIT_STRING)?;
    let signature = Signature::from_slice(signature.strip_prefix(&[0])?).ok()?;
    VerifyingKey::from_bytes(&node.0).ok()?.verify_strict(signed, &signature).ok()?;
    Some(node)
}

/// The key at the start of `bytes`, a SubjectPublicKeyInfo.
fn key(bytes: &[u8]) -> Option<NodeId> {
    bytes.strip_prefix(&ED25519)?.first_chunk().map(|key| NodeId(*key))
}

/// The first text of a name: ours have one.
fn common_name(subject: &[u8]) -> Option<String> {
    let (set, _) = take(subject, SET)?;
    let (pair, _) = take(set, SEQUENCE)?;
    const OID: u8 = 0x06;
    let text = take(pair, OID)?.1;
    let (text, _) = take(text, *text.first()?)?;
    String::from_utf8(text.to_vec()).ok()
}

/// Takes one value with this tag: its content, and what follows it.
fn take(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], mut rest) = bytes.split_first_chunk()?;
    let mut long = usize::from(length);
    if length >= 0x80 {
        let count = usize::from(length & 0x7f);
        // Nothing that is read here has 16 MiB.
        let digits = rest.get(..count).filter(|_| (1..=3).contains(&count))?;
        long = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        rest = &rest[count..];
    }
    (found == tag && long <= rest.len()).then(|| rest.split_at(long))
}

/// A time, of whole seconds and in UTC as RFC 5280 wants it (section 4.1.2.5), and what follows it.
fn time(bytes: &[u8]) -> Option<(SystemTime, &[u8])> {
    let tag = *bytes.first()?;
    let (text, rest) = take(bytes, tag)?;
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    let (year, rest_of_it) = match tag {
        UTC_TIME if digits.len() == 12 => {
            let year = number(&digits[..2]);
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        GENERALIZED_TIME if digits.len() == 14 => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let part = |index: usize| number(&rest_of_it[2 * index..2 * index + 2]);
    let days = days_since_1970(year, part(0), part(1))?;
    let seconds = days * 86_400 + part(2) * 3_600 + part(3) * 60 + part(4);
    Some((SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), rest))
}

/// How many days a date of the Gregorian calendar lies after 1970-01-01; `None` for one before it.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the day that comes every fourth year is their last.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year;
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_a_calendar() {
        for (text, seconds) in [
            (&b"\x17\x0d700101000000Z"[..], 0),
            (b"\x17\x0d261121162355Z", 1_795_278_235),
            (b"\x17\x0d240229235959Z", 1_709_251_199),
            (b"\x18\x0f20500101000000Z", 2_524_608_000),
            (b"\x18\x0f21000301000000Z", 4_107_542_400),
        ] {
            let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(time(text), Some((expected, &[][..])), "{}", text.escape_ascii());
        }
        for bad in [
            &b"\x17\x0d261321162355Z"[..],
            b"\x17\x0c261121162355",
            b"\x17\x0d2611211623+5Z",
            b"\x18\x0d261121162355Z",
            b"",
        ] {
            assert_eq!(time(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn what_is_cut_short_is_none() {
        for bytes in [&b""[..], b"\x30", b"\x30\x05\x02", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x30\x82\x01"] {
            assert_eq!(take(bytes, SEQUENCE), None, "{}", bytes.escape_ascii());
            assert_eq!(certificate(bytes), None);
            assert_eq!(request(bytes), None);
        }
    }
}
