//! What an exercise peer may be sent. Each public solution crashes on something else; what passes
//! here is safe for all of them.

use meshpool_proto::address::PeerAddress;
use serde_json::Value;

/// Returns what in a frame names a node id as an address. Exercise peers only know `ws://`.
pub fn told_id(text: &str) -> Option<&str> {
    let at = text.find("\"iroh:")?;
    text.get(at..).map(|rest| rest.split_inclusive('"').nth(1).unwrap_or(rest))
}

/// Returns why a frame would crash an exercise peer. `accepted`: it arrives on a link that the peer
/// accepted; on links that it dialled nothing may be sent, because one solution reads there.
pub fn crash_cause(text: &str, accepted: bool) -> Option<String> {
    if !accepted {
        return Some("a frame on a link that it dialled".to_owned());
    }
    let Ok(Value::Object(frame)) = serde_json::from_str(text) else {
        return Some("a text that is no JSON object".to_owned());
    };
    match (frame.get("type").and_then(Value::as_str), frame.get("data")) {
        (Some("HANDSHAKE"), Some(Value::Array(addresses))) => addresses.iter().find_map(|address| {
            let address = address.as_str().unwrap_or_default();
            // Addresses are sent in their normal form: without a slash at the end.
            let is_normal = address.parse::<PeerAddress>().is_ok_and(|parsed| parsed.to_string() == address);
            (!is_normal).then(|| format!("a HANDSHAKE with the address {address:?}"))
        }),
        (Some("TRANSACTION"), Some(Value::Object(_))) => None,
        (kind, _) => Some(format!("a message of type {kind:?}, or one whose data has another type")),
    }
}

#[cfg(test)]
mod tests {
    use super::{crash_cause, told_id};

    #[test]
    fn node_ids_are_seen_wherever_they_are() {
        assert_eq!(told_id(r#"{"type":"HANDSHAKE","data":["ws://localhost:4001"]}"#), None);
        let texts = [
            r#"{"type":"HANDSHAKE","data":["ws://localhost:4001","iroh:ab@r:1"]}"#,
            r#"{"type":"HANDSHAKE","data":[],"node":{"address":"iroh:ab@r:1"}}"#,
        ];
        assert_eq!(texts.map(told_id), [Some("iroh:ab@r:1\""); 2]);
    }

    #[test]
    fn what_crashes_exercise_peers_is_known() {
        let fine = [
            r#"{"type":"HANDSHAKE","data":[]}"#,
            r#"{"type":"HANDSHAKE","data":["ws://localhost:4001"],"node":{"id":"00"}}"#,
            r#"{"type":"TRANSACTION","data":{"hash":"ab"},"from":"x"}"#,
        ];
        assert_eq!(fine.map(|text| crash_cause(text, true)), [None, None, None]);
        assert!(crash_cause(fine[0], false).is_some());
        for harmful in [
            "no JSON",
            "null",
            r#"{"type":"HANDSHAKE"}"#,
            r#"{"type":"HANDSHAKE","data":["http://localhost:4001"]}"#,
            r#"{"type":"HANDSHAKE","data":["ws://localhost:4001/"]}"#,
            r#"{"type":"HANDSHAKE","data":["ws://localhost:4001#there"]}"#,
            r#"{"type":"HANDSHAKE","data":[1]}"#,
            r#"{"type":"TRANSACTION","data":[]}"#,
            r#"{"type":"DECLINED","data":["ws://localhost:4001"]}"#,
            r#"{"type":"PEERS","data":[]}"#,
        ] {
            assert!(crash_cause(harmful, true).is_some(), "{harmful}");
        }
    }
}
