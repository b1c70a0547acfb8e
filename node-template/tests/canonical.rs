//! Texts are read, refused and written as Node.js does it: Node.js itself is asked.
//!
//! An identity must be the same at every node, JavaScript ones included, and no description of
//! ECMAScript is as good a judge as its engine.

#[path = "support/nodejs.rs"]
mod nodejs;

use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::json::Parser;

use nodejs::{ask_node, complaint};

/// Hosts that old and new parsers of URLs read in different ways.
const HOSTS: [&str; 52] = [
    "a",
    "A.example",
    "a_b",
    "a-b",
    "ab--c.example",
    "1a",
    "1.a",
    "0a",
    "0x1.a",
    "a.0xg",
    "a-xn--b",
    "localhost",
    "localhost.",
    "a.",
    "a..",
    "a..b",
    ".a",
    ".",
    "a-",
    "-a",
    "a.1",
    "a.0x",
    "a.0x1",
    "0x7f.1",
    "127.1",
    "2130706433",
    "1.2.3.4",
    "1.2.3.4.",
    "01.2.3.4",
    "08.1.2.3",
    "1.2.3.256",
    "a b",
    "a%41",
    "a%",
    "a+b",
    "a|b",
    "a^b",
    "a\u{7f}b",
    "xn--a",
    "xn--",
    "xn--a-",
    "XN--A.example",
    "xn--bcher-kva.example",
    "a.xn--p1ai",
    "xn--xn--a",
    "bücher.example",
    "a\u{ad}b",
    "ａ。b",
    "a\u{200d}b",
    "1.xn--mgba3gch31f",
    "xn--4dbrk0ce.1a",
    "ß.example",
];

#[test]
fn every_address_that_is_taken_is_a_url_to_nodejs() {
    let hosts = HOSTS.iter().map(|host| (*host).to_owned());
    let ips = ["::", "::1", "::ffff:1.2.3.4", "::1.2.3.4", "1:2:3:4:5:6:7:8", "fe80::1", "2001:DB8::0:1"];
    let hosts = hosts.chain(ips.map(|ip| format!("[{ip}]")));
    let texts = hosts.flat_map(|host| ["1", "80", "443", "00081", "65535"].map(|port| format!("ws://{host}:{port}")));
    let taken: Vec<PeerAddress> = texts.filter_map(|text| text.parse().ok()).collect();
    assert!(taken.len() > 100, "{}", taken.len());
    let list = serde_json::to_string(&taken.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("strings");
    // A port of 80 is that of the scheme, which a URL leaves out.
    let script = "for (const text of JSON.parse(process.argv[1])) {
        const url = new URL(text), host = `${url.protocol}//${url.hostname}:${url.port || 80}`;
        if (host !== text.replace(/\\[(.*)\\]/, () => `[${url.hostname.slice(1, -1)}]`)) throw new Error(`${text}: ${host}`);
    }";
    let node = std::process::Command::new("node").args(["-e", script, &list]).output().expect("Node.js is the judge");
    assert!(node.status.success(), "{}", String::from_utf8_lossy(&node.stderr));
}

#[test]
fn texts_are_read_and_written_as_nodejs_does() {
    let mut dice = Dice(2026);
    let mut texts = picked();
    texts.extend(doubles(&mut dice));
    texts.extend(decimals(&mut dice));
    texts.extend(escapes());
    texts.extend((0..6000).map(|_| document(&mut dice, 4)));
    texts.extend((0..6000).map(|_| damaged(&mut dice)));
    let verdicts = ask_node(&texts).expect("Node.js is the judge of this test");
    assert_eq!(verdicts.len(), texts.len(), "one answer per text");
    let mut parser = Parser::new();
    let complaints: Vec<_> = texts
        .iter()
        .zip(&verdicts)
        .filter_map(|(text, verdict)| Some(format!("{text:?}: {}", complaint(&mut parser, text, verdict.as_ref())?)))
        .collect();
    assert!(
        complaints.is_empty(),
        "{} of {}:\n{}",
        complaints.len(),
        texts.len(),
        complaints[..complaints.len().min(20)].join("\n")
    );
    let accepted = verdicts.iter().flatten().filter(|verdict| verdict.keeps_numbers && verdict.well_formed).count();
    let refused = verdicts.iter().flatten().count() - accepted;
    assert!(
        accepted > 10_000 && refused > 2_000 && verdicts.len() - accepted - refused > 1_000,
        "each kind of text is there: {accepted}, {refused}"
    );
}

/// What went wrong in other programs, or is at an edge of the rules.
fn picked() -> Vec<String> {
    let picked = [
        "",
        " ",
        "\u{feff}1",
        "[1,]",
        "{\"a\":1,}",
        "[1 2]",
        "01",
        "-",
        "1.",
        ".1",
        "1e",
        "+1",
        "0x1",
        "NaN",
        "Infinity",
        "nul",
        "'a'",
        "// a\n1",
        "1//",
        "\"\u{1}\"",
        "\"\t\"",
        "\"\u{7f}\u{80}\u{2028}\u{2029}\"",
        "\u{a0}1",
        "\u{b}1",
        "\t\r\n 1",
        "\"\\v\"",
        "\"\\u12\"",
        "\"\\u{61}\"",
        "\"\\U0061\"",
        r#""\ud834\udd1e""#,
        r#""\uD834\uDD1E""#,
        r#""\ud834""#,
        r#""\udd1e""#,
        r#""\ud834\ud834\udd1e""#,
        r#""\udd1e\ud834""#,
        r#""\ud834x\udd1e""#,
        r#"{"\ud800":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"b":1,"a":{"x":1,"x":2},"b":{"z":0,"y":0}}"#,
        r#"{"a":[1e999],"\u0061":true}"#,
        r#"{"a":{"b":0.1000000000000000055},"a":{"b":[1]}}"#,
        r#"{"a":{"b":1},"a":{"b":[0.1000000000000000055]}}"#,
        r#"{"__proto__":1,"constructor":2,"toString":3}"#,
        r#"{"__proto__":{"a":1},"a":2}"#,
        r#"{"10":1,"9":2,"a":3,"1e3":4,"-1":5,"01":6}"#,
        r#"{"":{"":[{},[],""]}}"#,
        "{ }",
        "[ ]",
        "[[],{}]",
        "{\"\u{ffff}\":1,\"\u{10000}\":2,\"\u{e000}\":3,\"\u{d7ff}\":4}",
        "{\"\u{1f600}a\":1,\"\u{fb33}\":2,\"\u{1f600}\":3,\"\u{20ac}\":4,\"\\r\":5,\"1\":6}",
        "-0",
        "-0.0",
        "0e5",
        "-0e-5",
        "1e18",
        "1.0",
        "100e-2",
        "12345678901234567891",
        "0.1000000000000000055",
        "1e400",
        "-1e400",
        "1e-400",
        "0.000001",
        "0.0000001",
        "0.00000123",
        "123e-20",
        "1e21",
        "1e+21",
        "1E20",
        "999999999999999999999",
        "999999999999999900000",
        "1000000000000000100000",
        "4.9e-324",
        "5e-324",
        "2e-324",
        "3e-324",
        "2.2250738585072014e-308",
        "2.2250738585072011e-308",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "0.30000000000000004",
        "0.1",
        "333333333.33333329",
        "9007199254740993",
        "5e-00000000000000000000324",
        "1e0000000000000000000021",
        "0e999999999999999999999",
        r#"{"fromAddress":null,"toAddress":"04a1","amount":100,"timeStamp":1731234567890,"hash":"e3b0"}"#,
    ];
    let zeros = "0".repeat(20_000);
    let long = [
        format!("1{zeros}e-20000"),
        format!("0.{zeros}1e20001"),
        format!("1.{zeros}"),
        format!("1.{zeros}1"),
        format!("0.{zeros}e5"),
    ];
    picked.map(str::to_owned).into_iter().chain(long).collect()
}

/// Doubles of all magnitudes, printed in many ways, some of which keep their value and some of
/// which do not.
fn doubles(dice: &mut Dice) -> Vec<String> {
    let mut doubles: Vec<f64> =
        (0..1500).map(|_| f64::from_bits(dice.roll())).filter(|double| double.is_finite()).collect();
    doubles.extend((0..200).map(|_| f64::from_bits(dice.roll() >> 12)));
    doubles.extend((0..700).map(|_| dice.roll() as f64 / [1.0, 10.0, 1e3, 1e8, 1e12, 1e17, 1e25][dice.below(7)]));
    doubles.extend((-64..=64).map(|distance| 9_007_199_254_740_992.0 + f64::from(distance)));
    doubles.extend((-330..=308).map(|power| format!("1e{power}").parse::<f64>().expect("a number")));
    let mut edge = 1e21_f64;
    for _ in 0..20 {
        doubles.extend([edge, 2e21 - edge]);
        edge = edge.next_down();
    }
    let forms = |double: f64| {
        [
            format!("{double:e}"),
            format!("{double:E}"),
            format!("{double}"),
            format!("{double:.14e}"),
            format!("{double:.15e}"),
            format!("{double:.16e}"),
            format!("{double:.17e}"),
            format!("{double:.3}"),
            format!("{double:e}").replace('e', "000e+").replace("+-", "-"),
        ]
    };
    let mut texts: Vec<_> = doubles.into_iter().flat_map(forms).collect();
    texts.retain(|text| text.len() < 400);
    texts
}

/// Integers around every power of two, and short decimals: most of these are copied without being
/// read.
fn decimals(dice: &mut Dice) -> Vec<String> {
    let mut texts: Vec<_> =
        (40..80).flat_map(|power| (-3..=3).map(move |distance| ((1i128 << power) + distance).to_string())).collect();
    for _ in 0..6000 {
        let digits = dice.roll().to_string();
        let digits = &digits[..1 + dice.below(digits.len().min(18))];
        let sign = ["", "-"][dice.below(2)];
        let zeros = "0".repeat(dice.below(9));
        let point = dice.below(digits.len());
        texts.push(match dice.below(4) {
            0 => format!("{sign}{digits}"),
            1 => format!("{sign}0.{zeros}{digits}"),
            2 if point > 0 => format!("{sign}{}.{}", &digits[..point], &digits[point..]),
            _ => format!("{sign}{digits}{zeros}"),
        });
    }
    texts
}

/// Every UTF-16 unit as an escape, and every character below U+0100 after a backslash.
fn escapes() -> Vec<String> {
    let units = (0..0x10000u32)
        .step_by(64)
        .map(|first| (first..first + 64).map(|unit| format!("\\u{unit:04x}")).collect::<String>());
    let single = (0..0x100u32).chain(0xD7F0..0xE010).map(|unit| format!("\\u{unit:04X}"));
    let short = (0..0x100u32).filter_map(char::from_u32).map(|character| format!("\\{character}"));
    units.chain(single).chain(short).map(|inner| format!("\"{inner}\"")).collect()
}

/// Any JSON: white space, escapes, repeated keys, characters at the borders of UTF-8 and UTF-16.
fn document(dice: &mut Dice, levels: usize) -> String {
    let space = |dice: &mut Dice| ["", "", "", "", " ", "\n\t", "\r "][dice.below(7)];
    let (before, after) = (space(dice), space(dice));
    let value = match dice.below(if levels == 0 { 4 } else { 9 }) {
        0 => ["null", "true", "false"][dice.below(3)].to_owned(),
        1 => ["0", "-1", "1.5", "1e3", "-0", "25e-1", "1731234567890", "0.1", "1e21"][dice.below(9)].to_owned(),
        2 | 3 => string(dice),
        4 | 5 => {
            let elements: Vec<_> = (0..dice.below(5)).map(|_| document(dice, levels - 1)).collect();
            format!("[{before}{}]", elements.join(","))
        }
        _ => {
            let member = |dice: &mut Dice| {
                format!("{}{}{}:{}", space(dice), string(dice), space(dice), document(dice, levels - 1))
            };
            let members: Vec<_> = (0..dice.below(7)).map(|_| member(dice)).collect();
            format!("{{{}{after}}}", members.join(","))
        }
    };
    format!("{before}{value}{after}")
}

fn string(dice: &mut Dice) -> String {
    const PIECES: [&str; 24] = [
        "a",
        "b",
        "ab",
        "A",
        "~",
        "é",
        "\u{7ff}",
        "\u{800}",
        "€",
        "\u{d7ff}",
        "\u{e000}",
        "\u{ffff}",
        "\u{10000}",
        "😀",
        "\u{10ffff}",
        "\u{7f}",
        "\u{2028}",
        r"\u0061",
        r"\n",
        r#"\""#,
        r"\/",
        r"\ud83d\ude00",
        r"\u001f",
        "a rather long piece of text",
    ];
    let pieces: String = (0..dice.below(4)).map(|_| PIECES[dice.below(PIECES.len())]).collect();
    format!("\"{pieces}\"")
}

/// A document with one character lost, doubled or exchanged.
fn damaged(dice: &mut Dice) -> String {
    let mut characters: Vec<char> = document(dice, 3).chars().collect();
    let place = dice.below(characters.len());
    let other =
        ['"', '\\', '{', '}', '[', ']', ',', ':', '0', '-', '.', 'e', 'u', ' ', '\n', '\u{1}', 'é'][dice.below(17)];
    match dice.below(4) {
        0 => drop(characters.remove(place)),
        1 => characters.insert(place, characters[place]),
        2 => characters[place] = other,
        _ => characters.truncate(place),
    }
    characters.into_iter().collect()
}

/// The same numbers in every run: SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }
}
