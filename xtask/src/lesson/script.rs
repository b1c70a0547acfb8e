//! The script of the lesson, which is the tutorial: the lesson shows its text, runs its commands,
//! and expects what it quotes. So there is one text, and what it says happens.
//!
//! | in `docs/tutorial.md`, between the two marks | in the lesson |
//! |---|---|
//! | `## 2. Title` | a step |
//! | a paragraph, a list | is shown |
//! | a block of `console` | lines with `$` are run, the others must be printed |
//! | a block of `diff` | in the file after `---`, each text after `-` becomes that after `+` |
//! | a block of `text` with `node-1 → node-2  {"type":…` | frames of these types must travel |
//! | a block of `text` with `node-1  …` | the log of that node must have these lines |
//! | `**Question.**`, then `<details>` | is asked, then answered |

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::lesson::expected::{FramePattern, LinePattern};

const TUTORIAL: &str = include_str!("../../../docs/tutorial.md");
const BEGIN: &str = "<!-- lesson: begin -->";
const END: &str = "<!-- lesson: end -->";
const FENCE: &str = "```";
const QUESTION: &str = "**Question.**";
const ANSWER: &str = "<details><summary>Answer</summary>";
const ANSWER_END: &str = "</details>";

/// A step of the lesson.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) number: usize,
    pub(crate) title: String,
    pub(crate) blocks: Vec<Block>,
}

/// A part of a step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Block {
    /// A paragraph or a list, line by line.
    Text(Vec<String>),
    Commands(Vec<Command>),
    Edits(Vec<Edit>),
    /// Lines of logs, each with its node.
    Log(Vec<(u32, LinePattern)>),
    Frames(Vec<FramePattern>),
    Question {
        question: Vec<String>,
        answer: Vec<String>,
    },
}

/// A command, and lines of what it prints, or its node logs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Command {
    pub(crate) text: String,
    pub(crate) prints: Vec<LinePattern>,
}

/// A change of a text in a file, which is named by its path from the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) file: String,
    pub(crate) old: String,
    pub(crate) new: String,
}

/// Returns the steps of a workspace's tutorial, as it is now; where it has none, of the one that
/// this program was built with.
pub(crate) fn steps(root: &Path) -> Result<Vec<Step>> {
    let text = fs::read_to_string(root.join("docs/tutorial.md"));
    parse(text.as_deref().unwrap_or(TUTORIAL)).context("docs/tutorial.md is no script of a lesson")
}

fn parse(document: &str) -> Result<Vec<Step>> {
    let (_, rest) = document.split_once(BEGIN).with_context(|| format!("it has no {BEGIN}"))?;
    let (body, _) = rest.split_once(END).with_context(|| format!("it has no {END}"))?;
    let mut steps: Vec<Step> = Vec::new();
    let mut answering = false;
    for part in parts(body)? {
        match part {
            Part::Heading(text) => {
                let (number, title) = text.split_once(". ").with_context(|| format!("no number in {text:?}"))?;
                let number = number.parse().with_context(|| format!("no number in {text:?}"))?;
                ensure!(number == steps.len() + 1, "step {number} follows step {}", steps.len());
                steps.push(Step { number, title: title.to_owned(), blocks: Vec::new() });
            }
            Part::Paragraph(lines) => {
                let blocks = &mut steps.last_mut().context("text stands before the first step")?.blocks;
                let first = lines.first().map_or("", String::as_str);
                if first == ANSWER {
                    answering = true;
                } else if first == ANSWER_END {
                    answering = false;
                } else if answering {
                    let Some(Block::Question { answer, .. }) = blocks.last_mut() else {
                        bail!("an answer has no question: {first}")
                    };
                    answer.extend(lines);
                } else if first.starts_with(QUESTION) {
                    blocks.push(Block::Question { question: lines, answer: Vec::new() });
                } else {
                    blocks.push(Block::Text(lines));
                }
            }
            Part::Code(language, lines) => {
                let blocks = &mut steps.last_mut().context("code stands before the first step")?.blocks;
                blocks.push(code(language, &lines)?);
            }
        }
    }
    Ok(steps)
}

/// A part of the document.
enum Part<'a> {
    Heading(&'a str),
    Paragraph(Vec<String>),
    Code(&'a str, Vec<&'a str>),
}

fn parts(body: &str) -> Result<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut lines = body.lines();
    let mut paragraph = Vec::new();
    while let Some(line) = lines.next() {
        let special = line.starts_with(FENCE) || line.starts_with("## ") || line.starts_with('<');
        if (special || line.is_empty()) && !paragraph.is_empty() {
            parts.push(Part::Paragraph(std::mem::take(&mut paragraph)));
        }
        if let Some(language) = line.strip_prefix(FENCE) {
            let code: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with(FENCE)).collect();
            ensure!(!code.is_empty(), "a block of code is empty");
            parts.push(Part::Code(language, code));
        } else if let Some(heading) = line.strip_prefix("## ") {
            parts.push(Part::Heading(heading));
        } else if line.starts_with('<') {
            parts.push(Part::Paragraph(vec![line.to_owned()]));
        } else if !line.is_empty() {
            paragraph.push(line.to_owned());
        }
    }
    if !paragraph.is_empty() {
        parts.push(Part::Paragraph(paragraph));
    }
    Ok(parts)
}

fn code(language: &str, lines: &[&str]) -> Result<Block> {
    match language {
        "console" => {
            let mut commands: Vec<Command> = Vec::new();
            for line in lines {
                match (line.strip_prefix("$ "), commands.last_mut()) {
                    (Some(text), _) => commands.push(Command { text: text.to_owned(), prints: Vec::new() }),
                    (None, Some(command)) => command.prints.push(LinePattern::new(line)),
                    (None, None) => bail!("output stands before a command: {line}"),
                }
            }
            Ok(Block::Commands(commands))
        }
        "diff" => edits(lines).map(Block::Edits),
        "text" if lines.iter().any(|line| line.contains(" → ")) => {
            let frames = lines.iter().filter(|line| line.contains(" → ")).map(|line| FramePattern::new(line));
            Ok(Block::Frames(frames.collect::<Result<_>>()?))
        }
        "text" => {
            let line = |line: &&str| {
                let (node, text) = line.split_once("  ").with_context(|| format!("no node in {line:?}"))?;
                let number = node.strip_prefix("node-").and_then(|number| number.parse().ok());
                Ok((number.with_context(|| format!("no node in {line:?}"))?, LinePattern::new(text)))
            };
            Ok(Block::Log(lines.iter().map(line).collect::<Result<_>>()?))
        }
        _ => bail!("a block of {language:?} has no meaning: write console, diff or text"),
    }
}

/// Reads a block of `diff`. What is left out at an end of a line is `…`.
fn edits(lines: &[&str]) -> Result<Vec<Edit>> {
    let (mut file, mut old, mut edits) = (None, None, Vec::new());
    for line in lines {
        let text = || line[1..].trim_matches('…').to_owned();
        if let Some(path) = line.strip_prefix("--- ") {
            file = Some(path);
        } else if line.starts_with('-') {
            old = Some(text());
        } else if line.starts_with('+') {
            let file = file.with_context(|| format!("no line names the file of {line:?}"))?.to_owned();
            let old = old.take().with_context(|| format!("nothing becomes {line:?}"))?;
            edits.push(Edit { file, old, new: text() });
        } else {
            bail!("a change begins with ---, - or +: {line:?}");
        }
    }
    ensure!(old.is_none() && !edits.is_empty(), "a change has no line that begins with +");
    Ok(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tutorial_is_a_script() {
        let steps = parse(TUTORIAL).expect("a script");
        assert_eq!(steps.len(), 8);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
        for step in &steps {
            let has = |wanted: fn(&Block) -> bool| step.blocks.iter().any(wanted);
            let title = &step.title;
            assert!(has(|block| matches!(block, Block::Commands(_))), "{title}: nothing to type");
            let is_question = |block: &Block| matches!(block, Block::Question { answer, .. } if !answer.is_empty());
            assert!(step.blocks.iter().any(is_question), "{title}: no question with an answer");
            // A refused connection has no frames.
            assert!(step.number == 1 || has(|block| matches!(block, Block::Frames(_))), "{title}: no frames");
            let text: Vec<&str> = step.blocks.iter().flat_map(lines).collect();
            assert!(text.iter().any(|line| line.contains("http://localhost:800")), "{title}: no page to look at");
            let place = text.iter().position(|line| line.starts_with("**Where:**"));
            let places = text[place.unwrap_or_else(|| panic!("{title}: no file"))..].join(" ");
            for path in places.split('`').skip(1).step_by(2).filter(|path| path.contains('/')) {
                assert!(root.join(path).exists(), "{title} names {path}, which does not exist");
            }
        }
    }

    fn lines(block: &Block) -> impl Iterator<Item = &str> {
        let lines: &[String] = if let Block::Text(lines) = block { lines } else { &[] };
        lines.iter().map(String::as_str)
    }

    #[test]
    fn a_step_has_the_parts_of_its_section() {
        let document = "# T\n<!-- lesson: begin -->\n\n## 1. One\n\nLook\nhere.\n\n```console\n$ a b\nprinted\n$ c\n```\n\
            \n```diff\n--- a/b\n-…c: 1,…\n+…c: 2,…\n```\n\n```text\nnode-2  said\n```\n\n```text\n 0.1  node-1 → node-2  {\"type\":\"SYNC\"}\n      more\n```\n\
            \n**Question.** Why?\n\n<details><summary>Answer</summary>\n\nSo.\n\n</details>\n\n<!-- lesson: end -->\n## 9. no";
        let [step] = &parse(document).expect("a script")[..] else { panic!("one step") };
        let [
            Block::Text(text),
            Block::Commands(commands),
            Block::Edits(edits),
            Block::Log(log),
            Block::Frames(frames),
            question,
        ] = &step.blocks[..]
        else {
            panic!("{:?}", step.blocks)
        };
        assert_eq!((step.number, step.title.as_str(), text.join(" ").as_str()), (1, "One", "Look here."));
        assert_eq!(commands.iter().map(|command| command.text.as_str()).collect::<Vec<_>>(), ["a b", "c"]);
        let edit = Edit { file: "a/b".to_owned(), old: "c: 1,".to_owned(), new: "c: 2,".to_owned() };
        assert_eq!(*edits, [edit]);
        assert_eq!((commands[0].prints.len(), log[0].0, frames.len()), (1, 2, 1));
        let Block::Question { question, answer } = question else { panic!("{question:?}") };
        assert_eq!((question.join(""), answer.join("")), ("**Question.** Why?".to_owned(), "So.".to_owned()));
    }

    #[test]
    fn what_is_no_script_is_named() {
        for (body, expected) in [
            ("## 2. Two", "step 2 follows step 0"),
            ("## One", "no number in \"One\""),
            ("text", "text stands before the first step"),
            ("## 1. A\n```rust\nlet a;\n```", "a block of \"rust\" has no meaning"),
            ("## 1. A\n```console\nprinted\n```", "output stands before a command"),
            ("## 1. A\n```text\nnobody says\n```", "no node in"),
            ("## 1. A\n```diff\n-a\n+b\n```", "no line names the file"),
            ("## 1. A\n```diff\n--- a\n+b\n```", "nothing becomes"),
            ("## 1. A\n```diff\n--- a\n-b\n```", "has no line that begins with +"),
            ("## 1. A\n```diff\n@@ 1 @@\n```", "a change begins with"),
        ] {
            let document = format!("{BEGIN}\n{body}\n{END}");
            let error = format!("{:#}", parse(&document).expect_err(body));
            assert!(error.contains(expected), "{error}");
        }
        assert!(parse("no marks").is_err());
    }
}
