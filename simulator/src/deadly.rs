//! What a node of the exercise may be sent. Each of the public solutions dies of something else; what is let through here, all of them survive.

use meshpool_proto::address::PeerAddress;
use serde_json::Value;

/// Why a frame would kill one of the exercise's nodes, in words; `None`: none dies of it. `heard`: it comes on a link that the node accepted; on those that it dialled
/// nothing may be sent, for one of the solutions reads there and others do not.
pub fn why(text: &str, heard: bool) -> Option<String> {
    if !heard {
        return Some("a frame on a link that it dialled".to_owned());
    }
    let Ok(Value::Object(frame)) = serde_json::from_str(text) else {
        return Some("a text that is no JSON object".to_owned());
    };
    match (frame.get("type").and_then(Value::as_str), frame.get("data")) {
        (Some("HANDSHAKE"), Some(Value::Array(addresses))) => addresses.iter().find_map(|address| {
            let address = address.as_str().unwrap_or_default();
            // An address is told as it is spelled in full: without a slash at its end.
            let told = address.parse::<PeerAddress>().is_ok_and(|parsed| parsed.to_string() == address);
            (!told).then(|| format!("a HANDSHAKE with the address {address:?}"))
        }),
        (Some("TRANSACTION"), Some(Value::Object(_))) => None,
        (kind, _) => Some(format!("a message of the type {kind:?}, or with data of another kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::why;

    #[test]
    fn what_the_exercises_nodes_die_of_is_known() {
        let fine = [
            r#"{"type":"HANDSHAKE","data":[]}"#,
            r#"{"type":"HANDSHAKE","data":["ws://localhost:4001"],"node":{"id":"00"}}"#,
            r#"{"type":"TRANSACTION","data":{"hash":"ab"},"from":"x"}"#,
        ];
        assert_eq!(fine.map(|text| why(text, true)), [None, None, None]);
        assert!(why(fine[0], false).is_some());
        for deadly in [
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
            assert!(why(deadly, true).is_some(), "{deadly}");
        }
    }
}
