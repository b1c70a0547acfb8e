//! `lesson`: a guided tour through the tutorial, with nodes that really run.
//!
//! It shows the tutorial's text step by step, runs its commands, and shows the frames that travel,
//! as the nodes record them. With `--auto` it asks nothing, and fails where something that the
//! tutorial says does not happen.

mod capture;
mod expected;
mod frames;
mod play;
mod screen;
mod script;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::lesson::play::{Lesson, Stdin};
use crate::lesson::stage::Stage;
use crate::support::cargo::build_node;
use crate::support::left_lessons;
use crate::support::running_nodes::block_on;
use crate::support::stop::Stop;
use crate::support::terminal::{WrongUsage, note, print};
use crate::support::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Ask nothing, do every step, and fail where something does not happen as the text says
    #[arg(long)]
    auto: bool,
    /// List the steps
    #[arg(long)]
    list: bool,
    /// Begin at step N; what is needed of the steps before is done without a word
    #[arg(long, value_name = "N", default_value_t = 1)]
    step: usize,
    /// With --auto, draw the steps as an animated picture into this file
    #[arg(long, value_name = "FILE", requires = "auto", hide = true)]
    capture: Option<PathBuf>,
    /// Use this program instead of building the node
    #[arg(long, hide = true, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let steps = script::steps(workspace.root())?;
    if arguments.list {
        for step in &steps {
            print(format!("{}  {}", step.number, step.title))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let count = steps.len();
    if !(1..=count).contains(&arguments.step) {
        return Err(WrongUsage(format!("there is no step {}: choose 1 to {count}", arguments.step)).into());
    }
    let binary = match &arguments.binary {
        Some(binary) => binary.canonicalize()?,
        None => build_node(workspace, false)?,
    };
    block_on(async {
        let mut stop = Stop::new()?;
        left_lessons::clear(workspace).await?;
        let stage = Stage::new(workspace, binary)?;
        let stdin = if arguments.auto { None } else { Some(Stdin::new()) };
        let mut lesson = Lesson::new(workspace, stage, stdin);
        let played = tokio::select! {
            played = lesson.play(&steps, arguments.step) => Some(played),
            () = stop.asked() => None,
        };
        let shown = std::mem::take(&mut lesson.screen.shown);
        lesson.stage.end().await?;
        match played {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(error),
            None if arguments.auto => bail!("stopped by a signal before the last step; the nodes have ended"),
            None => note!("\nstopped: the nodes have ended, and their folder is removed"),
        }
        if let Some(path) = &arguments.capture {
            capture::write(path, &shown)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
