//! Generated transactions, each a function of its number, so that a million need not be stored.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Bytes of each transaction's compact JSON.
const TRANSACTION_BYTES: usize = 300;
/// Bytes of its names, quotes, braces and commas.
const MEMBERS: usize = r#"{"id":"","amount":,"timeStamp":,"hash":"","filling":""}"#.len();
/// The time stamp of transaction 0, in milliseconds since 1970; each later one is a millisecond
/// younger.
pub(crate) const FIRST_TIME: u64 = 1_700_000_000_000;

/// Returns the compact JSON of transaction `number`, with the time stamp of number `time`.
pub(crate) fn transaction(number: u64, time: u64) -> String {
    let members = members(number, time).map(|(name, value)| format!(r#""{name}":{value}"#));
    format!("{{{}}}", members.join(","))
}

/// Writes the transactions below `count`, except those that are left out, as `JSON.stringify(array,
/// null, 2)` formats them.
pub(crate) fn write_pool(path: &Path, count: u64, left_out: impl Fn(u64) -> bool) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut before = "[";
    for number in (0..count).filter(|number| !left_out(*number)) {
        let members = members(number, number).map(|(name, value)| format!("    \"{name}\": {value}"));
        write!(file, "{before}\n  {{\n{}\n  }}", members.join(",\n"))?;
        before = ",";
    }
    file.write_all(if before == "[" { b"[]" } else { b"\n]" })?;
    file.into_inner()?.sync_all()
}

/// Returns names and values. All transactions have the same length: numbers have thirteen digits,
/// texts a fixed length.
fn members(number: u64, time: u64) -> [(&'static str, String); 5] {
    let word = |salt: u64| mix(number ^ (salt << 56));
    let hash = format!("{:016x}{:016x}{:016x}{:016x}", word(1), word(2), word(3), word(4));
    let filling = TRANSACTION_BYTES - 64 - 16 - 13 - 13 - MEMBERS;
    [
        ("id", format!("\"{:016x}\"", mix(number))),
        ("amount", (1_000_000_000_000 + word(5) % 1_000_000_000_000).to_string()),
        ("timeStamp", (FIRST_TIME + time).to_string()),
        ("hash", format!("\"{hash}\"")),
        ("filling", format!("\"{}\"", "x".repeat(filling))),
    ]
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
/// 2014): a bijection.
fn mix(number: u64) -> u64 {
    let z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn rows_have_their_size_and_the_file_their_layout() {
        for number in [0, 7, 999_999, u64::MAX >> 20] {
            assert_eq!(transaction(number, 5).len(), TRANSACTION_BYTES);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pool.json");
        write_pool(&path, 5, |number| number == 3).expect("written");
        let text = std::fs::read_to_string(&path).expect("read");
        let rows: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(serde_json::to_string_pretty(&rows).expect("JSON"), text);
        assert_eq!(rows[3].to_string(), transaction(4, 4));
        write_pool(&path, 0, |_| false).expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "[]");
    }
}
