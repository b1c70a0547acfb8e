//! What the lesson shows: lines in the terminal, which a picture may be made of.

use std::io::stdout;

use anyhow::Result;

use crate::support::terminal::{colour, print};

/// The widest line.
pub(crate) const WIDTH: usize = 100;

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Title,
    Text,
    Command,
    /// What a command or a node printed.
    Output,
    Frame,
    Question,
    /// What to do now.
    Note,
}

impl Style {
    /// Returns the code of its look (ECMA-48, Select Graphic Rendition).
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Title => Some("1;36"),
            Self::Text | Self::Output => None,
            Self::Command => Some("1"),
            Self::Frame => Some("32"),
            Self::Question => Some("33"),
            Self::Note => Some("2"),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Screen {
    has_colour: bool,
    /// Nothing is shown, for the steps before the chosen one.
    pub(crate) is_quiet: bool,
    /// All that was shown.
    pub(crate) shown: Vec<(Style, String)>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { has_colour: colour(&stdout()), is_quiet: false, shown: Vec::new() }
    }

    pub(crate) fn line(&mut self, style: Style, text: &str) -> Result<()> {
        if self.is_quiet {
            return Ok(());
        }
        self.shown.push((style, text.to_owned()));
        match style.code().filter(|_| self.has_colour && !text.is_empty()) {
            Some(code) => print(format!("\u{1b}[{code}m{text}\u{1b}[0m"))?,
            None => print(text)?,
        }
        Ok(())
    }

    /// Shows a paragraph of Markdown, with an empty line before it.
    pub(crate) fn paragraph(&mut self, style: Style, lines: &[String]) -> Result<()> {
        self.line(style, "")?;
        lines.iter().try_for_each(|line| self.line(style, &plain(line)))
    }
}

/// Returns a line of Markdown without its marks. Code keeps its quotes.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    // [words](address)
    while let Some((before, after)) = rest.split_once('[') {
        let link = after.split_once("](").and_then(|(words, after)| Some((words, after.split_once(')')?.1)));
        text.push_str(before);
        match link {
            Some((words, after)) => {
                text.push_str(words);
                rest = after;
            }
            None => {
                text.push('[');
                rest = after;
            }
        }
    }
    (text + rest).replace("**", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_is_shown_as_text() {
        let line = "**Where:** `a/b.rs`, see [the glossary](glossary.md) and `[\"x\"]`.";
        assert_eq!(plain(line), "Where: `a/b.rs`, see the glossary and `[\"x\"]`.");
    }

    #[test]
    fn a_quiet_screen_shows_nothing() {
        let mut screen = Screen::new();
        screen.is_quiet = true;
        screen.line(Style::Text, "a").expect("written");
        assert!(screen.shown.is_empty());
    }
}
