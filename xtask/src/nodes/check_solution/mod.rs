//! `check-solution`: acts out the user stories of the exercise against anybody's solution, in any
//! language, and shows which of them it fulfils.
//!
//! Each story runs with copies of the solution's folder, which know only peers that this task
//! plays. So a failure can name the message that was sent, what was expected, and what came.

mod peer;
mod solution;
mod stories;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use futures_util::{StreamExt, stream};
use measuring::{Format, Table};
use serde_json::json;

use crate::nodes::check_solution::solution::Template;
use crate::nodes::check_solution::stories::{Failure, Part, Story};
use crate::support::running_nodes::block_on;
use crate::support::stop::Stop;
use crate::support::terminal::print;

/// How many stories run at once.
const AT_ONCE: usize = 3;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A node's folder, with .env, known-peers.json, transactions.json and the program
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// How to run a node in its folder [default: node index.js, or python3 main.py, if it is there]
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// Check only these stories, by the names that --json shows
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Print JSON, for graders
    #[arg(long)]
    json: bool,
}

/// How a story ended.
struct Verdict {
    story: Story,
    failure: Option<Failure>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let template = Template::new(&arguments.folder, arguments.command.as_deref())?;
    let wanted = wanted(&arguments.only)?;
    template.clear();
    block_on(async {
        let mut stop = Stop::new()?;
        let mut verdicts = tokio::select! {
            verdicts = check(&template, &wanted) => verdicts?,
            // Each copy is in a process group of its own, which no Ctrl+C reaches.
            () = stop.asked() => bail!("stopped by a signal before the last story; the copies are killed and removed"),
        };
        verdicts.sort_by_key(|verdict| wanted.iter().position(|story| *story == verdict.story));
        print(if arguments.json { as_json(&verdicts) } else { as_text(&verdicts) })?;
        let passed = verdicts.iter().all(|verdict| verdict.failure.is_none());
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn wanted(names: &[String]) -> Result<Vec<Story>> {
    let find = |name: &String| Story::ALL.iter().copied().find(|story| story.name() == name);
    let all: Vec<_> = Story::ALL.iter().map(|story| story.name()).collect();
    let named = names
        .iter()
        .map(|name| find(name).ok_or_else(|| anyhow!("there is no story {name}; choose of: {}", all.join(", "))));
    if names.is_empty() { Ok(Story::ALL.to_vec()) } else { named.collect() }
}

async fn check(template: &Template, wanted: &[Story]) -> Result<Vec<Verdict>> {
    let (first, rest) = wanted.split_first().expect("there are stories");
    // The first alone: a solution that cannot be started is one error, not one for each story.
    let mut verdicts = vec![Verdict { story: *first, failure: first.check(template).await?.err() }];
    let run = async |story: Story| {
        // One may also die at its start of what is special in a story.
        let checked = story.check(template).await.unwrap_or_else(|error| {
            let (sent, expected) = ("the start of the node in its folder".into(), "it listens, and goes on".into());
            Err(Failure { sent, expected, came: format!("{error:#}") })
        });
        Verdict { story, failure: checked.err() }
    };
    verdicts.extend(stream::iter(rest).map(|story| run(*story)).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
    Ok(verdicts)
}

fn as_text(verdicts: &[Verdict]) -> String {
    let mut table = Table::new(["part", "story", ""]);
    for Verdict { story, failure } in verdicts {
        table.push([story.part().name(), story.text(), if failure.is_none() { "passed" } else { "FAILED" }]);
    }
    let mut text = table.show(Format::Text);
    for (story, failure) in verdicts.iter().filter_map(|verdict| Some((verdict.story, verdict.failure.as_ref()?))) {
        let Failure { sent, expected, came } = failure;
        text += &format!(
            "\n\n{}\n  sent      {sent}\n  expected  {expected}\n  came      {came}\n  hint      {}",
            story.text(),
            story.hint()
        );
    }
    let of = |part: Part| {
        let all: Vec<_> = verdicts.iter().filter(|verdict| verdict.story.part() == part).collect();
        let passed = all.iter().filter(|verdict| verdict.failure.is_none()).count();
        (!all.is_empty()).then(|| format!("{}: {passed} of {} passed", part.name(), all.len()))
    };
    let parts: Vec<_> = [Part::Exercise, Part::Bonus, Part::GoodPeer].into_iter().filter_map(of).collect();
    format!("{text}\n\n{}", parts.join("; "))
}

fn as_json(verdicts: &[Verdict]) -> String {
    let stories = verdicts.iter().map(|Verdict { story, failure }| {
        let failure = failure.as_ref().map(|Failure { sent, expected, came }| {
            json!({ "sent": sent, "expected": expected, "came": came, "hint": story.hint() })
        });
        json!({ "name": story.name(), "part": story.part().name(), "story": story.text(),
            "passed": failure.is_none(), "failure": failure })
    });
    let failed = verdicts.iter().filter(|verdict| verdict.failure.is_some()).count();
    json!({ "passed": verdicts.len() - failed, "failed": failed, "stories": stories.collect::<Vec<_>>() }).to_string()
}
