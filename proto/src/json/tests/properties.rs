//! Against serde_json and serde_json_canonicalizer, as far as these are exact, and against a second
//! way to compare decimals.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::json::tests::*;

/// Any JSON value with numbers that serde_json reads exactly.
fn values() -> impl Strategy<Value = serde_json::Value> {
    let number = prop_oneof![
        any::<i32>().prop_map(serde_json::Value::from),
        (-(1i64 << 53)..=1 << 53).prop_map(serde_json::Value::from),
        any::<f64>().prop_filter_map("finite", |number| serde_json::Number::from_f64(number).map(Into::into)),
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        number,
        "\\PC{0,12}".prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(serde_json::Value::from),
            prop::collection::vec(("[a-c\u{e000}-\u{e003}\u{10000}-\u{10003}\"\\n]{0,10}", inner), 0..8)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The same value, written otherwise: white space, escapes, and members that are overwritten later.
fn disguised(value: &serde_json::Value) -> String {
    let string = |text: &str| {
        let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
        format!("\"{}\"", units.collect::<String>())
    };
    match value {
        serde_json::Value::String(text) => string(text),
        serde_json::Value::Array(elements) => {
            format!("[ {}\n]", elements.iter().map(disguised).collect::<Vec<_>>().join(" ,\t"))
        }
        serde_json::Value::Object(members) => {
            let first = members.iter().map(|(key, _)| format!("{} : [0 ]", string(key)));
            let last =
                members.iter().rev().map(|(key, value)| format!("{}:{}", serde_json::json!(key), disguised(value)));
            format!("{{ {} }}", first.chain(last).collect::<Vec<_>>().join(","))
        }
        serde_json::Value::Number(number) if !number.is_f64() => format!("{number}.00e0"),
        other => other.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(2026), ..ProptestConfig::with_cases(512) })]

    #[test]
    fn canonical_is_what_the_canonicalizer_makes(value in values()) {
        let expected = serde_json_canonicalizer::to_string(&value).expect("writable");
        let text = value.to_string();
        prop_assert_eq!(canonical(&text), Ok(expected.clone()));
        prop_assert_eq!(canonical(&disguised(&value)), Ok(expected.clone()));
        prop_assert_eq!(canonical(&expected), Ok(expected));
    }

    #[test]
    fn compact_keeps_order_and_is_its_own_compact(value in values()) {
        let once = compact(&value.to_string()).expect("a text");
        prop_assert_eq!(compact(&disguised(&value)), Ok(once.clone()));
        prop_assert_eq!(compact(&once), Ok(once.clone()));
        let read: serde_json::Value = serde_json::from_str(&once).expect("JSON");
        let keys = |value: &serde_json::Value| value.as_object().map(|members| members.keys().cloned().collect::<Vec<_>>());
        prop_assert_eq!(keys(&read), keys(&value));
        prop_assert_eq!(canonical(&once), canonical(&value.to_string()));
        prop_assert_eq!(once.len(), canonical(&once).expect("a text").len());
    }

    #[test]
    fn pretty_is_what_serde_writes(value in values()) {
        let compact = compact(&value.to_string()).expect("a text");
        let read: serde_json::Value = serde_json::from_str(&compact).expect("JSON");
        // Where serde_json prints a number in its own way, there is nothing to compare with.
        let printed = read.to_string();
        if printed == compact {
            prop_assert_eq!(pretty(&compact, 0), serde_json::to_string_pretty(&read).expect("writable"));
        }
    }

    #[test]
    fn any_decimal_is_kept_if_and_only_if_its_double_is_it(digits in 0u64..=u64::MAX, length in 1usize..=20, point in 0usize..=20, exponent in -330i32..330) {
        let digits = &digits.to_string()[..];
        let digits = &digits[..length.min(digits.len())];
        let digits = if digits.len() > 1 { digits.trim_start_matches('0') } else { digits };
        let point = point.min(digits.len());
        let plain = if point == 0 { format!("0.{digits}") } else if point == digits.len() { digits.to_owned() } else { format!("{}.{}", &digits[..point], &digits[point..]) };
        for text in [plain.clone(), format!("{plain}e{exponent}"), format!("-{plain}")] {
            let printed = ryu_js::Buffer::new().format(text.parse::<f64>().expect("a number")).to_owned();
            match canonical(&text) {
                Ok(normal) => {
                    prop_assert_eq!(&normal, &printed);
                    prop_assert_eq!(scaled(&text), scaled(&normal), "{}", text);
                }
                Err(_) => prop_assert_ne!(scaled(&text), scaled(&printed), "{}", text),
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), json in r#"[\[\]{}:,"\\u0-9deE+.a\- ]{0,40}"#) {
        for text in [text, json] {
            let serde = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(Parser::new().parse(&text).is_ok(), serde, "{}", text);
            drop(canonical(&text));
            write_pretty(&text, 2, &mut Vec::new());
        }
    }
}

/// A decimal text as digits and an exponent, compared digit by digit: another way than the one
/// under test.
fn scaled(text: &str) -> (String, i64) {
    let (significand, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = significand.split_once('.').unwrap_or((significand, ""));
    let digits = format!("{whole}{fraction}");
    let sign = if digits.starts_with('-') { "-" } else { "" };
    let digits = digits.trim_start_matches('-').trim_start_matches('0');
    let kept = digits.trim_end_matches('0');
    if kept.is_empty() {
        return (String::new(), 0);
    }
    let exponent: i64 = exponent.parse().unwrap_or(i64::MAX / 2);
    (format!("{sign}{kept}"), exponent - fraction.len() as i64 + (digits.len() - kept.len()) as i64)
}
