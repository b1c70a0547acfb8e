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
