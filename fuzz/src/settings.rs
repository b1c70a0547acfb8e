//! A node's folder: `.env` and `known-peers.json` as anybody may have written them, separated by the first zero byte of the input.

use std::fs;

use p2p_node::folder::KNOWN_PEERS;
use p2p_node::settings::{Flags, Settings};

use crate::folder;

/// Reads a folder's settings, twice.
pub fn run(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (env, known) = (parts.next().unwrap_or_default(), parts.next().unwrap_or(b"[]"));
    let folder = folder::new();
    let (env_file, known_file) = (folder.path().join(".env"), folder.path().join(KNOWN_PEERS));
    fs::write(&env_file, env).expect("written");
    fs::write(&known_file, known).expect("written");

    let read = || Settings::read(folder.path(), &Flags::default(), |_| None);
    let first = read();
    match &first {
        Ok(settings) => {
            for (index, address) in settings.known_peers.iter().enumerate() {
                assert!(!settings.known_peers[..index].contains(address), "{address} is there twice");
            }
            settings.warnings.iter().for_each(|warning| check_line(warning));
            check_line(&settings.listen_origin);
            check_line(&settings.network);
            let address = settings.advertised(4_001).expect("a host that was taken makes an address");
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        Err(error) => check_line(&error.to_string()),
    }
    let words =
        |result: &Result<Settings, _>| result.as_ref().map_or_else(ToString::to_string, |read| format!("{read:?}"));
    assert_eq!(words(&first), words(&read()), "the same folder says the same");
    assert_eq!(fs::read(env_file).expect("it is there"), env, "reading changes nothing");
    assert_eq!(fs::read(known_file).expect("it is there"), known, "reading changes nothing");
    assert_eq!(folder::names(folder.path()).len(), 2, "and writes nothing");
}

/// What a person reads is one line, and moves no cursor.
fn check_line(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}
