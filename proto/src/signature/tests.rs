use crate::signature::*;

fn claim(body: &str) -> Claim {
    Claim::of(&mut Parser::new(), body).expect(body)
}

fn signed_text(body: &str) -> String {
    match claim(body) {
        Claim::By { canonical, .. } => canonical,
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn a_signature_has_one_spelling() {
    let good = "0123456789abcdef".repeat(8);
    let signature: Signature = good.parse().expect("128 digits");
    assert_eq!(signature.to_string(), good);
    for text in [
        "",
        &good[1..],
        &good[2..],
        &format!("{good}0"),
        &format!("{good}00"),
        &good.to_uppercase(),
        &format!(" {good}"),
        &format!("{} ", &good[1..]),
        &format!("0x{}", &good[2..]),
        &"é".repeat(64),
        &"g".repeat(128),
    ] {
        assert!(text.parse::<Signature>().is_err(), "{text}");
    }
}

#[test]
fn without_both_fields_nothing_is_claimed() {
    let (key, signature) = ("a".repeat(64), "b".repeat(128));
    for body in [
        "{}".to_owned(),
        format!(r#"{{"publicKey":"{key}"}}"#),
        format!(r#"{{"signature":"{signature}"}}"#),
        format!(r#"{{"in":{{"publicKey":"{key}","signature":"{signature}"}}}}"#),
    ] {
        assert_eq!(claim(&body), Claim::None, "{body}");
    }
}

#[test]
fn another_spelling_is_malformed() {
    let (key, signature) = ("a".repeat(64), "b".repeat(128));
    for (key, signature) in [
        (key.to_uppercase(), signature.clone()),
        (key.clone(), signature.to_uppercase()),
        (key[1..].to_owned(), signature.clone()),
        (key.clone(), signature[1..].to_owned()),
        (key.clone(), format!("{signature}00")),
        (format!("{key} "), signature.clone()),
        (String::new(), String::new()),
    ] {
        let body = serde_json::json!({ "publicKey": key, "signature": signature }).to_string();
        assert!(matches!(claim(&body), Claim::Malformed(_)), "{body}");
    }
    for body in [r#"{"publicKey":1,"signature":"b"}"#, r#"{"publicKey":null,"signature":null}"#] {
        assert!(matches!(claim(body), Claim::Malformed(_)), "{body}");
    }
}

#[test]
fn what_is_signed_is_the_rest_in_canonical_form() {
    let (key, signature) = ("a".repeat(64), "b".repeat(128));
    let member = format!(r#""signature":"{signature}""#);
    for (body, canonical) in [
        (format!(r#"{{{member},"publicKey":"{key}"}}"#), format!(r#"{{"publicKey":"{key}"}}"#)),
        (
            format!(r#"{{ "z" : 1e2, {member}, "publicKey":"{key}", "a":{{"b":[1.0], "a":"\u0041"}} }}"#),
            format!(r#"{{"a":{{"a":"A","b":[1]}},"publicKey":"{key}","z":100}}"#),
        ),
        // The same member inside another object stays; so does a text that looks like one.
        (
            format!(r#"{{"publicKey":"{key}","in":{{{member}}},"out":"\"signature\":",{member}}}"#),
            format!(r#"{{"in":{{{member}}},"out":"\"signature\":","publicKey":"{key}"}}"#),
        ),
        // Keys count without their escapes; of two the last value is signed or signs.
        (
            format!(r#"{{"public\u004bey":"{key}","signature":1,"\u0073ignature":"{signature}"}}"#),
            format!(r#"{{"publicKey":"{key}"}}"#),
        ),
    ] {
        assert_eq!(signed_text(&body), canonical, "{body}");
    }
}

#[test]
fn each_purpose_has_a_line_of_its_own() {
    for (purpose, prefix) in [
        (Purpose::Transaction, "p2p-node TRANSACTION\n"),
        (Purpose::Announce, "p2p-node ANNOUNCE\n"),
        (Purpose::Broadcast, "p2p-node BROADCAST\n"),
    ] {
        assert_eq!(purpose.prefix(), prefix);
        assert_eq!(purpose.message("{}"), format!("{prefix}{{}}").into_bytes());
    }
}

#[test]
fn a_signature_is_short_in_logs() {
    let signature = Signature([0xab; 64]);
    assert_eq!(format!("{signature:?}"), "Signature(abababab)");
    let error = "x".parse::<Signature>().expect_err("no signature").to_string();
    assert_eq!(error, "expected a signature: 128 lower-case hexadecimal digits");
}

#[test]
fn unsigned_nodes_sign_nothing_and_believe_everything() {
    assert_eq!(Unsigned.sign(Purpose::Announce, "{}"), None);
    assert!(Unsigned.vouches(NodeId([1; 32]), Purpose::Announce, None));
}

#[test]
fn a_key_has_one_spelling() {
    assert_eq!(node_of(&"ab".repeat(32)), Some(NodeId([0xab; 32])));
    assert_eq!(node_of(&"AB".repeat(32)), None);
    assert_eq!(node_of("ab"), None);
}

#[test]
fn a_claim_says_who_signed_and_what_is_wrong() {
    let (key, signature) = ("a".repeat(64), "b".repeat(128));
    let body = format!(r#"{{"signature":"{signature}","publicKey":"{key}"}}"#);
    let expected = Claim::By {
        key: NodeId([0xaa; 32]),
        signature: Signature([0xbb; 64]),
        canonical: format!(r#"{{"publicKey":"{key}"}}"#),
    };
    assert_eq!(claim(&body), expected);
    let malformed =
        |key: &str, signature: &str| claim(&format!(r#"{{"publicKey":"{key}","signature":"{signature}"}}"#));
    let why = "its publicKey is not 64 lower-case hexadecimal digits";
    assert_eq!(malformed("x", "y"), Claim::Malformed(why));
    let why = "its signature is not 128 lower-case hexadecimal digits";
    assert_eq!(malformed(&key, "y"), Claim::Malformed(why));
    assert!(Claim::of(&mut Parser::new(), "{").is_err());
    assert!(Claim::of(&mut Parser::new(), &format!(r#"{{"n":1e400,{}"#, &body[1..])).is_err());
    let nested = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert!(Claim::of(&mut Parser::new(), &nested(limits::JSON_DEPTH - 2)).is_ok());
    assert!(Claim::of(&mut Parser::new(), &nested(limits::JSON_DEPTH - 1)).is_err(), "a frame is a level too");
}

#[test]
fn the_member_is_cut_out_wherever_it_is() {
    let mut parser = Parser::new();
    for (canonical, rest) in [
        (r#"{"signature":1}"#, "{}"),
        (r#"{"a":1,"signature":{"b":[2]}}"#, r#"{"a":1}"#),
        (r#"{"signature":"x","z":1}"#, r#"{"z":1}"#),
        (r#"{"a":1,"signature":[],"z":1}"#, r#"{"a":1,"z":1}"#),
        (r#"{"a":1}"#, r#"{"a":1}"#),
    ] {
        assert_eq!(without_signature(parser.parse(canonical).expect("JSON"), canonical), rest);
    }
}
