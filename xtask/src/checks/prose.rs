//! `prose`: comments in Rust and prose in Markdown are at most 100 columns wide, and have none of
//! the words that make sentences hard to read.
//!
//! A line of Markdown that holds exactly one sentence may be wider, and so may a line that is one
//! link. Code, tables, headings and HTML in Markdown are not prose, nor are tables in comments.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::support::terminal::{plural, print};
use crate::support::workspace::Workspace;

/// The folders that hold the work of others, beside hidden ones.
const FOREIGN: [&str; 2] = ["target", "node_modules"];
/// The widest line, in characters.
const WIDTH: usize = 100;
/// Words that are not written, in small letters, and what to write instead.
const BANNED: [(&str, &str); 5] = [
    ("anew", "again"),
    ("can not", "cannot"),
    ("in vain", "for nothing, without effect"),
    ("lest", "otherwise"),
    ("whoever", "a peer that, no matter who"),
];
/// Words that are no comment by themselves: they name no reason, unit or consequence.
const EMPTY_COMMENTS: [&str; 4] = ["Everybody.", "Nobody.", "Which.", "Why."];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Check these files and folders [default: the repository]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    check(workspace.root(), &arguments.paths)?;
    Ok(ExitCode::SUCCESS)
}

/// Checks these files and folders; without any, the repository.
pub(crate) fn check(root: &Path, paths: &[PathBuf]) -> Result<()> {
    let mut files = Vec::new();
    let all = [PathBuf::new()];
    for path in if paths.is_empty() { &all } else { paths } {
        add_files(root, path, &mut files)?;
    }
    files.sort();
    let (mut wide_lines, mut banned) = (0, 0);
    for file in &files {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("{} cannot be read", file.display()))?;
        let wide = if is(file, "rs") { wide_comments(&text) } else { wide_prose(&text) };
        wide_lines += wide.len();
        for (line, width) in wide {
            print(format!("{}:{line}: {width} columns", file.display()))?;
        }
        let words = if is(file, "rs") { banned_in_comments(&text) } else { banned_in_prose(&text) };
        banned += words.len();
        for (line, fault) in words {
            print(format!("{}:{line}: {fault}", file.display()))?;
        }
    }
    ensure!(
        wide_lines == 0,
        "{} wider than {WIDTH} columns: break them, or in Markdown write one sentence per line",
        plural(wide_lines, "line")
    );
    ensure!(banned == 0, "{} not to be written: say it as the lines above propose", plural(banned, "word"));
    print(format!("{} have no prose wider than {WIDTH} columns, and no banned word", plural(files.len(), "file")))?;
    Ok(())
}

/// Adds a file of a kind that is checked, or all such files in a folder.
fn add_files(root: &Path, path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let full = root.join(path);
    if full.is_file() {
        files.extend((is(path, "rs") || is(path, "md")).then(|| path.to_owned()));
        return Ok(());
    }
    for entry in fs::read_dir(&full).with_context(|| format!("{} cannot be read", path.display()))? {
        let name = entry?.file_name();
        let foreign = FOREIGN.iter().any(|foreign| name == *foreign) || name.as_encoded_bytes().starts_with(b".");
        let inside = path.join(&name);
        if !foreign && (root.join(&inside).is_dir() || is(&inside, "rs") || is(&inside, "md")) {
            add_files(root, &inside, files)?;
        }
    }
    Ok(())
}

fn is(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|it| it == extension)
}

/// Returns the text of a line that is a comment.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start().strip_prefix("//")?;
    Some(line.trim_start_matches(['/', '!']).trim())
}

/// Returns the comment lines that are too wide, each with its number and its width.
fn wide_comments(text: &str) -> Vec<(usize, usize)> {
    wide_lines(text)
        .filter(|(_, _, line)| comment(line).is_some_and(|words| !words.starts_with('|') && !is_link(words)))
        .map(position)
        .collect()
}

/// Returns the lines of prose that are too wide, each with its number and its width.
fn wide_prose(text: &str) -> Vec<(usize, usize)> {
    let code = code_lines(text);
    wide_lines(text)
        .filter(|(number, _, line)| {
            let line = line.trim();
            !code[number - 1] && !line.starts_with(['|', '#', '<']) && !is_link(line) && !is_one_sentence(line)
        })
        .map(position)
        .collect()
}

/// Returns for each line of Markdown whether it is in a block of code, or a mark of one.
fn code_lines(text: &str) -> Vec<bool> {
    let mut fence: Option<&str> = None;
    let is_code = |line: &str| {
        let line = line.trim();
        let mark = ["```", "~~~"].into_iter().find(|mark| line.starts_with(mark));
        let is_code = fence.is_some() || mark.is_some();
        match fence {
            Some(open) if line.starts_with(open) => fence = None,
            Some(_) => {}
            None => fence = mark,
        }
        is_code
    };
    text.lines().map(is_code).collect()
}

/// Returns the faults in the words of comments, each with the number of its line.
fn banned_in_comments(text: &str) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    let comments = (1..).zip(text.lines()).filter_map(|(number, line)| Some((number, comment(line)?)));
    for (number, words) in comments {
        if EMPTY_COMMENTS.contains(&words) {
            faults.push((number, format!("`{words}` is no comment: give the reason, the unit or the consequence")));
        }
        faults.extend(banned(words).map(|fault| (number, fault)));
    }
    faults
}

/// Returns the faults in the words of Markdown, each with the number of its line.
fn banned_in_prose(text: &str) -> Vec<(usize, String)> {
    let code = code_lines(text);
    let prose = (1..).zip(text.lines()).filter(|(number, _)| !code[number - 1]);
    prose.flat_map(|(number, line)| banned(line).map(move |fault| (number, fault)).collect::<Vec<_>>()).collect()
}

/// Returns the banned words in a line, outside of code.
fn banned(line: &str) -> impl Iterator<Item = String> {
    let words = without_code(line).to_lowercase();
    let stands_in = move |word: &str| {
        let is_apart = |character: Option<char>| character.is_none_or(|it| !it.is_alphanumeric() && it != '_');
        words.match_indices(word).any(|(at, _)| {
            is_apart(words[..at].chars().next_back()) && is_apart(words[at + word.len()..].chars().next())
        })
    };
    let found = BANNED.iter().filter(move |(word, _)| stands_in(word));
    found.map(|(word, instead)| format!("`{word}`: write {instead}"))
}

fn wide_lines(text: &str) -> impl Iterator<Item = (usize, usize, &str)> {
    let lines = (1..).zip(text.lines()).map(|(number, line)| (number, line.chars().count(), line));
    lines.filter(|(_, width, _)| *width > WIDTH)
}

fn position((number, width, _): (usize, usize, &str)) -> (usize, usize) {
    (number, width)
}

/// Whether a line is one address or one Markdown link, perhaps in a list, which cannot be broken.
fn is_link(line: &str) -> bool {
    let line = line.trim_start_matches(['-', '*', '>', ' ']).trim_end_matches(['.', ',', ';']);
    let is_address = line.contains("://") && !line.contains(char::is_whitespace);
    // `[text](address)`, `[text]: address` and `![text](address)`.
    let link = line.trim_start_matches('!').strip_prefix('[').and_then(|line| line.split_once(']'));
    is_address
        || link.is_some_and(|(_, target)| match target.strip_prefix('(') {
            Some(target) => target.find(')') == Some(target.len() - 1),
            None => target.starts_with(':'),
        })
}

/// Whether a line holds one sentence from its beginning to its end.
fn is_one_sentence(line: &str) -> bool {
    let line =
        without_code(line.trim_start_matches(['-', '*', '>', ' ']).trim_start_matches(|c: char| c.is_ascii_digit()));
    let line = line.trim_start_matches(['.', ')', ' ', '*', '_']).trim_end_matches(['*', '_', ')', '"', '”']);
    let begins = line.chars().next().is_some_and(|first| !first.is_lowercase());
    let Some(sentence) = line.strip_suffix(['.', '!', '?', ':']) else { return false };
    let next = |end: usize| sentence[end..].trim_start_matches(['*', '_', ')', '"', '”']).strip_prefix(' ');
    let mut ends = sentence.match_indices(['.', '!', '?']).map(|(at, mark)| at + mark.len());
    begins
        && !ends.any(|end| next(end).is_some_and(|rest| rest.chars().next().is_some_and(|next| !next.is_lowercase())))
}

/// A line with each code span as one word.
fn without_code(line: &str) -> String {
    line.split('`').enumerate().map(|(number, part)| if number % 2 == 1 { "Code" } else { part }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(start: &str, word: &str, end: &str) -> String {
        format!("{start}{}{end}", word.repeat(110 / word.chars().count() + 1))
    }

    #[test]
    fn wide_comments_are_found_and_wide_code_is_not() {
        let text = ["let x = 1;", &long("//! ", "word ", ""), &long("    /// ", "word ", ""), &long("// ", "é ", "")];
        let code = [long("let x = \"", "word ", "\";"), long("let x = 1; ", "    ", "// a comment after code")];
        let found = wide_comments(&[&text[..], &code.each_ref().map(String::as_str)].concat().join("\n"));
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(wide_comments(&format!("// {}\n// {}", "é".repeat(97), "é".repeat(98))), [(2, 101)]);
    }

    #[test]
    fn a_link_is_not_broken() {
        let address = long("https://example.org/", "path/", "");
        assert_eq!(wide_comments(&format!("/// <{address}>\n// {address}.\n//! [text]: {address}")), []);
        assert_eq!(wide_comments(&format!("// see {address}")).len(), 1);
        assert_eq!(wide_prose(&format!("{address}\n- [some text]({address})\n[1]: {address}\n")), []);
        assert_eq!(wide_prose(&format!("see [some text]({address}) and more")).len(), 1);
    }

    #[test]
    fn code_tables_headings_and_html_are_not_prose() {
        let words = long("", "word ", "");
        let text =
            format!("```text\n{words}\n```\n| {words} |\n# {words}\n<b>{words}</b>\n~~~\n```\n{words}\n~~~\n{words}");
        assert_eq!(wide_prose(&text).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [11]);
    }

    #[test]
    fn banned_words_are_found_in_comments_and_prose_and_not_in_code() {
        let lines = |faults: Vec<(usize, String)>| faults.into_iter().map(|(line, _)| line).collect::<Vec<_>>();
        let code = "let whoever = 1; // anew behind code\n/// It can not be.\n// lest it waits\n//! In vain.\n";
        assert_eq!(lines(banned_in_comments(code)), [2, 3, 4]);
        let empty = "    /// Why.\nNobody.\n// Nobody.\n/// Why it waits.\n";
        assert_eq!(lines(banned_in_comments(empty)), [1, 3]);
        let text = "Whoever comes, begins anew.\n| in vain |\n```text\nlest\n```\n`can not`, whoever_comes, harvest\n";
        assert_eq!(lines(banned_in_prose(text)), [1, 1, 2]);
        let fault = &banned_in_comments("// It can not be.")[0].1;
        assert_eq!(fault, "`can not`: write cannot");
    }

    #[test]
    fn one_sentence_may_be_wide() {
        for wide in ["One ", "- One ", "**One** ", "`code` ", "1. One ", "> One "] {
            assert_eq!(wide_prose(&long(wide, "word ", "ends.")), [], "{wide}");
        }
        for wide in [
            long("One ", "word ", "ends. Another begins."),
            long("One ends. Another ", "word ", "ends."),
            long("One ", "word ", "goes on"),
            long("and ", "word ", "ends."),
            long("One ", "word ", "ends. `code` begins."),
        ] {
            assert_eq!(wide_prose(&wide).len(), 1, "{wide}");
        }
        let inside = long("Of e.g. version 1.5 of `a. B`, i.e. that one, ", "word ", "ends.");
        assert_eq!(wide_prose(&inside), [], "no sentence ends inside");
    }
}
