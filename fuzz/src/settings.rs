//! Any text as `.env`, `known-peers.json` and `denied.txt`, separated by the first zero bytes.

use std::fs;

use meshpool::binary::KNOWN_PEERS;
use meshpool::config::{Flags, Settings};

use crate::{folder, lists, planted};

/// Reads a folder's settings, twice.
pub fn run(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let (env, known) = (parts.next().unwrap_or_default(), parts.next().unwrap_or(b"[]"));
    if let Some(list) = parts.next().and_then(|list| str::from_utf8(list).ok()) {
        lists::check(list);
    }
    let folder = folder::new();
    let (env_file, known_file) = (folder.path().join(".env"), folder.path().join(KNOWN_PEERS));
    fs::write(&env_file, env).expect("written");
    fs::write(&known_file, known).expect("written");

    let read = || Settings::read(folder.path(), &Flags::default(), |_| None);
    let first = read();
    match &first {
        Ok(settings) => {
            // Planted: a text of the folder reaches the terminal unchanged.
            if planted::is_due(|| settings.network.contains(char::is_uppercase)) {
                check_line("\u{1b}[2J");
            }
            for (index, address) in settings.known_peers.iter().enumerate() {
                assert!(!settings.known_peers[..index].contains(address), "{address} is listed twice");
            }
            settings.warnings.iter().for_each(|warning| check_line(warning));
            check_line(&settings.listen_origin);
            check_line(&settings.network);
            let address = settings.advertised(4_001).expect("an accepted host makes an address");
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        Err(error) => check_line(&error.to_string()),
    }
    let text_of =
        |result: &Result<Settings, _>| result.as_ref().map_or_else(ToString::to_string, |read| format!("{read:?}"));
    assert_eq!(text_of(&first), text_of(&read()), "the result is the same again");
    assert_eq!(fs::read(env_file).expect("the file exists"), env, "reading changes nothing");
    assert_eq!(fs::read(known_file).expect("the file exists"), known, "reading changes nothing");
    assert_eq!(folder::names(folder.path()).len(), 2, "reading writes nothing");
}

/// Checks that a text for people is one line without control characters.
fn check_line(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}
