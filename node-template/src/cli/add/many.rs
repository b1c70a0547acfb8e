//! Many transactions: the lines of a file or of standard input, or the elements of an array there.
//!
//! A thread reads, so that a slow pipe does not delay ACKs. Transactions are sent as fast as the
//! node takes them. An invalid one is reported with its number and not sent. Blank lines are
//! skipped. Ten equal refusals in a row end it: the input has another form than it should.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::{Stream, stream};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::cli::add::source::{Source, Unit};
use crate::cli::add::tally::{Refusals, Tally};
use crate::cli::add::what::What;
use crate::cli::node_folder::NodeFolder;
use crate::cli::target::Target;
use crate::cli::terminal::{plural, print, write_note};
use crate::client::Client;
use crate::client::exercise_fields::ExerciseFields as Stamp;
use crate::protocol::json::Parser;
use crate::protocol::transaction::{Transaction, TransactionId};

/// Lines that are read ahead of the network.
const READ_AHEAD: usize = 1_024;
/// After this pause of the source the client closes until it goes on, since a node closes a client
/// that is silent for five seconds.
const PAUSE: Duration = Duration::from_secs(2);

/// The source of the lines.
pub(crate) struct Input {
    reader: Box<dyn Read + Send>,
    name: String,
    /// The number of lines, where it is known beforehand.
    lines: Option<u64>,
}

impl Input {
    pub(crate) fn stdin() -> Self {
        Self { reader: Box::new(io::stdin()), name: "standard input".to_owned(), lines: None }
    }

    /// Opens a file and counts its lines, for the progress bar; "-" is standard input.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::stdin());
        }
        let name = path.display().to_string();
        let unreadable = || format!("{name} cannot be read; check its name");
        let mut file = File::open(path).with_context(unreadable)?;
        let kind = file.metadata().with_context(unreadable)?.file_type();
        if kind.is_dir() {
            bail!("{name} is a folder; name a file in it");
        }
        // A pipe cannot be read twice.
        let lines = if kind.is_file() {
            let by_line = match Source::new(file.try_clone()?) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => bail!("{name} cannot be sent: {error}"),
                source => source.with_context(unreadable)?.unit() == Unit::Line,
            };
            file.rewind().with_context(unreadable)?;
            let lines = BufReader::new(&file).split(b'\n').try_fold(0, |lines, line| line.map(|_| lines + 1));
            file.rewind().with_context(unreadable)?;
            Some(lines.with_context(unreadable)?).filter(|_| by_line)
        } else {
            None
        };
        Ok(Self { reader: Box::new(file), name, lines })
    }
}

/// A line or an element with its number, parsed and completed.
struct Line {
    unit: Unit,
    number: u64,
    content: Result<Transaction, String>,
}

/// Returns whether all was accepted.
pub(crate) async fn run(
    target: Target,
    what: &What,
    input: Input,
    stamp: Stamp,
    as_json: bool,
    spread: impl AsyncFn(&[TransactionId]) -> Result<Option<String>>,
) -> Result<bool> {
    let name = target.name();
    let exercise = target.is_exercise();
    let target = match target {
        Target::Folder(_, client) if what.no_wait || exercise => {
            return send_all(&name, *client, input, stamp, as_json).await;
        }
        Target::Api(_) if what.no_wait => {
            bail!("{name}: the API always waits for the disk: leave --no-wait out")
        }
        target => target,
    };
    let began = Instant::now();
    let tally = RefCell::new(Tally::new(input.lines));
    let mut lines = read(input, stamp);
    let sent = match target {
        Target::Folder(folder, client) => submit_all(&folder, *client, &mut lines, &tally).await,
        api => submit_each(api, what.signs(), &mut lines, &tally).await,
    };
    let tally = tally.into_inner();
    tally.bar.finish_and_clear();
    if let Err(error) = sent {
        return Err(error).context(tally.so_far());
    }
    if as_json {
        print(format!("{:#}", tally.as_json(&name)))?;
    } else {
        let spread = if tally.kept.is_empty() { None } else { spread(&tally.kept).await? };
        let spread = spread.map_or_else(String::new, |spread| format!("; {spread}"));
        print(format!("{} in {:.1} s{spread}", tally.summary(&name), began.elapsed().as_secs_f64()))?;
    }
    tally.refusals.print_rest();
    if let Some(why) = tally.refusals.gave_up(&name).or_else(|| tally.refusals.all_refused()) {
        bail!("{why}");
    }
    Ok(tally.refusals.count == 0)
}

/// Submits line by line to a node elsewhere, each once the one before it is on disk.
async fn submit_each(
    mut target: Target,
    signs: bool,
    lines: &mut mpsc::Receiver<Line>,
    tally: &RefCell<Tally>,
) -> Result<()> {
    while let Some(transaction) = next(lines, tally).await {
        let ack = target.submit(&transaction, signs).await?;
        tally.borrow_mut().acknowledge(&ack);
    }
    Ok(())
}

/// Submits line by line; opens a new client when the source goes on after a pause.
async fn submit_all(
    folder: &NodeFolder,
    client: Client,
    lines: &mut mpsc::Receiver<Line>,
    tally: &RefCell<Tally>,
) -> Result<()> {
    let mut client = Some(client);
    while let Some(first) = next(lines, tally).await {
        let mut open = match client.take() {
            Some(client) => client,
            None => folder.connect().await?,
        };
        open.submit_many(until_pause(first, lines, tally), |ack| tally.borrow_mut().acknowledge(&ack)).await?;
        open.close().await;
    }
    if let Some(unused) = client {
        unused.close().await;
    }
    Ok(())
}

/// Yields transactions up to the end of the source, or to a pause.
fn until_pause<'a>(
    first: Transaction,
    lines: &'a mut mpsc::Receiver<Line>,
    tally: &'a RefCell<Tally>,
) -> impl Stream<Item = Transaction> + 'a {
    stream::unfold((Some(first), lines), move |(first, lines)| async move {
        let transaction = match first {
            Some(first) => first,
            None => timeout(PAUSE, next(lines, tally)).await.ok().flatten()?,
        };
        Some((transaction, (None, lines)))
    })
}

/// Returns the next valid line. Cancelling it loses no line.
async fn next(lines: &mut mpsc::Receiver<Line>, tally: &RefCell<Tally>) -> Option<Transaction> {
    loop {
        if tally.borrow().refusals.is_enough() {
            return None;
        }
        let Line { unit, number, content } = lines.recv().await?;
        tally.borrow_mut().refusals.unit = unit;
        match content {
            Ok(transaction) => {
                tally.borrow_mut().refusals.input_is_valid();
                tally.borrow_mut().waiting.entry(transaction.id().to_string()).or_default().push(number);
                return Some(transaction);
            }
            Err(error) => tally.borrow_mut().refuse_input(number, &error),
        }
    }
}

/// Sends all lines without waiting for ACKs.
async fn send_all(name: &str, mut client: Client, input: Input, stamp: Stamp, as_json: bool) -> Result<bool> {
    let mut lines = read(input, stamp);
    let (mut sent, mut refusals) = (0, Refusals::default());
    while !refusals.is_enough()
        && let Some(Line { unit, number, content }) = lines.recv().await
    {
        refusals.unit = unit;
        match content {
            Ok(transaction) => {
                refusals.input_is_valid();
                client.send(transaction.body()).await?;
                sent += 1;
            }
            Err(error) => {
                if let Some(line) = refusals.input(number, &error) {
                    write_note(&line);
                }
            }
        }
    }
    refusals.print_rest();
    let noun = refusals.unit.noun();
    if !client.close().await {
        bail!(
            "{name} did not answer the close: it is not known which of the {} it read; see its log",
            plural(sent, noun)
        );
    }
    match as_json {
        true => print(format!("{:#}", json!({ "node": name, "sent": sent, "refused": refusals.count })))?,
        false => print(format!(
            "{} sent to {name}, {} refused; whether they are stored is not known",
            plural(sent, noun),
            refusals.count
        ))?,
    }
    if let Some(why) = refusals.gave_up(name).or_else(|| refusals.all_refused()) {
        bail!("{why}");
    }
    Ok(refusals.count == 0)
}

/// Reads in a thread, which is not joined: a read that blocks on a terminal ends only with the
/// process.
fn read(input: Input, stamp: Stamp) -> mpsc::Receiver<Line> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        let mut parser = Parser::new();
        let unreadable = |error| Line {
            unit: Unit::Line,
            number: 1,
            content: Err(format!("{} cannot be read: {error}", input.name)),
        };
        let source = match Source::new(input.reader) {
            Ok(source) => source,
            // If nobody waits for it, the process is ending.
            Err(error) => return sender.blocking_send(unreadable(error)).unwrap_or_default(),
        };
        let unit = source.unit();
        for (number, part) in source {
            let content = part.and_then(|bytes| match std::str::from_utf8(&bytes) {
                Ok(text) => stamp.add(&mut parser, text).map_err(|error| error.to_string()),
                Err(error) => Err(format!("not UTF-8: {error}")),
            });
            if sender.blocking_send(Line { unit, number, content }).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_their_numbers() {
        let text = "\u{feff}{\"a\":1}\r\n\n[1]\n\u{b}{\n{\"a\":1}";
        let input = Input { reader: Box::new(text.as_bytes()), name: String::new(), lines: None };
        let mut lines = read(input, Stamp::new(true));
        let mut seen = Vec::new();
        while let Some(line) = lines.blocking_recv() {
            seen.push((line.number, line.content.is_ok()));
        }
        assert_eq!(seen, [(1, true), (3, false), (4, false), (5, true)]);
    }
}
