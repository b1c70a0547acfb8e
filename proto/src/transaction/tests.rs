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

#[test]
fn an_id_is_64_digits() {
    let id = TransactionId([0xab; 32]);
    assert_eq!(id.to_string(), "ab".repeat(32));
    let error = "x".parse::<TransactionId>().expect_err("no id").to_string();
    assert_eq!(error, "expected a transaction's identity: 64 hexadecimal digits");
}

#[test]
fn only_the_first_eight_bytes_of_an_id_are_hashed() {
    #[derive(Default)]
    struct Seen(Vec<u64>);
    impl Hasher for Seen {
        fn write(&mut self, _: &[u8]) {
            unreachable!("one number is enough")
        }
        fn write_u64(&mut self, number: u64) {
            self.0.push(number);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut bytes = [0; 32];
    bytes[..9].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let mut seen = Seen::default();
    TransactionId(bytes).hash(&mut seen);
    assert_eq!(seen.0, [u64::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 8])]);
}

#[test]
fn an_origin_is_read_as_it_was_written() {
    let address: PeerAddress = "ws://localhost:4001".parse().expect("an address");
    for (origin, text) in [
        (Origin::Node(NodeId([0xab; 32])), "ab".repeat(32)),
        (Origin::Exercise(address), "plain:ws://localhost:4001".to_owned()),
    ] {
        assert_eq!((origin.to_string(), text.parse()), (text.clone(), Ok(origin.clone())));
        let mut pushed = "x".to_owned();
        origin.push_to(&mut pushed);
        assert_eq!((pushed, origin.text_len()), (format!("x{text}"), text.len()));
    }
    for (text, error) in [
        ("plain:localhost:4001", "expected an origin: plain:<address>"),
        ("ws://localhost:4001", "expected a node id: 64 hexadecimal digits"),
    ] {
        assert_eq!(text.parse::<Origin>().expect_err(text).to_string(), error);
    }
}

#[test]
fn the_origin_of_a_frame_is_read_from_its_end() {
    let bare = transaction(r#"{"from":"b","a":",\"from\":\"c"}"#);
    assert_eq!(origin_text_of_frame(bare.frame().as_str()), None);
    let origin = Origin::Node(NodeId([0xab; 32]));
    let frame = bare.with_origin(&origin);
    assert_eq!(origin_text_of_frame(frame.frame().as_str()), Some(&*"ab".repeat(32)));
    assert_eq!(origin_of_frame(frame.frame().as_str()), Some(origin));
    assert_eq!(origin_of_frame(r#"{"data":{},"from":"somebody"}"#), None);
    for text in ["", "{}", r#"{"data":{}}"#, r#"{"from":"x"}"#] {
        assert_eq!(origin_text_of_frame(text), None, "{text}");
    }
}

#[test]
fn only_what_would_otherwise_be_a_transaction_is_refused_by_its_id() {
    let id = TransactionId([1; 32]);
    for (error, known) in [
        (InvalidTransaction::Refused { id, reason: "why".into() }, true),
        (InvalidTransaction::Unsigned { id }, true),
        (InvalidTransaction::Forged { id, why: "why" }, true),
        (InvalidTransaction::NotAnObject("an array"), false),
        (InvalidTransaction::TooLong(9), false),
        (InvalidTransaction::Json(JsonError::Empty), false),
    ] {
        assert_eq!(error.id(), known.then_some(id), "{error}");
    }
    let body = transaction(r#"{"a":"é"}"#);
    assert_eq!((body.body_bytes(), body.body().len()), (10, 10));
}
