//! The grammar, the cursor and the normal forms, in tables.

mod parts;
mod properties;

use std::borrow::Cow;

use crate::json::token::Token;
use crate::json::*;
use crate::limits;

fn canonical(text: &str) -> Result<String, JsonError> {
    let mut parser = Parser::new();
    let normal = parser.parse(text)?.normal()?;
    Ok(normal.canonical().to_owned())
}

fn compact(text: &str) -> Result<String, JsonError> {
    let mut parser = Parser::new();
    let mut out = String::new();
    parser.parse(text)?.normal()?.write_compact(&mut out);
    Ok(out)
}

fn pretty(compact: &str, indent: usize) -> String {
    let mut out = Vec::new();
    write_pretty(compact, indent, &mut out);
    String::from_utf8(out).expect("UTF-8 in, UTF-8 out")
}

#[test]
fn what_is_json_is_read() {
    for text in [
        "null",
        " true\t",
        "\r\nfalse\n",
        "0",
        "-0",
        "-0.0e+00",
        "10",
        "1.5E-3",
        "1e400",
        "\"\"",
        r#""\"\\\/\b\f\n\r\t\u00e9\ud800""#,
        "[]",
        "[ ]",
        "{}",
        "{ }",
        "[1,2]",
        " [ 1 , [ 2 ] ] ",
        r#"{"a":{"b":[]},"":0}"#,
        "\"\u{7f}\u{2028}é𝄞\"",
    ] {
        let mut parser = Parser::new();
        let value = parser.parse(text).expect(text);
        assert_eq!(value.raw(), text.trim());
    }
}

#[test]
fn what_is_not_json_is_refused_at_the_byte_where_it_ends_to_be() {
    for (text, at) in [
        ("\u{feff}1", 0),
        ("\u{a0}1", 0),
        ("nul", 0),
        ("True", 0),
        ("NaN", 0),
        ("+1", 0),
        (".5", 0),
        ("'a'", 0),
        ("-", 1),
        ("-a", 1),
        ("01", 1),
        ("-01", 2),
        ("1.", 2),
        ("1.e1", 2),
        ("1e", 2),
        ("1e+", 3),
        ("0x1", 1),
        ("1 2", 2),
        ("1\u{b}", 1),
        ("[", 1),
        ("[1", 2),
        ("[1,", 3),
        ("[1,]", 3),
        ("[,]", 1),
        ("[1 2]", 3),
        ("[1}", 2),
        ("{", 1),
        ("{1:1}", 1),
        ("{a:1}", 1),
        ("{\"a\"", 4),
        ("{\"a\" 1}", 5),
        ("{\"a\":}", 5),
        ("{\"a\":1", 6),
        ("{\"a\":1,}", 7),
        ("{\"a\":1]", 6),
        ("{\"a\":1}}", 7),
        ("\"", 1),
        ("\"abcdefghijk", 12),
        ("\"abcdefgh\n\"", 9),
        ("\"\0\"", 1),
        ("\"\u{1f}\"", 1),
        ("\"\\", 2),
        ("\"\\x\"", 2),
        ("\"\\é\"", 2),
        ("\"\\u12", 5),
        ("\"\\u12g4\"", 5),
        ("\"\\u123é\"", 6),
        ("[\"é\", é]", 7),
        ("1\0", 1),
        ("// a", 0),
    ] {
        let error = Parser::new().parse(text).map(Value::raw).expect_err(text);
        let JsonError::Unexpected { at: found_at, found, .. } = error else { panic!("{text}: {error}") };
        assert_eq!(found_at, at, "{text}: {error}");
        assert_eq!(found, text[at..].chars().next(), "{text}: {error}");
    }
    for text in ["", " ", "\r\n\t"] {
        assert_eq!(Parser::new().parse(text).map(Value::raw), Err(JsonError::Empty));
    }
}

#[test]
fn every_cut_of_a_text_and_every_wrong_byte_in_it_is_refused_or_read_as_serde_reads_it() {
    let text = r#"{"a\u00e9":[1,-2.50e+3,true,null],"b":{"c":"d\n\ud834\udd1e"}, "e":""}"#;
    let reads_like_serde = |text: &str| {
        let serde = serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok();
        assert_eq!(Parser::new().parse(text).is_ok(), serde, "{text}");
    };
    for cut in 0..text.len() {
        reads_like_serde(&text[..cut]);
        for byte in 0..0x80 {
            let byte = char::from(byte).to_string();
            reads_like_serde(&[&text[..cut], &byte, &text[cut + 1..]].concat());
        }
    }
}

#[test]
fn errors_are_one_line_with_place_and_remedy() {
    for (text, line) in [
        ("", "the text is empty; write a JSON value, as in {\"amount\":1}"),
        ("{a:1}", "at byte 1: expected a key in double quotes, found 'a'"),
        ("\"a", "at byte 2: expected a string's closing quote, found the end of the text"),
        ("[1", "at byte 2: expected ',' or ']' after an element, found the end of the text"),
        (
            "\"\n\"",
            r"at byte 1: expected a character or an escape (a line break in a string is written \n), found '\n'",
        ),
        ("\u{1b}", r"at byte 0: expected a value, found '\u{1b}'"),
        (
            "[12345678901234567891]",
            "at byte 1: JavaScript nodes would turn the number 12345678901234567891 into 12345678901234567000; \
             write it as a text: \"12345678901234567891\"",
        ),
        (
            r#"["ab\ud800\u0061"]"#,
            r"at byte 4: the escape \ud800 is half of a surrogate pair, and no character; leave it out, or write both halves",
        ),
        (&"[".repeat(65), "at byte 64: nested deeper than 64 levels, a frame's own included; flatten it"),
    ] {
        assert_eq!(canonical(text).expect_err(text).to_string(), line);
    }
}

#[test]
fn a_long_number_is_shortened_in_its_error() {
    let error = canonical(&"1".repeat(1000)).expect_err("too long for a double");
    let JsonError::Number { number, nearest, .. } = error else { panic!("{error}") };
    assert_eq!(number, format!("{}…", "1".repeat(limits::SHOWN_CHARACTERS - 1)));
    assert_eq!(nearest, "Infinity");
}

#[test]
fn nesting_ends_at_the_limit() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    assert!(Parser::new().parse(&nested(limits::JSON_DEPTH)).is_ok());
    assert!(Parser::new().parse(&nested(limits::JSON_DEPTH + 1)).is_err());
    assert!(Parser::new().parse_below(1, &nested(limits::JSON_DEPTH)).is_err());
    let mixed = format!("{}{}", "{\"a\":[".repeat(32), "]}".repeat(32));
    assert_eq!(canonical(&mixed).as_deref(), Ok(&*mixed));
    assert!(Parser::new().parse(&"[".repeat(1_000_000)).is_err(), "and costs no stack");
}

#[test]
fn a_cursor_finds_its_way() {
    let text = r#"{"n":1.5,"s":"x","k\u0065y":"\u00e9\n","list":[1,[2,3],{"a":4}, 5],"n":2,"o":{"n":9}}"#;
    let mut parser = Parser::new();
    let value = parser.parse(text).expect("JSON");
    assert_eq!(value.parser().tokens.len(), 23, "the one that read it");
    assert_eq!(value.get("n").and_then(Value::as_f64), Some(2.0), "the last one wins");
    assert_eq!(value.get("key").and_then(Value::as_str).as_deref(), Some("é\n"));
    assert!(matches!(value.get("s").and_then(Value::as_str), Some(Cow::Borrowed("x"))));
    let list = value.get("list").expect("is there");
    assert_eq!(list.elements().map(Value::raw).collect::<Vec<_>>(), ["1", "[2,3]", "{\"a\":4}", "5"]);
    assert_eq!(value.get("o").and_then(|inner| inner.get("n")).map(Value::raw), Some("9"));
    assert!(value.get("a").is_none() && value.get("k\\u0065y").is_none() && list.get("a").is_none());
    assert_eq!(value.elements().count(), 0);
    assert_eq!((list.as_str(), list.as_f64()), (None, None));
    assert_eq!(format!("{:?}", value.get("s")), r#"Some(Value("x"))"#);
}

#[test]
fn what_no_string_or_double_holds_is_none() {
    let mut parser = Parser::new();
    let value = parser.parse(r#"["\ud800","\udc00\ud800","\ud800\ud800",1e400,-1e999]"#).expect("grammar allows it");
    assert!(value.elements().all(|element| element.as_str().is_none() && element.as_f64().is_none()));
}

#[test]
fn numbers_that_are_kept_are_written_as_ecmascript_writes_them() {
    for (text, normal) in [
        ("-0", "0"),
        ("0.0", "0"),
        ("-0.00e5", "0"),
        ("0e99999999999999999999", "0"),
        ("1.0", "1"),
        ("100e-2", "1"),
        ("1E0", "1"),
        ("-7", "-7"),
        ("1e18", "1000000000000000000"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("0.000001", "0.000001"),
        ("0.0000010", "0.000001"),
        ("0.0000001", "1e-7"),
        ("1.5e-7", "1.5e-7"),
        ("9007199254740991", "9007199254740991"),
        ("9007199254740992", "9007199254740992"),
        ("9007199254740994", "9007199254740994"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("12.50", "12.5"),
        ("999999999999999", "999999999999999"),
        ("0.1", "0.1"),
        ("-0.5", "-0.5"),
        ("123456.789012345", "123456.789012345"),
        ("0.00000123", "0.00000123"),
        ("0.000000123", "1.23e-7"),
    ] {
        assert_eq!(canonical(text).as_deref(), Ok(normal), "{text}");
    }
    let zeros = "0".repeat(700_000);
    assert_eq!(canonical(&format!("1{zeros}e-700000")).as_deref(), Ok("1"));
    assert_eq!(canonical(&format!("0.{zeros}1e700001")).as_deref(), Ok("1"));
}

#[test]
fn numbers_that_javascript_would_change_are_refused() {
    for text in [
        // The second is a sample of RFC 8785: its double is printed with one digit less, so the
        // text denotes another value.
        "12345678901234567891",
        "333333333.33333329",
        "9007199254740993",
        "0.1000000000000000055",
        "1e400",
        "-1e309",
        "1e-400",
        "2e-324",
        "-1e-99999999999999999999",
        "1e99999999999999999999",
        "1.00000000000000000001",
        "1234567890123456789012e400",
        "123456789012345678901234567890",
        "4.9e-324",
        "1e-9223372036854775808",
        "1e9223372036854775807",
    ] {
        assert!(matches!(canonical(text), Err(JsonError::Number { .. })), "{text}: {:?}", canonical(text));
        assert_eq!(
            compact(&format!("{{\"a\":[{text}]}}")),
            Err(canonical(&format!("{{\"a\":[{text}]}}")).expect_err(text))
        );
    }
    assert!(
        canonical(r#"{"a":1e400,"a":1}"#).is_ok(),
        "a value that another overwrites is not looked at, as in JavaScript"
    );
}

#[test]
fn strings_are_written_as_json_stringify_writes_them() {
    for (text, normal) in [
        (r#""\/\u002f""#, r#""//""#),
        (r#""\u0022\u005C""#, r#""\"\\""#),
        (r#""\b\t\n\f\r""#, r#""\b\t\n\f\r""#),
        (r#""\u0008\u0009\u000a\u000C\u000d""#, r#""\b\t\n\f\r""#),
        (r#""\u0000\u001F\u000b\u007f""#, "\"\\u0000\\u001f\\u000b\u{7f}\""),
        (r#""\u2028\u00e9\uD834\uDD1E\ud7ff\ue000""#, "\"\u{2028}é𝄞\u{d7ff}\u{e000}\""),
        ("\"é\u{2029}\"", "\"é\u{2029}\""),
        (r#""a\u0062c\u0064""#, r#""abcd""#),
    ] {
        assert_eq!(canonical(text).as_deref(), Ok(normal), "{text}");
        assert_eq!(compact(text).as_deref(), Ok(normal), "{text}");
    }
    for text in [
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        r#""\ud800\ud800\udc00""#,
        r#""\ud800a""#,
        r#""\ud800\n""#,
        r#"{"\uDFFF":1}"#,
        r#"{"a\udfff":1,"b":2}"#,
    ] {
        assert!(matches!(canonical(text), Err(JsonError::LoneSurrogate { .. })), "{text}");
    }
}

#[test]
fn keys_are_sorted_by_utf16_units() {
    let text = "{\"\u{ffff}\":1,\"\u{10000}\":2,\"\u{e000}\":3,\"\u{d7ff}\":4,\"a\":5,\"\":6,\"\u{10ffff}\":7,\"aaaaaaaaa\":8,\"aaaaaaaa\":9,\"\\u0000\":10}";
    let sorted = "{\"\":6,\"\\u0000\":10,\"a\":5,\"aaaaaaaa\":9,\"aaaaaaaaa\":8,\"\u{d7ff}\":4,\"\u{10000}\":2,\"\u{10ffff}\":7,\"\u{e000}\":3,\"\u{ffff}\":1}";
    assert_eq!(canonical(text).as_deref(), Ok(sorted));
    assert_eq!(compact(text).as_deref(), Ok(text));
    // The same where the first eight bytes do not decide.
    let text =
        "{\"long long \u{ffff}\":1,\"long long \u{10000}\":2,\"long long é\":3,\"long long \":4,\"long long z\":5}";
    let sorted =
        "{\"long long \":4,\"long long z\":5,\"long long é\":3,\"long long \u{10000}\":2,\"long long \u{ffff}\":1}";
    assert_eq!(canonical(text).as_deref(), Ok(sorted));
}

#[test]
fn keys_are_sorted_at_every_depth() {
    for (text, sorted) in [
        (r#"{"a":{"c":1,"b":2}}"#, r#"{"a":{"b":2,"c":1}}"#),
        (r#"{"b":[{"d":1,"c":{"f":2,"e":3}}],"a":[]}"#, r#"{"a":[],"b":[{"c":{"e":3,"f":2},"d":1}]}"#),
        (r#"[{"b":0,"a":0}]"#, r#"[{"a":0,"b":0}]"#),
    ] {
        assert_eq!(canonical(text).as_deref(), Ok(sorted));
        assert_eq!(compact(text).as_deref(), Ok(text));
    }
}

#[test]
fn of_duplicate_keys_the_last_value_wins_at_the_first_place() {
    for (text, in_order, sorted) in [
        (r#"{"b":1,"a":2,"b":3}"#, r#"{"b":3,"a":2}"#, r#"{"a":2,"b":3}"#),
        (r#"{"a":1,"\u0061":2,"a":3}"#, r#"{"a":3}"#, r#"{"a":3}"#),
        (r#"{"\u0061":1,"0":2,"a":3}"#, r#"{"a":3,"0":2}"#, r#"{"0":2,"a":3}"#),
        (r#"{"\n":1,"\u000a":2}"#, r#"{"\n":2}"#, r#"{"\n":2}"#),
        (
            r#"{"z":{"b":1,"b":2,"a":[]},"y":{"a":1},"z":{"c":{},"a":0,"c":[{"q":1,"q":1}]}}"#,
            r#"{"z":{"c":[{"q":1}],"a":0},"y":{"a":1}}"#,
            r#"{"y":{"a":1},"z":{"a":0,"c":[{"q":1}]}}"#,
        ),
    ] {
        assert_eq!(compact(text).as_deref(), Ok(in_order));
        assert_eq!(canonical(text).as_deref(), Ok(sorted));
    }
}

#[test]
fn many_keys_are_no_burden() {
    let keys = 50_000;
    let distinct: Vec<_> = (0..keys).rev().map(|key| format!("\"k{key:05}\":{key}")).collect();
    let mut sorted = distinct.clone();
    sorted.sort();
    let text = format!("{{{}}}", distinct.join(","));
    assert_eq!(canonical(&text), Ok(format!("{{{}}}", sorted.join(","))));
    assert_eq!(compact(&text).as_ref(), Ok(&text));
    let same: Vec<_> = (0..keys).map(|place| format!("\"{}\":{place}", ["b", "a", "\\u0061"][place % 3])).collect();
    let same = format!("{{{}}}", same.join(","));
    assert_eq!(canonical(&same).as_deref(), Ok("{\"a\":49999,\"b\":49998}"));
    assert_eq!(compact(&same).as_deref(), Ok("{\"b\":49998,\"a\":49999}"));
}

#[test]
fn a_parser_forgets_what_it_read_and_its_errors() {
    let mut parser = Parser::new();
    for text in [r#"{"b":1,"\u0061":2}"#, "[1", r#"{"a":{"\u0062":1,"c":1e400}}"#, "", r#"[{"z":1,"a":"\ud800"}]"#] {
        drop(parser.parse(text).and_then(|value| value.normal().map(|normal| normal.canonical().len())));
        let value = parser.parse(r#"{"b":"\u0062","a":[ ]}"#).expect("JSON");
        let (first, mut second) = (value.normal().expect("a text"), value.normal().expect("a text"));
        let mut out = String::new();
        second.write_compact(&mut out);
        assert_eq!((first.canonical(), &*out), (r#"{"a":[],"b":"b"}"#, r#"{"b":"b","a":[]}"#));
    }
}

#[test]
fn unusual_memory_is_given_back() {
    let mut parser = Parser::new();
    let text = format!(
        "{{\"\\u0061\":[{}0],{}\"b\":\"{}\"}}",
        "0,".repeat(100_000),
        "\"a\":0,".repeat(10_000),
        "b".repeat(100_000)
    );
    drop(parser.parse(&text).expect("JSON").normal());
    parser.trim();
    let scratch = parser.scratch.take();
    let (entries, names) = scratch.order.capacity();
    let kept = parser.tokens.capacity() * size_of::<Token>() + scratch.canonical.capacity() + entries * 24 + names;
    assert!(kept < 4 * 64 * 1024, "{kept}");
}

#[test]
fn the_layout_is_that_of_json_stringify() {
    assert_eq!(
        pretty(r#"{"a":[],"b":{},"c":[1,{"d":",:[]{}\"\\"}],"é\"":null}"#, 2),
        "{\n    \"a\": [],\n    \"b\": {},\n    \"c\": [\n      1,\n      {\n        \"d\": \",:[]{}\\\"\\\\\"\n      }\n    ],\n    \"é\\\"\": null\n  }"
    );
    for text in ["1", "\"a,b\"", "[]", "{}", "null"] {
        assert_eq!(pretty(text, 4), text);
    }
    for broken in ["{", "]]]", "\"", "\"\\", "[\"a\\", "}", ""] {
        pretty(broken, 2);
    }
}
