//! Suggestions for mistyped names in `.env`, which would otherwise silently do nothing.

use crate::config::env_file::EnvFile;
use crate::config::limits;

const SETTINGS: [&str; 27] = [
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
    "LOG_TRANSACTIONS",
    "HTTP_PORT",
    "HTTP_HOST",
    "HTTP_NAMES",
    "HTTP_TOKEN",
    "HTTP_PATH",
    "TRUSTED_PROXIES",
    "REQUIRE_SIGNATURES",
    "WAN",
    "RELAY",
    "RELAYS",
    "LOOKUP",
    "LOOKUP_BOOTSTRAP",
];
/// Names that people try, and the settings that they mean.
const ALIASES: [(&str, &str); 4] =
    [("KNOWN_PEERS", "PEERS"), ("PUBLIC_KEY", "MY_PUBLIC_KEY"), ("LOG_LEVEL", "LOG"), ("NETWORK_NAME", "NETWORK")];

/// Returns a warning for each name in the file that resembles a setting. Other unknown names belong
/// to other programs.
pub(crate) fn warnings(file: &EnvFile) -> impl Iterator<Item = String> {
    file.entries.iter().filter_map(|entry| {
        let (path, name, line) = (&file.path, &entry.name, entry.line);
        meant(name)
            .map(|meant| format!("{path}, line {line}: {name} is not a setting and is ignored; did you mean {meant}?"))
    })
}

/// Describes what the file has instead of a missing setting: a name that resembles it, or nothing.
pub(crate) fn instead_of(name: &str, file: &EnvFile) -> String {
    let path = &file.path;
    if !file.exists {
        return format!("there is no {path}");
    }
    match file.entries.iter().find(|entry| meant(&entry.name) == Some(name)) {
        Some(entry) => format!("{path} has {} in line {}, but no {name}", entry.name, entry.line),
        None => format!("{path} has no {name}"),
    }
}

/// Returns the setting that an unknown name probably means.
fn meant(name: &str) -> Option<&'static str> {
    let settings = || SETTINGS.into_iter().chain(limits::names());
    if settings().any(|setting| setting == name) {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    let candidates = settings().map(|setting| (setting, setting)).chain(ALIASES);
    // Names may be as long as the file, but similar ones differ little in length.
    let candidates = candidates.filter(|(spelling, _)| spelling.len().abs_diff(upper.len()) <= 2);
    let near = candidates.map(|(spelling, setting)| (strsim::osa_distance(&upper, spelling), spelling, setting));
    // Two edits turn a short name into too many others: PATH and PORT, HOME and HOST.
    let near = near.filter(|(distance, spelling, _)| *distance <= if spelling.len() <= 4 { 1 } else { 2 });
    near.min_by_key(|(distance, ..)| *distance).map(|(_, _, setting)| setting)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{Flags, Settings};

    #[test]
    fn every_setting_that_is_read_is_known() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("known-peers.json"), "[]").expect("written");
        let read = RefCell::new(BTreeSet::new());
        let environment = |name: &str| {
            read.borrow_mut().insert(name.to_owned());
            (name == "PORT").then(|| "4001".to_owned())
        };
        Settings::read(folder.path(), &Flags::default(), environment).expect("settings");
        let known: BTreeSet<_> = SETTINGS.into_iter().chain(limits::names()).map(str::to_owned).collect();
        assert_eq!(read.into_inner(), known);
    }

    #[test]
    fn mistyped_names_are_recognised_and_other_names_left_alone() {
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
            ("RELEY", "RELAY"),
            ("RELAYES", "RELAYS"),
            ("LOOKUPS", "LOOKUP"),
            ("LOOKUP_BOOTSTRAPS", "LOOKUP_BOOTSTRAP"),
            ("WANN", "WAN"),
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
        for name in SETTINGS.into_iter().chain(limits::names()) {
            assert_eq!(meant(name), None, "{name} is a setting");
        }
    }
}
