//! Names in a `.env` that are no settings but look like one. Without this a mistyped name is a setting that silently does nothing.

use crate::config::adjust;

const SETTINGS: [&str; 19] = [
    "PORT",
    "HOST",
    "ADDRESS",
    "NETWORK",
    "PEERS",
    "MAX_PEERS",
    "GENESIS",
    "DISCOVERY",
    "MY_PUBLIC_KEY",
    "PLAIN",
    "NETWORK_CA",
    "CERTIFICATE",
    "LOG",
    "LOG_FORMAT",
    "HTTP_PORT",
    "HTTP_HOST",
    "HTTP_NAMES",
    "HTTP_TOKEN",
    "REQUIRE_SIGNATURES",
];
/// Names that people try, and what they mean by them.
const ALIASES: [(&str, &str); 4] =
    [("KNOWN_PEERS", "PEERS"), ("PUBLIC_KEY", "MY_PUBLIC_KEY"), ("LOG_LEVEL", "LOG"), ("NETWORK_NAME", "NETWORK")];

/// The setting that was probably meant by a name that is none; `None` for settings and for names unlike any.
pub(crate) fn meant(name: &str) -> Option<&'static str> {
    let settings = || SETTINGS.into_iter().chain(adjust::names());
    if settings().any(|setting| setting == name) {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    let candidates = settings().map(|setting| (setting, setting)).chain(ALIASES);
    let near = candidates.map(|(spelling, setting)| (distance(&upper, spelling), spelling, setting));
    // Two changes turn a short name into too many others: PATH and PORT, HOME and HOST.
    let near = near.filter(|(distance, spelling, _)| *distance <= if spelling.len() <= 4 { 1 } else { 2 });
    near.min_by_key(|(distance, ..)| *distance).map(|(_, _, setting)| setting)
}

/// How many letters must be changed, added, left out or swapped with their neighbour to turn one name into the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    // Longer names are never near, and the table below would grow with them.
    if one.len().abs_diff(other.len()) > 2 {
        return usize::MAX;
    }
    let mut table = vec![vec![0; other.len() + 1]; one.len() + 1];
    for i in 0..=one.len() {
        for j in 0..=other.len() {
            if i == 0 || j == 0 {
                table[i][j] = i + j;
                continue;
            }
            let changed = table[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
            table[i][j] = changed.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                table[i][j] = table[i][j].min(table[i - 2][j - 2] + 1);
            }
        }
    }
    table[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_names_left_alone() {
        for (name, setting) in [
            ("PROT", "PORT"),
            ("PORTS", "PORT"),
            ("port", "PORT"),
            ("PRT", "PORT"),
            ("KNOWN_PEER", "PEERS"),
            ("KNOWN_PEERS", "PEERS"),
            ("PEER", "PEERS"),
            ("ADRESS", "ADDRESS"),
            ("ADDRES", "ADDRESS"),
            ("MY_PUBLICKEY", "MY_PUBLIC_KEY"),
            ("PUBLIC_KEY", "MY_PUBLIC_KEY"),
            ("LOGS", "LOG"),
            ("LOG_LEVEL", "LOG"),
            ("QUEUE_BYTE", "QUEUE_BYTES"),
            ("PING_INTERVALL_SECOND", "PING_INTERVAL_SECONDS"),
        ] {
            assert_eq!(meant(name), Some(setting), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "USER",
            "LANG",
            "FOO",
            "MY_PRIVATE_KEY",
            "NODE_ENV",
            "DATABASE_URL",
            "",
            "P",
            "é",
            &"PORT".repeat(1000),
        ] {
            assert_eq!(meant(name), None, "{name}");
        }
        for name in SETTINGS.into_iter().chain(adjust::names()) {
            assert_eq!(meant(name), None, "{name} is a setting");
        }
    }
}
