//! A node on a host of the lab: its folder, its process, and what it reports all the time.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use meshpool::Client;
use meshpool::binary::pool::{LOCK_FILE, POOL_FILE};
use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::transaction::TransactionId;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep, timeout};

use crate::measures::wan::history::History;
use crate::measures::wan::state::State;
use crate::support::namespace::Namespace;
use crate::support::nat_lab::Host;

/// The port of every node; each host has one.
pub(crate) const PORT: u16 = 4001;
/// The usual interval of looking at a node, and so the error of each measured time.
pub(crate) const LOOK: Duration = Duration::from_millis(10);
/// The time in which a node must start, or end after a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// The programs of the nodes.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) node: Arc<Path>,
    /// Of an earlier build.
    pub(crate) previous: Option<Arc<Path>>,
    /// The folder of those in JavaScript.
    pub(crate) interop: PathBuf,
}

/// A task that hands a node transactions, and returns those that were acknowledged.
pub(crate) type Submitting = JoinHandle<Result<Vec<TransactionId>>>;

/// A node, running or not. Dropping it kills its process.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) host: Host,
    binary: Arc<Path>,
    /// Does not exist before the node is configured or has joined.
    pub(crate) folder: PathBuf,
    /// Beside the folder, which a joining node wants empty.
    log: PathBuf,
    child: Option<Child>,
    /// Or why the node does not answer.
    state: watch::Receiver<Result<State, String>>,
    history: Arc<Mutex<History>>,
    looking: JoinHandle<()>,
    namespace: Namespace,
}

impl Member {
    /// Makes a node with an empty folder. It is looked at in this interval.
    pub(crate) fn make(name: &str, host: Host, root: &Path, binary: &Arc<Path>, every: Duration) -> Result<Self> {
        let folder = root.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let namespace = host.enter()?;
        let (sender, state) = watch::channel(Err("it was not started".to_owned()));
        let history = Arc::<Mutex<History>>::default();
        let looking = namespace.spawn(look(folder.clone(), every, sender, Arc::clone(&history)));
        let log = root.join(format!("{name}.log"));
        let (name, binary) = (name.to_owned(), Arc::clone(binary));
        Ok(Self { name, host, binary, folder, log, child: None, state, history, looking, namespace })
    }

    /// Writes the files of its folder.
    pub(crate) fn configure(&self, settings: &str, known: &[String]) -> Result<()> {
        fs::write(self.folder.join(".env"), format!("PORT={PORT}\n{settings}"))?;
        fs::write(self.folder.join("known-peers.json"), serde_json::to_string(known)?)?;
        fs::write(self.folder.join(POOL_FILE), "[]")?;
        Ok(())
    }

    /// Starts the node, and does not wait for it. Returns when.
    pub(crate) fn start(&mut self, arguments: &[&str]) -> Result<Instant> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = self.command(arguments);
        command.stdout(log.try_clone()?).stderr(log);
        let began = Instant::now();
        self.child = Some(command.spawn().with_context(|| format!("{} cannot be started", self.binary.display()))?);
        Ok(began)
    }

    /// Runs the node's program in its folder. Returns what it prints.
    pub(crate) async fn ask(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(arguments);
        let output = timeout(PATIENCE, command.output()).await;
        let output = output.with_context(|| format!("{}: {arguments:?} takes too long", self.name))??;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {arguments:?} ended with {}: {error}", self.name, output.status);
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(&*self.binary);
        // The program that enters the namespace is looked up there.
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).args(arguments).current_dir(&self.folder).stdin(Stdio::null());
        let mut command = Command::from(command);
        command.kill_on_drop(true);
        command
    }

    /// Waits until the node reports what is wanted.
    ///
    /// # Errors
    /// It does not within this time, or ends.
    pub(crate) async fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&State) -> Option<T>,
    ) -> Result<T> {
        let mut state = self.state.clone();
        let waited = timeout(limit, async {
            loop {
                if let Some(found) = state.borrow_and_update().as_ref().ok().and_then(&wanted) {
                    return Ok(found);
                }
                state.changed().await.context("nobody looks at the node any more")?;
            }
        });
        if let Ok(found) = waited.await {
            return found;
        }
        let silent = self.state.borrow().as_ref().err().map(|error| format!("; it does not answer: {error}"));
        let last = self.last_line() + &silent.unwrap_or_default();
        let name = &self.name;
        match self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
            Some(status) => bail!("{name}: not {what}, since it ended with {status}; its last line: {last}"),
            None => bail!("{name}: not {what} within {limit:?}; its last line: {last}"),
        }
    }

    /// Waits until the node has logged a text.
    pub(crate) async fn logged(&self, text: &str, limit: Duration) -> Result<()> {
        let logged = timeout(limit, async {
            while !fs::read_to_string(&self.log).unwrap_or_default().contains(text) {
                sleep(LOOK).await;
            }
        });
        let (name, last) = (&self.name, || self.last_line());
        logged.await.ok().with_context(|| format!("{name} has not logged {text:?} within {limit:?}, but: {}", last()))
    }

    /// Starts the node and waits until it answers. Returns its id.
    pub(crate) async fn start_and_wait(&mut self) -> Result<String> {
        self.start(&[])?;
        self.wait("started", PATIENCE, |state| Some(state.node.clone())).await
    }

    /// Ends the node by SIGTERM, and waits.
    pub(crate) async fn end(&mut self) -> Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        kill_process(pid.with_context(|| format!("{} has ended by itself", self.name))?, Signal::TERM)?;
        let status = timeout(PATIENCE, child.wait()).await;
        let status = status.with_context(|| format!("{} did not end within {PATIENCE:?}", self.name))??;
        ensure!(status.success(), "{} ended with {status}; its last line: {}", self.name, self.last_line());
        Ok(())
    }

    /// Returns what the node reported last; `None` if it does not answer.
    pub(crate) fn state(&self) -> Option<State> {
        self.state.borrow().clone().ok()
    }

    /// Returns how its pool has grown.
    pub(crate) fn history(&self) -> History {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts to hand the node a transaction at each interval, at most so many. The task ends when
    /// it is told, and returns those that were acknowledged.
    pub(crate) fn submit(&self, every: Duration, most: usize, stop: watch::Receiver<bool>) -> Submitting {
        let (name, folder) = (self.name.clone(), self.folder.clone());
        self.namespace.spawn(async move {
            let mut client = connect(&folder).await?;
            let mut ticks = interval(every);
            let mut submitted = Vec::new();
            while submitted.len() < most && !*stop.borrow() {
                ticks.tick().await;
                let ack = client.submit(&transaction(&name, submitted.len())).await?;
                ensure!(ack.reason.is_none(), "{name} refused a transaction: {:?}", ack.reason);
                submitted.push(ack.id.parse()?);
            }
            Ok(submitted)
        })
    }

    /// Returns the lines of the log that show a fault of the program.
    pub(crate) fn faults(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let faults = log.lines().filter(|line| line.contains("panicked") || line.contains("ERROR"));
        faults.map(|line| format!("{}: {line}", self.name)).collect()
    }

    fn last_line(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().next_back().unwrap_or("nothing").to_owned()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// Looks at the node of a folder over and over, while anybody wants to know.
async fn look(
    folder: PathBuf,
    every: Duration,
    state: watch::Sender<Result<State, String>>,
    history: Arc<Mutex<History>>,
) {
    let mut client = None;
    while !state.is_closed() {
        let found = async {
            let mut connected = match client.take() {
                Some(client) => client,
                None => connect(&folder).await?,
            };
            let status = connected.status(&[]).await?;
            client = Some(connected);
            anyhow::Ok(State::read(&status))
        };
        let found: Result<State, String> = found.await.map_err(|error| format!("{error:#}"));
        if let Ok(state) = &found {
            let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
            history.note(Instant::now(), state.pool.count);
        }
        state.send_if_modified(|state| {
            let changed = *state != found;
            *state = found;
            changed
        });
        sleep(every).await;
    }
}

/// Makes a transaction that no other one equals.
pub(crate) fn transaction(from: &str, number: usize) -> String {
    let nonce: u64 = rand::random();
    format!(r#"{{"amount":{number},"text":"from {from} {nonce:016x}"}}"#)
}

/// Connects to the node of a folder, from its own host.
async fn connect(folder: &Path) -> Result<Client> {
    let lock = fs::read_to_string(folder.join(LOCK_FILE))?;
    let address: PeerAddress = lock.lines().nth(1).context("the node is starting")?.parse()?;
    Ok(Client::connect(&PeerAddress::new("127.0.0.1", address.port())?).await?)
}
