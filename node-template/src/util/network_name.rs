//! Names of networks: what may stand in NETWORK, in an invite and in the call of a library.
//!
//! People compare names by eye, and nodes by bytes. Hence two names that look the same must not
//! differ, and each name goes through an invite unchanged.

use meshpool_proto::limits::SHOWN_CHARACTERS;

/// A text that cannot be the name of a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidNetworkName {
    /// It is empty.
    #[error("a network's name is not empty")]
    Empty,
    /// It has an address in it. In an invite that would be a second one.
    #[error("a network's name has no address in it: neither iroh: nor ://")]
    Address,
    /// It begins or ends with a space.
    #[error("a network's name does not begin or end with a space")]
    Space,
    /// It is too long: peers' logs show 64 characters.
    #[error("a network's name has at most 64 characters, and this one has {0}")]
    Long(usize),
    /// It has a character that cannot be seen, or not be told from a space.
    #[error("a network's name has no character that cannot be seen, and this one has U+{:04X}", u32::from(*.0))]
    Invisible(char),
}

/// Checks the name of a network.
///
/// # Errors
/// [`InvalidNetworkName`].
pub(crate) fn check(name: &str) -> Result<(), InvalidNetworkName> {
    if name.is_empty() {
        return Err(InvalidNetworkName::Empty);
    }
    if name.contains("://") || name.to_ascii_lowercase().contains("iroh:") {
        return Err(InvalidNetworkName::Address);
    }
    if let Some(hidden) = name.chars().find(|character| *character != ' ' && is_blank(*character)) {
        return Err(InvalidNetworkName::Invisible(hidden));
    }
    if name.starts_with(' ') || name.ends_with(' ') {
        return Err(InvalidNetworkName::Space);
    }
    match name.chars().count() {
        0..=SHOWN_CHARACTERS => Ok(()),
        length => Err(InvalidNetworkName::Long(length)),
    }
}

/// Returns whether a character leaves nothing to see: white space, control characters, and those
/// that only affect others (general categories Cc, Cf, Zl, Zp and Zs, the property
/// Default_Ignorable_Code_Point, noncharacters, and the empty Braille pattern; Unicode 16).
pub(crate) fn is_blank(character: char) -> bool {
    character.is_whitespace() || character.is_control() || is_ignorable(character)
}

fn is_ignorable(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'
            | '\u{891}'
            | '\u{8e2}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fdd0}'..='\u{fdef}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    ) || u32::from(character) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_people_can_compare() {
        for name in ["p2p-node", "it's", "say \"hi\"", "<x>", "#1", "私の網", "žluť 🦀", "e\u{301}", &"é".repeat(64)]
        {
            assert_eq!(check(name), Ok(()), "{name:?}");
        }
        assert_eq!(check(""), Err(InvalidNetworkName::Empty));
        assert_eq!(check(&"é".repeat(65)), Err(InvalidNetworkName::Long(65)));
        for name in ["net iroh:", "a\nIroh:b", "ws://h:1", "net ws://h:1#net"] {
            assert_eq!(check(name), Err(InvalidNetworkName::Address), "{name:?}");
        }
        for name in [" ", " a", "a "] {
            assert_eq!(check(name), Err(InvalidNetworkName::Space), "{name:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_refused_by_its_code_point() {
        for (hidden, code) in [
            ('\u{200b}', "U+200B"),
            ('\u{200d}', "U+200D"),
            ('\u{2060}', "U+2060"),
            ('\u{ad}', "U+00AD"),
            ('\u{a0}', "U+00A0"),
            ('\u{3000}', "U+3000"),
            ('\u{feff}', "U+FEFF"),
            ('\u{fe0f}', "U+FE0F"),
            ('\u{202e}', "U+202E"),
            ('\u{2028}', "U+2028"),
            ('\u{3164}', "U+3164"),
            ('\u{2800}', "U+2800"),
            ('\u{e0041}', "U+E0041"),
            ('\u{fdd0}', "U+FDD0"),
            ('\u{1ffff}', "U+1FFFF"),
            ('\n', "U+000A"),
            ('\t', "U+0009"),
            ('\u{7f}', "U+007F"),
            ('\u{85}', "U+0085"),
        ] {
            for name in [format!("a{hidden}b"), format!("{hidden}a"), format!("a{hidden}")] {
                let error = check(&name).expect_err(code);
                assert_eq!(error, InvalidNetworkName::Invisible(hidden));
                assert!(error.to_string().ends_with(code), "{error}");
            }
        }
    }
}
