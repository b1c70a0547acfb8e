//! The nodes of a lesson: a folder of their own, free ports, their processes, and what they print.
//!
//! The folder is a workspace without code, inside the real one: so `cargo run` works in its node
//! folders, and the learner's own nodes are not touched.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use meshpool::binary::{is_taken, system, with_setting};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::lesson::frames::Frames;
use crate::lesson::script::Edit;
use crate::support::end_node::{GRACE, Outcome, end_node};
use crate::support::left_lessons::{LESSON, TARGET};
use crate::support::terminal::{note, strip_control};
use crate::support::workspace::{Lock, Workspace};
use crate::support::{left, node_command};

/// How many nodes the lesson has at most.
const NODES: u32 = 6;
/// The port of node 1, less 1, unless one of the ports is taken: the ports of the tutorial.
const USUAL_BASE: u16 = 4_000;
/// The distance from a node's port to that of its page.
const PAGE_ABOVE: u16 = 4_000;
/// The time in which what is expected must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// How old a node's list of its links is at most, with the time to ask for it.
const LIST_AGE: Duration = Duration::from_millis(1_500);
/// The interval of looking for it.
const INTERVAL: Duration = Duration::from_millis(20);
/// Settings that would override those of the lesson's folders.
const EXPORTED: [&str; 6] = ["PORT", "HTTP_PORT", "HTTP_HOST", "ADDRESS", "MY_PUBLIC_KEY", "NETWORK"];
/// Between a folder and what runs in it.
const THEN: &str = " && ";
/// The option of `add-transaction` that names a file.
const FROM_FILE: &str = "--file";

/// See the module. It must be ended by [`Stage::end`].
pub(crate) struct Stage {
    /// The workspace of the lesson.
    pub(crate) workspace: Workspace,
    binary: PathBuf,
    base: u16,
    children: BTreeMap<u32, Child>,
    pub(crate) frames: Frames,
    watcher: JoinHandle<()>,
    /// How long each log was when the present commands began.
    logged: BTreeMap<u32, usize>,
    /// When they began, in milliseconds since 1970.
    pub(crate) since: f64,
    /// When a program was last started.
    started: Option<Instant>,
    /// Shows others that this lesson lives.
    claim: File,
}

impl Stage {
    /// Makes the folder. `binary`: the node's program.
    pub(crate) fn new(real: &Workspace, binary: PathBuf) -> Result<Self> {
        let base = free_base()?;
        let (root, claim) = make_folder(&real.root().join(TARGET), left::claim)?;
        let filled = fill(real, &root, base);
        let workspace = filled.and_then(|()| Workspace::find(Some(&root)));
        let workspace = match workspace {
            Ok(workspace) => workspace,
            Err(error) => {
                remove(&root, claim);
                return Err(error);
            }
        };
        let frames = Frames::new(base);
        let folders = (1..=NODES).map(|number| workspace.folder(number)).collect();
        let watcher = tokio::spawn(frames.clone().watch(folders));
        let (children, logged) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { workspace, binary, base, children, frames, watcher, logged, since: now(), started: None, claim })
    }

    /// Whether the nodes have the ports of the tutorial.
    pub(crate) fn has_usual_ports(&self) -> bool {
        self.base == USUAL_BASE
    }

    /// Returns a text of the tutorial with the ports of this lesson.
    pub(crate) fn ports(&self, text: &str) -> String {
        if self.has_usual_ports() {
            return text.to_owned();
        }
        let mut text = text.to_owned();
        for number in 1..=NODES as u16 {
            for above in [0, PAGE_ABOVE] {
                let (usual, port) = (USUAL_BASE + above + number, self.base + above + number);
                for before in ["localhost:", "listening "] {
                    text = text.replace(&format!("{before}{usual}"), &format!("{before}{port}"));
                }
            }
        }
        text
    }

    /// Notes that commands begin: from now on is searched for what they cause.
    pub(crate) fn mark(&mut self) {
        self.since = now();
        self.logged = (1..=NODES).map(|number| (number, self.log(number).len())).collect();
    }

    /// Starts the program of a folder: a node of ours with arguments, or the JavaScript one.
    pub(crate) fn start(&mut self, number: u32, program: &Program) -> Result<()> {
        let folder = self.workspace.existing(number)?;
        if matches!(folder.lock()?, Lock::Held(_)) {
            return Ok(());
        }
        let env = folder.path.join(".env");
        let text = fs::read_to_string(&env).with_context(|| format!("{} cannot be read", env.display()))?;
        let port = u32::from(self.base) + number;
        fs::write(&env, with_setting(&text, "PORT", &port.to_string()))?;
        let mut command = match program {
            Program::Node(arguments) => {
                let mut command = node_command::command(&self.binary, &folder.path)?;
                command.args(arguments);
                command
            }
            Program::JavaScript(file) => {
                let mut command = node_command::command(Path::new("node"), &folder.path)?;
                command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).arg(file);
                command
            }
        };
        // Ctrl+C in the terminal is for the lesson, which then ends its nodes in order.
        system::leave_group(command.as_std_mut());
        let child = command.spawn();
        let child = child.with_context(|| format!("the node in {} cannot be started", folder.path.display()))?;
        if let Some(id) = child.id() {
            left::note_process(self.workspace.root(), id, &format!("{}/{}", folder.name(), node_command::LOG))?;
        }
        self.children.insert(number, child);
        self.started = Some(Instant::now());
        Ok(())
    }

    /// Waits until the links of the last program are watched: a node's list of its links is up to a
    /// second old, and frames that travel before are not recorded.
    pub(crate) async fn watched(&self) {
        let seen = self.started.map(|started| started + LIST_AGE);
        tokio::time::sleep_until(seen.unwrap_or_else(Instant::now).into()).await;
    }

    /// Changes a text in a file, as the learner would in an editor.
    pub(crate) fn edit(&self, edit: &Edit) -> Result<()> {
        let path = self.workspace.root().join(&edit.file);
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let old = self.ports(&edit.old);
        ensure!(text.contains(&old), "{} has no {old:?} that could be changed", path.display());
        fs::write(&path, text.replace(&old, &self.ports(&edit.new)))
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Runs a command of the tutorial, and returns what it prints.
    pub(crate) async fn run(&self, text: &str) -> Result<Vec<String>> {
        let text = self.ports(text);
        let Invocation { is_task, folder, mut arguments } = Invocation::read(&text)?;
        let folder = self.workspace.root().join(folder);
        // A client whose transaction comes from a file is held until its frames are recorded.
        let place = arguments.iter().position(|argument| argument == FROM_FILE);
        let file = place.and_then(|place| arguments.get_mut(place + 1)).map(|file| std::mem::replace(file, "-".into()));
        let mut command = match is_task {
            true => Command::new(std::env::current_exe().context("this program has no path")?),
            false => Command::new(&self.binary),
        };
        if is_task {
            command.arg("--root").arg(self.workspace.root());
        }
        command.args(arguments).current_dir(&folder).kill_on_drop(true);
        EXPORTED.iter().for_each(|name| {
            command.env_remove(name);
        });
        command.stdin(if file.is_some() { Stdio::piped() } else { Stdio::null() });
        let clients: Vec<usize> = (1..=NODES).map(|number| self.frames.clients_of(number)).collect();
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("`{text}` cannot be started"))?;
        if let (Some(file), Some(mut input)) = (file, child.stdin.take()) {
            let bytes = fs::read(folder.join(&file)).with_context(|| format!("{file} cannot be read"))?;
            let is_watched = || (1..).zip(&clients).any(|(number, before)| self.frames.clients_of(number) > *before);
            wait_until(is_watched).await;
            // A program that has ended says why.
            input.write_all(&bytes).await.unwrap_or_default();
        }
        let output = timeout(PATIENCE * 3, child.wait_with_output()).await;
        let Output { stdout, stderr, .. } = output.with_context(|| format!("`{text}` did not end"))??;
        let printed = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        // It looks at the usual ports, which the lesson's nodes do not use then.
        let is_of_use = |line: &&str| self.has_usual_ports() || !line.starts_with("warning: port ");
        Ok(printed.lines().filter(is_of_use).map(strip_control).collect())
    }

    /// Returns what a node has logged since the present commands began.
    pub(crate) fn logged(&self, number: u32) -> Vec<String> {
        let log = self.log(number);
        let from = self.logged.get(&number).copied().unwrap_or(0);
        log.get(from..).unwrap_or_default().lines().map(strip_control).collect()
    }

    /// Whether the lesson started the node of a folder, and so has its log.
    pub(crate) fn has_log(&self, number: u32) -> bool {
        self.children.contains_key(&number)
    }

    fn log(&self, number: u32) -> String {
        node_command::log(&self.workspace.folder(number).path)
    }

    /// Ends all nodes of the lesson, also those that the learner started, and removes the folder.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.watcher.abort();
        for id in self.children.values().filter_map(Child::id) {
            // It may have ended by itself.
            system::end(id).unwrap_or_default();
        }
        for child in self.children.values_mut() {
            if timeout(GRACE, child.wait()).await.is_err() {
                child.kill().await?;
            }
        }
        for folder in self.workspace.folders()? {
            if let Outcome::Left(why) = end_node(&folder, false).await? {
                bail!("{} {why}", folder.path.display());
            }
        }
        remove(self.workspace.root(), self.claim);
        Ok(())
    }
}

/// What runs in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Program {
    /// Our node, with these arguments.
    Node(Vec<String>),
    /// A JavaScript program, by its path from the folder.
    JavaScript(String),
}

impl Program {
    /// Reads a command that runs a program in a node's folder until it is stopped; `None` is one
    /// that ends by itself.
    pub(crate) fn read(command: &str) -> Option<(u32, Self)> {
        let (number, rest) = command.strip_prefix("cd node-")?.split_once(THEN)?;
        let number = number.parse().ok()?;
        if let Some(file) = rest.strip_prefix("node ") {
            return Some((number, Self::JavaScript(file.to_owned())));
        }
        let arguments = rest.strip_prefix("cargo run")?;
        let arguments: Vec<String> = arguments.split_whitespace().skip(1).map(str::to_owned).collect();
        let is_node = arguments.first().is_none_or(|first| first.starts_with('-') || first == "run");
        is_node.then_some((number, Self::Node(arguments)))
    }
}

/// A command that ends by itself. It has no characters that mean different things to different
/// shells, so that it can be typed everywhere.
#[derive(Debug, PartialEq, Eq)]
struct Invocation {
    /// A task of `cargo xtask`, or else the node's program.
    is_task: bool,
    /// Where it runs, from the workspace.
    folder: String,
    arguments: Vec<String>,
}

impl Invocation {
    fn read(text: &str) -> Result<Self> {
        let (folder, command) = match text.strip_prefix("cd ") {
            Some(rest) => rest.split_once(THEN).context("a command follows a folder")?,
            None => ("", text),
        };
        let special = command.chars().find(|character| "\"'`$&|<>;*?~\\%^(){}".contains(*character));
        if let Some(special) = special {
            bail!("{special:?} in `{text}` does not mean the same in every shell");
        }
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        let (is_task, arguments) = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["cargo", "xtask", ..] => (true, &words[2..]),
            ["cargo", "run", "--", ..] => (false, &words[3..]),
            _ => bail!("`{text}` is neither `cargo xtask …` nor `cargo run -- …`"),
        };
        Ok(Self { is_task, folder: folder.to_owned(), arguments: arguments.to_vec() })
    }
}

/// Waits until something has happened; returns whether it did in time.
pub(crate) async fn wait_until(mut happened: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if happened() {
            return true;
        }
        sleep(INTERVAL).await;
    }
    happened()
}

/// Returns milliseconds since 1970.
fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}

/// Returns the base of free ports: the usual one if all its ports are free.
fn free_base() -> Result<u16> {
    let is_free =
        |base: u16| (1..=NODES as u16).all(|node| !is_taken(base + node) && !is_taken(base + PAGE_ABOVE + node));
    let base = (USUAL_BASE..USUAL_BASE + 2_000).step_by(100).find(|base| is_free(*base));
    base.context("no six ports in a row from 4001 to 5906 are free, with those of their pages: stop other programs")
}

/// Makes the lesson's folder: `lesson`, or with a number if another lesson has that. Returns it
/// with its lock, which `claim` takes.
fn make_folder(parent: &Path, claim: impl Fn(&Path) -> Result<Option<File>>) -> Result<(PathBuf, File)> {
    fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
    for number in 1..100 {
        let name = if number == 1 { LESSON.to_owned() } else { format!("{LESSON}-{number}") };
        let root = parent.join(name);
        match fs::create_dir(&root) {
            Ok(()) => match claim(&root) {
                Ok(Some(claim)) => return Ok((root, claim)),
                // The task that took it removes it.
                Ok(None) => {}
                Err(error) => {
                    // What failed says more than that the folder stays.
                    fs::remove_dir_all(&root).unwrap_or_default();
                    return Err(error);
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("{} cannot be made", root.display())),
        }
    }
    bail!("{} has a hundred folders of lessons: end the lessons that run, or remove those folders", parent.display())
}

/// Puts into the folder what `clone-node` copies, and the JavaScript node.
fn fill(real: &Workspace, root: &Path, base: u16) -> Result<()> {
    let copy = |from: &Path, to: &Path, change: &dyn Fn(String) -> String| -> Result<()> {
        let text = fs::read_to_string(from).with_context(|| format!("{} cannot be read", from.display()))?;
        fs::write(to, change(text)).with_context(|| format!("{} cannot be written", to.display()))
    };
    fs::create_dir(root.join("node-template"))?;
    // Without a terminal a node would count its transactions instead of naming each.
    copy(&real.template(".env"), &root.join("node-template/.env"), &|text| {
        with_setting(&text, "LOG_TRANSACTIONS", "each")
    })?;
    let ported = |text: String| {
        (1..=NODES as u16).fold(text, |text, number| {
            text.replace(&format!(":{}", USUAL_BASE + number), &format!(":{}", base + number))
        })
    };
    copy(&real.root().join("known-peers.json"), &root.join("known-peers.json"), &ported)?;
    copy(&real.root().join("transactions.json"), &root.join("transactions.json"), &|text| text)?;
    let interop = real.root().join("interop");
    system::link_folder(&interop, &root.join("interop")).context("the link to interop cannot be made")
}

fn remove(root: &Path, claim: File) {
    if let Err(error) = left::remove(root, claim) {
        note!("warning: {} was left behind: {error:#}", root.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_runs_until_it_is_stopped_is_known() {
        let node = |arguments: &[&str]| Program::Node(arguments.iter().map(|text| (*text).to_owned()).collect());
        for (command, expected) in [
            ("cd node-2 && cargo run", Some((2, node(&[])))),
            ("cd node-5 && cargo run -- --require-signatures", Some((5, node(&["--require-signatures"])))),
            ("cd node-6 && node ../interop/node.mjs", Some((6, Program::JavaScript("../interop/node.mjs".into())))),
            ("cd node-4 && cargo run -- peers add ws://localhost:4001", None),
            ("cargo xtask status", None),
        ] {
            assert_eq!(Program::read(command), expected, "{command}");
        }
    }

    #[test]
    fn a_command_that_ends_is_one_that_every_shell_knows() {
        let read = |text| Invocation::read(text).map(|it| (it.is_task, it.folder, it.arguments.join(" ")));
        let expected = |is_task, folder: &str, arguments: &str| (is_task, folder.to_owned(), arguments.to_owned());
        assert_eq!(read("cargo xtask status").expect("one"), expected(true, "", "status"));
        let peers = read("cd node-4 && cargo run -- peers add ws://localhost:4001").expect("one");
        assert_eq!(peers, expected(false, "node-4", "peers add ws://localhost:4001"));
        for (text, why) in [
            ("cargo xtask add-transaction '{}'", "does not mean the same"),
            ("cargo xtask status | more", "does not mean the same"),
            ("kill 1", "is neither"),
            ("cd node-1", "a command follows"),
        ] {
            let error = format!("{:#}", read(text).expect_err(text));
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn each_lesson_has_a_folder_of_its_own() {
        let parent = tempfile::tempdir().expect("a folder");
        let target = parent.path().join("target");
        let made: Vec<_> = (0..3).map(|_| make_folder(&target, left::claim).expect("made")).collect();
        let names: Vec<_> = made.iter().map(|(path, _)| path.file_name().expect("a name").to_owned()).collect();
        assert_eq!(names, ["lesson", "lesson-2", "lesson-3"]);
        // Another task takes the fourth for one that is left, and removes it.
        let taken = |folder: &Path| match folder.ends_with("lesson-4") {
            true => fs::remove_dir_all(folder).map(|()| None).context("removed"),
            false => left::claim(folder),
        };
        let (fifth, _claim) = make_folder(&target, taken).expect("made");
        assert!(fifth.ends_with("lesson-5"), "{}", fifth.display());
    }

    #[test]
    fn a_folder_that_cannot_be_locked_is_not_left_empty() {
        let parent = tempfile::tempdir().expect("a folder");
        let error = make_folder(parent.path(), |_| bail!("the disk fails")).expect_err("it cannot be locked");
        assert_eq!(error.to_string(), "the disk fails");
        assert_eq!(fs::read_dir(parent.path()).expect("read").count(), 0);
    }
}
