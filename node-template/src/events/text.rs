//! Text helpers: foreign text is made safe for a terminal, and counts get their noun.

use crate::util::network_name::is_blank;

/// Quotation marks and brackets that people and chats put around a line, as pairs.
const QUOTES: [(char, char); 12] = [
    ('\'', '\''),
    ('"', '"'),
    ('`', '`'),
    ('‘', '’'),
    ('’', '’'),
    ('‚', '‘'),
    ('“', '”'),
    ('”', '”'),
    ('„', '“'),
    ('«', '»'),
    ('»', '«'),
    ('<', '>'),
];

/// The most characters that [`strip_control`] keeps.
const CHARACTERS: usize = 200;
/// The end of a text that was cut.
const CUT: char = '…';

/// Returns a number and its noun, as in "1 address" and "2 addresses".
pub(crate) fn plural(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// Returns a time in its largest whole unit up to days, as in "29 days" and "40 seconds".
#[cfg_attr(not(any(feature = "cli", feature = "tls")), expect(dead_code, reason = "for certificates"))]
pub(crate) fn time_left(time: std::time::Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => plural(seconds, "second", "seconds"),
        seconds @ 60..3_600 => plural(seconds / 60, "minute", "minutes"),
        seconds @ 3_600..86_400 => plural(seconds / 3_600, "hour", "hours"),
        seconds => plural(seconds / 86_400, "day", "days"),
    }
}

/// Returns a foreign text as one line that is safe for a terminal, of at most 200 characters.
/// Escape sequences, control characters and marks of the reading direction are removed; line breaks
/// and tabs become spaces.
pub fn strip_control(text: &str) -> String {
    strip_control_max(text, CHARACTERS)
}

/// As [`strip_control`], with at most `max` characters.
pub(crate) fn strip_control_max(text: &str, max: usize) -> String {
    let mut clean = String::new();
    for (length, character) in safe(text).enumerate() {
        if length == max {
            clean.pop();
            clean.push(CUT);
            break;
        }
        clean.push(character);
    }
    clean
}

/// As [`strip_control`], with at most `max` bytes, of which a cut text ends with three for "…".
#[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "the console shows such texts"))]
pub(crate) fn strip_control_bytes(text: &str, max: usize) -> String {
    let mut clean = String::new();
    for character in safe(text) {
        if clean.len() + character.len_utf8() > max {
            clean.truncate(clean.floor_char_boundary(max.saturating_sub(CUT.len_utf8())));
            clean.push(CUT);
            break;
        }
        clean.push(character);
    }
    clean
}

/// Returns the characters of a text that are safe for a terminal.
fn safe(text: &str) -> impl Iterator<Item = char> {
    let mut characters = text.chars().peekable();
    std::iter::from_fn(move || {
        loop {
            return match characters.next()? {
                '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => Some(' '),
                '\u{1b}' if characters.next_if_eq(&'[').is_some() => {
                    skip_sequence(&mut characters);
                    continue;
                }
                '\u{1b}' => {
                    // Removes the letter of the sequence, but no letter of the text.
                    characters.next_if(|next| matches!(next, '(' | ')' | ']' | 'P' | 'X' | '^' | '_' | '\\'));
                    continue;
                }
                '\u{9b}' => {
                    skip_sequence(&mut characters);
                    continue;
                }
                '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}' => continue,
                control if control.is_control() => continue,
                other => Some(other),
            };
        }
    })
}

/// Returns a line without what surrounds it where people copied it: characters that cannot be seen,
/// and pairs of quotation marks. A single mark stays, since it may be part of the line.
pub(crate) fn unquoted(text: &str) -> &str {
    let mut text = text.trim_matches(is_blank);
    let pairs = || QUOTES.iter().copied();
    while let Some(inner) = pairs().find_map(|(open, close)| text.strip_prefix(open)?.strip_suffix(close)) {
        text = inner.trim_matches(is_blank);
    }
    text
}

/// Skips the rest of a control sequence (ECMA-48, section 5.4): parameters, intermediates, one
/// final character.
fn skip_sequence(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while characters.next_if(|next| matches!(next, ' '..='?')).is_some() {}
    characters.next_if(|next| matches!(next, '@'..='~'));
}

/// Formats a time for people: 40 s, 12 min, 3 h 5 min, 2 d 4 h.
pub(crate) fn span(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min"),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_is_never_zero_days() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (40, "40 seconds"),
            (60, "1 minute"),
            (7_199, "1 hour"),
            (86_399, "23 hours"),
            (86_400, "1 day"),
            (29 * 86_400 + 5, "29 days"),
        ] {
            assert_eq!(time_left(std::time::Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_copied_line_loses_what_surrounds_it_and_nothing_of_its_own() {
        for text in [
            "x’",
            "  x’\n",
            "\u{200b}x’\u{2060}",
            "'x’'",
            "“x’”",
            "\u{feff}\"'x’'\u{ad}\" ",
            "<x’>",
            "„x’“",
            "«\u{a0}x’\u{a0}»",
        ] {
            assert_eq!(unquoted(text), "x’", "{text:?}");
        }
        for text in ["x'", "'x", "say \"hi\"", "a 'b'", "'a' b", "“x'", ">x<", "'"] {
            assert_eq!(unquoted(text), text);
        }
        assert_eq!((unquoted(""), unquoted("''"), unquoted(" \u{200b} ")), ("", "", ""));
    }

    #[test]
    fn foreign_text_cannot_touch_the_terminal() {
        for (text, shown) in [
            ("HANDSHAKE", "HANDSHAKE"),
            ("žluťoučký 🦀", "žluťoučký 🦀"),
            ("a\u{1b}[31;1mb\u{1b}[0mc", "abc"),
            ("\u{1b}]0;title\u{7}x", "0;titlex"),
            ("\u{9b}2Jx\u{85}\u{0}\u{8}\u{7f}y", "xy"),
            ("one\r\ntwo\tthree\u{2028}four", "one  two three four"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}[12", ""),
            ("\u{1b}[é", "é"),
            ("\u{1b}\u{1b}[31mx", "x"),
            ("\u{202e}abc\u{2066}\u{200f}\u{61c}", "abc"),
            ("", ""),
        ] {
            assert_eq!(strip_control(text), shown, "{text:?}");
        }
        assert_eq!(strip_control(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(strip_control(&"é".repeat(201)), "é".repeat(199) + "…");
        assert_eq!(
            strip_control(&("x".repeat(200) + "\u{1b}[0m\u{7}")),
            "x".repeat(200),
            "what is removed does not count"
        );
    }

    #[cfg(feature = "cli")]
    #[test]
    fn a_text_is_cut_in_bytes_between_characters() {
        for (text, max, shown) in [
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abc…"),
            ("🦀🦀", 8, "🦀🦀"),
            ("🦀🦀🦀", 8, "🦀…"),
            ("🦀🦀🦀", 10, "🦀…"),
            ("🦀🦀🦀", 11, "🦀🦀…"),
            ("ab\u{1b}[31m\u{7}c\nd", 5, "abc d"),
        ] {
            assert_eq!(strip_control_bytes(text, max), shown, "{text:?} {max}");
        }
        for max in 3..100 {
            assert!(strip_control_bytes(&"a🦀é".repeat(50), max).len() <= max, "{max}");
        }
    }
}
