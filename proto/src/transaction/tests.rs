use crate::transaction::*;

fn transaction(text: &str) -> Transaction {
    Transaction::parse(&mut Parser::new(), text).expect(text)
}

fn refused(text: &str) -> InvalidTransaction {
    Transaction::parse(&mut Parser::new(), text).expect_err(text)
}

#[test]
fn the_identity_is_the_hash_of_the_canonical_json() {
    let hash = TransactionId(Sha256::digest(br#"{"a":1,"b":[1,{"x":"\n"}]}"#).into());
    for text in [
        r#"{"b":[1,{"x":"\n"}],"a":1}"#,
        r#"{"a":1.0,"b":[10e-1,{"x":"\u000a"}]}"#,
        "{ \"a\":7,\"\\u0062\":[1,{\"x\":\"\\n\"}],\n\"a\":1 }",
    ] {
        assert_eq!(transaction(text).id(), hash, "{text}");
    }
    assert_ne!(transaction(r#"{"a":1}"#).id(), transaction(r#"{"a":"1"}"#).id());
    assert_eq!(hash.to_string().parse(), Ok(hash));
    assert_eq!(format!("{hash:?}"), format!("TransactionId({})", &hash.to_string()[..8]));
}

#[test]
fn the_body_keeps_the_order_of_keys_and_the_frame_holds_it() {
    let transaction = transaction("{ \"b\" : 1.50, \"a\" : \"\\u00e9\" }");
    assert_eq!(transaction.body(), r#"{"b":1.5,"a":"é"}"#);
    assert_eq!(transaction.frame().as_str(), r#"{"type":"TRANSACTION","data":{"b":1.5,"a":"é"}}"#);
}

#[test]
fn an_origin_travels_in_the_frame() {
    let plain = transaction(r#"{"b":1,"a":2}"#);
    for origin in ["plain:ws://localhost:4001", "plain:ws://[::1]:65535", &"0a".repeat(32)] {
        let origin: Origin = origin.parse().expect(origin);
        let sent = plain.with_origin(&origin);
        assert_eq!(
            sent.frame().as_str(),
            format!(r#"{{"type":"TRANSACTION","data":{{"b":1,"a":2}},"from":"{origin}"}}"#)
        );
        assert_eq!((sent.id(), sent.time(), sent.body()), (plain.id(), plain.time(), plain.body()));
        let mut parser = Parser::new();
        let value = parser.parse(plain.body()).expect("JSON");
        assert_eq!(Transaction::from_value(value, Some(&origin)).expect("a transaction").frame(), sent.frame());
    }
}

#[test]
fn the_time_is_an_order_only() {
    for (time, seconds) in [
        ("0", 0),
        ("-0", 0),
        ("-1", 0),
        ("1.9", 1),
        ("1731234567", 1_731_234_567),
        ("1731234567890", 1_731_234_567),
        ("99999999999", 99_999_999_999),
        ("100000000000", 100_000_000),
        ("1731234567890.5", 1_731_234_567),
        ("9007199254740991", 9_007_199_254_740),
        ("9007199254740992", 0),
        ("1e300", 0),
        ("\"1731234567\"", 0),
        ("null", 0),
        ("[5]", 0),
        ("1,\"timeStamp\":2", 2),
        ("2,\"time\\u0053tamp\":\"\"", 0),
    ] {
        assert_eq!(transaction(&format!(r#"{{"timeStamp":{time}}}"#)).time(), seconds, "{time}");
    }
    assert_eq!(transaction("{}").time(), 0);
}

#[test]
fn what_is_no_object_says_what_it_is() {
    for (text, name) in [
        ("[1]", "an array"),
        ("1", "a number"),
        ("\"{}\"", "a string"),
        ("true", "true"),
        ("false", "false"),
        ("null", "null"),
    ] {
        assert_eq!(refused(text), InvalidTransaction::NotAnObject(name));
    }
    assert_eq!(refused("[]").to_string(), r#"a transaction is a JSON object, as in {"amount":1}; this is an array"#);
}

#[test]
fn what_javascript_would_change_is_refused() {
    let error = refused(r#"{"amount":12345678901234567891}"#).to_string();
    assert!(error.contains("12345678901234567891") && error.contains("write it as a text"), "{error}");
    assert!(matches!(refused(r#"{"a":"\ud800"}"#), InvalidTransaction::Json(JsonError::LoneSurrogate { .. })));
    assert!(matches!(refused("{"), InvalidTransaction::Json(JsonError::Unexpected { .. })));
}

#[test]
fn the_limit_counts_the_body_not_the_text() {
    let filler = "x".repeat(limits::TRANSACTION_BYTES - r#"{"a":""}"#.len());
    let spaced = format!("{{ \"a\" : \"{filler}\" }}");
    assert_eq!(transaction(&spaced).body().len(), limits::TRANSACTION_BYTES);
    assert_eq!(
        refused(&format!("{{\"a\":\"{filler}x\"}}")),
        InvalidTransaction::TooLong(limits::TRANSACTION_BYTES + 1)
    );
}

#[test]
fn a_transaction_that_is_accepted_is_accepted_again_from_its_frame() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    let deepest = transaction(&nested(limits::JSON_DEPTH - 1));
    let mut parser = Parser::new();
    let frame = parser.parse(deepest.frame().as_str()).expect("its frame is readable");
    let again = Transaction::from_value(frame.get("data").expect("data"), None).expect("a transaction");
    assert_eq!((again.id(), again.frame()), (deepest.id(), deepest.frame()));
    assert!(matches!(refused(&nested(limits::JSON_DEPTH)), InvalidTransaction::Json(JsonError::TooDeep { .. })));
}
