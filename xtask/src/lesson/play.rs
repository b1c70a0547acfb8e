//! Plays the steps: shows, asks, runs, and checks that what the tutorial says happens.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::process::{Command as Process, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::mpsc;

use crate::lesson::expected::{FramePattern, LinePattern};
use crate::lesson::frames::Travelled;
use crate::lesson::screen::{Screen, Style};
use crate::lesson::script::{Block, Command, Edit, Step};
use crate::lesson::stage::{Program, Stage, wait_until};
use crate::support::npm;
use crate::support::workspace::Workspace;

/// Commands that change nothing: repeated until they print what is expected.
const READING: [&str; 3] = ["cargo xtask status", "cargo xtask network", "cargo xtask transactions"];
/// The command that installs what the JavaScript node needs, in the real workspace.
const NPM: &str = "npm ci --prefix interop";
/// How many lines of a command's output, and how many frames, are shown.
const OUTPUT_LINES: usize = 16;
const FRAMES: usize = 14;
/// How many precede the expected ones.
const BEFORE: usize = 4;
/// How many of them follow the last one that is expected.
const AFTER: usize = 2;
/// What to do where Node.js is missing.
const NO_NODE: &str =
    "Node.js is missing: install Node.js 20.12 or newer with npm (Debian: apt-get install nodejs npm)";

/// The lines that the learner types.
pub(crate) struct Stdin(mpsc::Receiver<String>);

impl Stdin {
    /// Reads in a thread, which is not joined: a read from a terminal ends only with the process.
    pub(crate) fn new() -> Self {
        // What is typed ahead waits in the terminal.
        let (sender, receiver) = mpsc::channel(1);
        thread::spawn(move || {
            let lines = std::io::stdin().lock().lines();
            lines.map_while(Result::ok).try_for_each(|line| sender.blocking_send(line))
        });
        Self(receiver)
    }
}

/// The lesson as it goes on.
pub(crate) struct Lesson<'a> {
    workspace: &'a Workspace,
    pub(crate) stage: Stage,
    pub(crate) screen: Screen,
    /// `None` with `--auto`.
    stdin: Option<Stdin>,
    step: usize,
}

impl<'a> Lesson<'a> {
    pub(crate) fn new(workspace: &'a Workspace, stage: Stage, stdin: Option<Stdin>) -> Self {
        Self { workspace, stage, screen: Screen::new(), stdin, step: 0 }
    }

    /// Plays all steps; those before `first` without showing them.
    pub(crate) async fn play(&mut self, steps: &[Step], first: usize) -> Result<()> {
        if self.stdin.is_some() {
            self.introduce(steps.len())?;
        }
        if first > 1 {
            let text = format!("What step {first} needs of the steps before is done first, which takes some seconds.");
            self.screen.line(Style::Note, &text)?;
        }
        for step in steps {
            self.step = step.number;
            self.screen.is_quiet = step.number < first;
            self.screen.line(Style::Text, "")?;
            self.screen.line(Style::Title, &format!("Step {} of {}: {}", step.number, steps.len(), step.title))?;
            if !self.has_programs(step)? {
                continue;
            }
            for block in &step.blocks {
                self.block(block).await?;
            }
            if step.number < steps.len() {
                self.pause(&format!("[Enter] step {}", step.number + 1)).await?;
            }
        }
        self.pause("[Enter] end the nodes, when you have looked at their pages").await?;
        self.screen.line(Style::Text, "")?;
        self.screen.line(Style::Title, "The end. The nodes end now, and their folder is removed.")?;
        self.screen.line(Style::Note, "Next: `cargo xtask up 3` starts nodes of your own; docs/tutorial.md goes on.")
    }

    fn introduce(&mut self, steps: usize) -> Result<()> {
        let root = self.stage.workspace.root().display().to_string();
        let mut lines = vec![
            format!("The lesson has {steps} steps and takes about twenty minutes. Its nodes really run, in {root}."),
            "Your own nodes are not touched. Ctrl+C ends the lesson and its nodes.".to_owned(),
            "Before commands the lesson waits. Press Enter, and it runs those that are shown.".to_owned(),
        ];
        lines.push(match self.stage.has_usual_ports() {
            true => format!("Or `cd {root}` in other terminals, one for each node, and type there; then s and Enter."),
            false => "A port from 4001 to 4006 or 8001 to 8006 is taken, so this lesson uses others.".to_owned(),
        });
        lines.iter().try_for_each(|line| self.screen.line(Style::Note, line))
    }

    /// Whether the programs of a step are installed. In CI a missing one is a failure.
    fn has_programs(&mut self, step: &Step) -> Result<bool> {
        let is_javascript =
            |command: &Command| matches!(Program::read(&command.text), Some((_, Program::JavaScript(_))));
        let mut blocks = step.blocks.iter();
        if !blocks.any(|block| matches!(block, Block::Commands(commands) if commands.iter().any(is_javascript))) {
            return Ok(true);
        }
        let answer = Process::new("node").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if answer.is_ok_and(|status| status.success()) {
            return Ok(true);
        }
        ensure!(std::env::var_os("CI").is_none(), "step {}: {NO_NODE}", step.number);
        self.screen.line(Style::Note, &format!("This step is left out: {NO_NODE}"))?;
        Ok(false)
    }

    async fn block(&mut self, block: &Block) -> Result<()> {
        match block {
            Block::Text(lines) => {
                let lines: Vec<String> = lines.iter().map(|line| self.stage.ports(line)).collect();
                self.screen.paragraph(Style::Text, &lines)
            }
            Block::Commands(commands) => self.commands(commands).await,
            Block::Edits(edits) => self.edits(edits).await,
            Block::Log(lines) => {
                self.screen.line(Style::Text, "")?;
                for (number, pattern) in lines {
                    self.expect_logged(*number, pattern).await?;
                }
                Ok(())
            }
            Block::Frames(patterns) => self.frames(patterns).await,
            Block::Question { question, answer } => {
                self.screen.paragraph(Style::Question, question)?;
                self.pause("[Enter] the answer").await?;
                self.screen.paragraph(Style::Text, answer)
            }
        }
    }

    /// Waits for Enter; returns what was typed before it.
    async fn pause(&mut self, prompt: &str) -> Result<String> {
        let Some(stdin) = self.stdin.as_mut().filter(|_| !self.screen.is_quiet) else { return Ok(String::new()) };
        self.screen.line(Style::Note, "")?;
        self.screen.line(Style::Note, prompt)?;
        loop {
            let line = stdin.0.recv().await;
            let line =
                line.context("standard input has ended before the lesson: run it in a terminal, or with --auto")?;
            let answer = line.trim();
            if answer.is_empty() || (answer == "s" && prompt.contains("[s Enter]")) {
                return Ok(line);
            }
            self.screen
                .line(Style::Note, &format!("{answer:?} is no answer here: {prompt}. Ctrl+C ends the lesson"))?;
        }
    }

    async fn commands(&mut self, commands: &[Command]) -> Result<()> {
        self.screen.line(Style::Text, "")?;
        for command in commands {
            let text = self.stage.ports(&command.text);
            // In the lesson's folder the tasks would act on the real workspace.
            let text = match self.stdin {
                Some(_) => text.replace("cargo xtask ", "cargo xtask --root . "),
                None => text,
            };
            self.screen.line(Style::Command, &format!("$ {text}"))?;
        }
        self.stage.watched().await;
        self.stage.mark();
        let is_done = self.is_done("run it here", "I have typed it in another terminal").await?;
        if !is_done {
            self.stage.mark();
        }
        for command in commands {
            match Program::read(&command.text) {
                Some((number, program)) => {
                    if !is_done {
                        self.stage.start(number, &program)?;
                    }
                    for pattern in &command.prints {
                        self.expect_logged(number, pattern).await?;
                    }
                }
                None if is_done => {}
                None => self.run(command).await?,
            }
        }
        Ok(())
    }

    /// Asks whether the learner has done something, which the lesson does otherwise.
    async fn is_done(&mut self, here: &str, done: &str) -> Result<bool> {
        let prompt = match self.stage.has_usual_ports() {
            true => format!("[Enter] {here}    [s Enter] {done}"),
            false => format!("[Enter] {here}"),
        };
        Ok(self.pause(&prompt).await?.trim() == "s")
    }

    async fn edits(&mut self, edits: &[Edit]) -> Result<()> {
        self.screen.line(Style::Text, "")?;
        for Edit { file, old, new } in edits {
            for line in [format!("in {file}"), format!("- {old}"), format!("+ {new}")] {
                self.screen.line(Style::Command, &self.stage.ports(&line))?;
            }
        }
        if !self.is_done("change it here", "I have changed it").await? {
            edits.iter().try_for_each(|edit| self.stage.edit(edit))?;
        }
        Ok(())
    }

    /// Runs a command that ends by itself.
    async fn run(&mut self, command: &Command) -> Result<()> {
        if command.text == NPM {
            let interop = self.workspace.root().join("interop");
            return if npm::is_fresh(&interop) { Ok(()) } else { npm::install(&interop) };
        }
        let is_reading = READING.iter().any(|reading| command.text.starts_with(reading));
        // What is printed has the ports of the lesson, except what clone-node says.
        let mapped: Vec<_> = command.prints.iter().map(|pattern| pattern.map(|text| self.stage.ports(text))).collect();
        let mut printed = self.stage.run(&command.text).await?;
        let missing = |printed: &[String]| {
            let is_missing = |(pattern, mapped): &(&LinePattern, &LinePattern)| {
                !printed.iter().any(|line| pattern.matches(line) || mapped.matches(line))
            };
            command.prints.iter().zip(&mapped).find(is_missing).map(|(_, mapped)| mapped.quote.clone())
        };
        let began = std::time::Instant::now();
        while is_reading && missing(&printed).is_some() && began.elapsed() < std::time::Duration::from_secs(20) {
            printed = self.stage.run(&command.text).await?;
        }
        for line in printed.iter().take(OUTPUT_LINES) {
            self.screen.line(Style::Output, line)?;
        }
        match missing(&printed) {
            None => Ok(()),
            Some(missing) => self.fail(&format!("`{}` prints {missing:?}", command.text), &printed.join(" / ")),
        }
    }

    /// Waits for a line in a node's log, and shows it.
    async fn expect_logged(&mut self, number: u32, pattern: &LinePattern) -> Result<()> {
        let pattern = pattern.map(|text| self.stage.ports(text));
        if !self.stage.has_log(number) {
            return self.screen.line(Style::Note, &format!("node-{number} logs, in another run: {}", pattern.quote));
        }
        let found = |stage: &Stage| stage.logged(number).into_iter().find(|line| pattern.matches(line));
        wait_until(|| found(&self.stage).is_some()).await;
        match found(&self.stage) {
            Some(line) => self.screen.line(Style::Output, &format!("node-{number}  {line}")),
            None => {
                let last = self.stage.logged(number).pop().unwrap_or_else(|| "nothing".to_owned());
                self.fail(&format!("node-{number} logs {:?}", pattern.quote), &last)
            }
        }
    }

    /// Waits for frames, and shows those that travelled since the last commands.
    async fn frames(&mut self, patterns: &[FramePattern]) -> Result<()> {
        let is = |frame: &Travelled, pattern: &FramePattern| pattern.matches(&frame.from, &frame.to, &frame.kind);
        let missing = |frames: &[Travelled]| {
            let mut patterns = patterns.iter();
            patterns.find(|pattern| !frames.iter().any(|frame| is(frame, pattern))).map(ToString::to_string)
        };
        wait_until(|| missing(&self.stage.frames.since(self.stage.since)).is_none()).await;
        let frames = self.stage.frames.since(self.stage.since);
        let shown: Vec<&Travelled> =
            frames.iter().filter(|frame| patterns.iter().any(|pattern| is(frame, pattern))).collect();
        self.screen.line(Style::Text, "")?;
        // Much may travel before and after what the text is about.
        let firsts = patterns.iter().filter_map(|pattern| shown.iter().position(|frame| is(frame, pattern)));
        let complete = firsts.max().map_or(0, |last| last + 1);
        let before = &shown[..complete];
        let lasts = patterns.iter().filter_map(|pattern| before.iter().rposition(|frame| is(frame, pattern)));
        let end = (complete + AFTER).min(shown.len());
        let begin = lasts.min().unwrap_or(0).saturating_sub(BEFORE).max(end.saturating_sub(FRAMES));
        let shown = &shown[begin..end];
        let first = shown.first().map_or(0.0, |frame| frame.time);
        for line in shown.iter().flat_map(|frame| frame.lines(first)) {
            self.screen.line(Style::Frame, &line)?;
        }
        let mut others: BTreeMap<&str, usize> = BTreeMap::new();
        for frame in frames.iter().filter(|frame| !shown.iter().any(|shown| std::ptr::eq(*shown, *frame))) {
            *others.entry(&frame.kind).or_default() += 1;
        }
        if !others.is_empty() {
            let others: Vec<_> = others.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            let text = format!("            (and others, which the views of the links have: {})", others.join(", "));
            self.screen.line(Style::Note, &text)?;
        }
        match missing(&frames) {
            None => Ok(()),
            Some(missing) => {
                let kinds: Vec<_> = frames
                    .iter()
                    .rev()
                    .take(FRAMES)
                    .map(|frame| format!("{} from {} to {}", frame.kind, frame.from, frame.to))
                    .collect();
                self.fail(&format!("the frame {missing}"), &kinds.join(", "))
            }
        }
    }

    /// Reports that something did not happen. A learner may go on.
    fn fail(&mut self, expected: &str, got: &str) -> Result<()> {
        let got = if got.is_empty() { "nothing" } else { got };
        let text = format!("step {}: expected that {expected}, got {got}", self.step);
        if self.stdin.is_none() || self.screen.is_quiet {
            bail!("{text}");
        }
        self.screen.line(Style::Note, &text)
    }
}
