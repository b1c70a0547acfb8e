//! The parts of the module by themselves: what no result shows is speed and memory.

use std::cmp::Ordering;

use crate::json::order::{compare, head, rank};
use crate::json::read::run_end;
use crate::json::tests::*;

/// Returns which values of a text are plain, in the order of their starts.
fn plain(text: &str) -> Vec<bool> {
    let mut parser = Parser::new();
    parser.parse(text).expect(text);
    parser.tokens.iter().map(|token| token.plain).collect()
}

#[test]
fn a_number_is_plain_if_its_text_is_surely_its_normal_form() {
    for (text, expected) in [
        ("0", true),
        ("-0", false),
        ("7", true),
        ("-7", true),
        ("10", true),
        ("123456789012345", true),
        ("-123456789012345", true),
        ("1234567890123456", false),
        ("0.5", true),
        ("-0.5", true),
        ("0.50", false),
        ("1.0", false),
        ("0.0", false),
        ("12345678901234.5", true),
        ("123456789012345.5", false),
        ("0.12345678901234", true),
        ("0.123456789012345", false),
        ("0.000001", true),
        ("0.0000012", true),
        ("0.0000001", false),
        ("1.0000001", true),
        ("1e1", false),
        ("1E1", false),
        ("1e+1", false),
        ("1.5e-7", false),
        ("0e0", false),
    ] {
        assert_eq!(plain(text), [expected], "{text}");
    }
}

#[test]
fn other_values_are_plain_without_escapes_and_white_space() {
    for (text, expected) in [
        (r#""a""#, &[true][..]),
        (r#""""#, &[true]),
        (r#""\n""#, &[false]),
        ("\"é\"", &[true]),
        ("true", &[true]),
        (" null ", &[true]),
        ("[]", &[true]),
        ("[ ]", &[false]),
        ("{}", &[true]),
        ("{ }", &[false]),
        ("[1,2]", &[true, true, true]),
        ("[ 1]", &[false, true]),
        ("[1 ]", &[false, true]),
        ("[1, 2]", &[false, true, true]),
        ("[1 ,2]", &[false, true, true]),
        ("[1.0,2]", &[false, false, true]),
        ("[1,2.0]", &[false, true, false]),
        ("[[ ]]", &[false, false]),
        (r#"{"a":1}"#, &[true, true, true]),
        (r#"{ "a":1}"#, &[false, true, true]),
        (r#"{"a" :1}"#, &[false, true, true]),
        (r#"{"a": 1}"#, &[false, true, true]),
        (r#"{"a":1 }"#, &[false, true, true]),
        (r#"{"\n":1}"#, &[false, false, true]),
        (r#"{"a":1.0}"#, &[false, true, false]),
        (r#"{"a":1,"b":2}"#, &[true, true, true, true, true]),
        (r#"{"a":1, "b":2}"#, &[false, true, true, true, true]),
        (r#"{"b":1,"a":2,"a":3}"#, &[true, true, true, true, true, true, true]),
    ] {
        assert_eq!(plain(text), expected, "{text}");
    }
}

#[test]
fn tokens_say_where_a_value_ends_and_what_follows_it() {
    let text = r#" {"a":[1,{"b":2}] , "c":null}"#;
    let mut parser = Parser::new();
    parser.parse(text).expect("JSON");
    let seen: Vec<_> =
        parser.tokens.iter().map(|token| (&text[token.start as usize..token.end as usize], token.next)).collect();
    let expected = [
        (r#"{"a":[1,{"b":2}] , "c":null}"#, 9),
        (r#""a""#, 2),
        (r#"[1,{"b":2}]"#, 7),
        ("1", 4),
        (r#"{"b":2}"#, 7),
        (r#""b""#, 6),
        ("2", 7),
        (r#""c""#, 8),
        ("null", 9),
    ];
    assert_eq!(seen, expected);
    let value = parser.parse(text).expect("JSON");
    assert_eq!(value.range(), 1..text.len());
    assert_eq!(value.get("c").map(Value::range), Some(24..28));
}

#[test]
fn a_run_ends_at_the_first_quote_backslash_or_control_character() {
    for length in 0..18 {
        for byte in 0..=255_u8 {
            let ends = matches!(byte, b'"' | b'\\' | 0..0x20);
            for at in 0..length {
                // The bytes around are the nearest that do not end a run.
                for filler in [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
                    let mut bytes = vec![filler; length];
                    bytes[at] = byte;
                    let expected = if ends { at } else { length };
                    assert_eq!(run_end(&bytes, 0), expected, "{byte} at {at} of {length}");
                    assert_eq!(run_end(&bytes, at), expected);
                    assert_eq!(run_end(&bytes, at + 1), length, "from the byte after it on");
                }
            }
        }
    }
    assert_eq!((run_end(b"", 0), run_end(b"a", 1)), (0, 1));
}

#[test]
fn keys_are_ranked_as_utf16_orders_them() {
    let ranked: Vec<u8> = (0..=255).map(rank).collect();
    let mut sorted = ranked.clone();
    sorted.sort_unstable();
    assert_eq!(ranked[..0xee], sorted[..0xee], "most stay where they are");
    assert_eq!([0xed, 0xee, 0xef, 0xf0, 0xf4].map(rank), [0xed, 0xf6, 0xf7, 0xee, 0xf2]);
    let texts = ["", "a", "aa", "b", "é", "\u{d7ff}", "\u{e000}", "\u{ffff}", "\u{10000}", "a\u{e000}", "a\u{10000}"];
    for a in texts {
        for b in texts {
            let expected = a.encode_utf16().cmp(b.encode_utf16());
            assert_eq!(compare(a, b), expected, "{a:?} {b:?}");
            // The first eight bytes never say the opposite.
            let heads = head(a.as_bytes(), 0, a.len()).cmp(&head(b.as_bytes(), 0, b.len()));
            assert!(heads == expected || heads == Ordering::Equal, "{a:?} {b:?}");
        }
    }
}

#[test]
fn the_head_of_a_key_is_its_first_eight_bytes_whatever_follows() {
    for (source, start, end, expected) in [
        ("", 0, 0, 0_u64),
        ("abc", 0, 3, 0x6162_6300_0000_0000),
        ("abcdefghi", 0, 3, 0x6162_6300_0000_0000),
        ("abcdefghi", 0, 0, 0),
        ("abcdefghi", 0, 7, 0x6162_6364_6566_6700),
        ("abcdefghi", 0, 8, 0x6162_6364_6566_6768),
        ("abcdefghi", 0, 9, 0x6162_6364_6566_6768),
        ("abcdefghi", 1, 9, 0x6263_6465_6667_6869),
        ("abcdefghi", 2, 9, 0x6364_6566_6768_6900),
        ("ab\u{e000}xyz12", 0, 5, 0x6162_f680_8000_0000),
        ("ab\u{e000}xyz12", 0, 2, 0x6162_0000_0000_0000),
        ("\u{10000}", 0, 4, 0xee90_8080_0000_0000),
    ] {
        assert_eq!(head(source.as_bytes(), start, end), expected, "{source} {start}..{end}");
    }
}

#[test]
fn memory_up_to_a_bound_is_kept_and_more_is_freed() {
    let capacity = |parser: &Parser| {
        let scratch = parser.scratch.take();
        let sizes = (scratch.canonical.capacity(), scratch.order.capacity());
        parser.scratch.set(scratch);
        (parser.tokens.capacity(), sizes)
    };
    let after = |text: &str| {
        let mut parser = Parser::new();
        drop(parser.parse(text).expect("JSON").normal());
        parser.trim();
        capacity(&parser)
    };
    // One value of 64 KiB is copied at once.
    let string = |length: usize| format!("\"{}\"", "a".repeat(length - 2));
    assert_eq!(after(&string(64 * 1024)).1.0, 64 * 1024);
    assert_eq!(after(&string(64 * 1024 + 1)).1.0, 0);
    // Vectors grow by doubling, and a list of n numbers has n + 1 tokens.
    let list = |tokens: usize| format!("[{}0]", "0,".repeat(tokens - 2));
    assert_eq!(after(&list(4_096)).0, 4_096);
    assert_eq!(after(&list(4_097)).0, 0);
    let object = |members: usize| {
        let members: Vec<String> = (0..members).map(|n| format!("\"{n}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert_eq!(after(&object(4_096)).1.1, (4_096, 0));
    assert_eq!(after(&object(4_097)).1.1, (0, 0));
    let key = |length: usize| format!("{{\"{}\":0}}", r"\u0061".repeat(length));
    assert_eq!(after(&key(16 * 1024)).1.1.1, 16 * 1024);
    assert_eq!(after(&key(16 * 1024 + 1)).1.1, (0, 0));
    let parser = Parser::new();
    for (room, kept) in [(64 * 1024, 64 * 1024), (64 * 1024 + 1, 0)] {
        parser.buffer.take();
        parser.with_buffer(|buffer| {
            buffer.reserve_exact(room);
            buffer.push('x');
        });
        parser.with_buffer(|buffer| assert_eq!((buffer.capacity(), buffer.len()), (kept, 0)));
    }
}

#[test]
fn the_members_of_an_object_take_memory_until_it_is_written() {
    let mut parser = Parser::new();
    let many = |member: &str| format!("[{}0]", format!("{{{member}}},").repeat(1_000));
    drop(parser.parse(&many(r#""\u0061":0"#)).expect("JSON").normal());
    for _ in 0..1_000 {
        assert!(parser.parse(r#"{"\u0062":1e400}"#).expect("JSON").normal().is_err());
    }
    let (members, names) = parser.scratch.take().order.capacity();
    assert!(members < 16 && names < 64, "{members} {names}");
}

#[test]
fn deep_lines_are_indented_in_full() {
    for indent in [0, 61, 62, 63, 64, 200] {
        let expected = format!("[\n{}1\n{}]", " ".repeat(indent + 2), " ".repeat(indent));
        assert_eq!(pretty("[1]", indent), expected);
    }
    assert_eq!(pretty(r#"["\"",{}]"#, 0), "[\n  \"\\\"\",\n  {}\n]");
    assert_eq!(pretty(r#"{"a":"\\","b":[]}"#, 0), "{\n  \"a\": \"\\\\\",\n  \"b\": []\n}");
}

#[test]
fn a_number_in_an_error_is_shown_in_full_up_to_64_characters() {
    let number = |length: usize| match canonical(&"1".repeat(length)) {
        Err(JsonError::Number { number, at: 0, .. }) => number,
        other => panic!("{other:?}"),
    };
    assert_eq!(number(64), "1".repeat(64));
    assert_eq!(number(65), format!("{}…", "1".repeat(63)));
}

#[test]
fn kinds_have_names() {
    for (text, kind, name) in [
        ("null", Kind::Null, "null"),
        ("true", Kind::True, "true"),
        ("false", Kind::False, "false"),
        ("1", Kind::Number, "a number"),
        ("\"\"", Kind::String, "a string"),
        ("[]", Kind::Array, "an array"),
        ("{}", Kind::Object, "an object"),
    ] {
        let mut parser = Parser::new();
        let value = parser.parse(text).expect(text);
        assert_eq!((value.kind(), value.kind().name()), (kind, name));
        assert_eq!(value.members().count() + value.elements().count(), 0);
    }
    let mut parser = Parser::new();
    assert_eq!(format!("{parser:?}"), "Parser { .. }");
    let normal = format!("{:?}", parser.parse("[ 1.0]").and_then(Value::normal).expect("JSON"));
    assert_eq!(normal, "Normal([1])");
}

#[test]
fn a_lone_surrogate_is_named_with_its_position() {
    for (text, at, escape) in [
        (r#""ab\ud800""#, 3, r"\ud800"),
        (r#"["\n\uDC00x"]"#, 4, r"\uDC00"),
        (r#"{"a":1,"\udfff":2}"#, 8, r"\udfff"),
        (r#""\ud800\ud801""#, 1, r"\ud800"),
        (r#""\ud800\u0061""#, 1, r"\ud800"),
    ] {
        assert_eq!(canonical(text), Err(JsonError::LoneSurrogate { at, escape: escape.into() }), "{text}");
    }
    assert_eq!(canonical(r#""\ud83d\ude00\uDBFF\uDFFF\ud800\udc00""#).as_deref(), Ok("\"😀\u{10ffff}\u{10000}\""));
}
