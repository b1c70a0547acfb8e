//! Wrong texts in errors: their beginning, with a mark where it is cut.

/// The most characters of a wrong text in its error: the scheme, a node id with some digits too
/// many, and a bit more. A wrong relay behind it is quoted on its own.
const SHOWN_CHARACTERS: usize = 80;

/// Returns the beginning of a wrong text for an error, with a mark if it is cut.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
