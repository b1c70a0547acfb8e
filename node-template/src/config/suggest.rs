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
    // Names that differ more in length are never near, and may be as long as the file.
    let candidates = candidates.filter(|(spelling, _)| spelling.len().abs_diff(upper.len()) <= 2);
    let near = candidates.map(|(spelling, setting)| (strsim::osa_distance(&upper, spelling), spelling, setting));
    // Two changes turn a short name into too many others: PATH and PORT, HOME and HOST.
    let near = near.filter(|(distance, spelling, _)| *distance <= if spelling.len() <= 4 { 1 } else { 2 });
    near.min_by_key(|(distance, ..)| *distance).map(|(_, _, setting)| setting)
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
