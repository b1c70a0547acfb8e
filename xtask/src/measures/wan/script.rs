//! A program in JavaScript on a host of the lab, and what it puts out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use meshpool::Client;
use meshpool::binary::pool::POOL_FILE;
use meshpool::protocol::address::PeerAddress;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

use crate::measures::wan::member::PORT;
use crate::support::namespace::Namespace;
use crate::support::nat_lab::Host;

/// A running program. Dropping it kills its process.
pub(crate) struct Script {
    name: String,
    pub(crate) folder: PathBuf,
    log: PathBuf,
    child: Child,
    /// Its end would end the program.
    stdin: ChildStdin,
    namespace: Namespace,
    // Its address is in the lab.
    pub(crate) host: Host,
}

impl Script {
    /// Starts a program in a folder of its own, with an empty pool.
    pub(crate) fn start(
        name: &str,
        host: Host,
        root: &Path,
        program: &Path,
        arguments: &[&str],
        known: &[String],
    ) -> Result<Self> {
        let folder = root.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        fs::write(folder.join(".env"), format!("PORT={PORT}\n"))?;
        fs::write(folder.join("known-peers.json"), serde_json::to_string(known)?)?;
        fs::write(folder.join(POOL_FILE), "[]")?;
        let log = root.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let mut command = host.command("node");
        command.arg(program).args(arguments).current_dir(&folder);
        command.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file);
        let mut command = Command::from(command);
        let mut child = command.kill_on_drop(true).spawn().context("node cannot be started; install Node.js 20.12")?;
        let stdin = child.stdin.take().context("the input is a pipe")?;
        let namespace = host.enter()?;
        Ok(Self { name: name.to_owned(), folder, log, child, stdin, namespace, host })
    }

    /// Returns what it has put out so far: the complete lines that begin so, without that.
    pub(crate) fn lines(&self, begin: &str) -> Vec<String> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let complete = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        complete.filter_map(|line| line.strip_prefix(begin).map(str::to_owned)).collect()
    }

    /// Writes a line to its standard input.
    pub(crate) async fn write(&mut self, line: &str) -> Result<()> {
        Ok(self.stdin.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// Sends it a transaction, as a client of a node of the exercise does, which gets no answer.
    pub(crate) async fn send(&self, transaction: String) -> Result<()> {
        let sent = self.namespace.run(async move {
            let mut client = Client::connect(&PeerAddress::new("127.0.0.1", PORT)?).await?;
            client.send(&transaction).await?;
            anyhow::Ok(client.close().await)
        });
        ensure!(sent.await??, "{} has not read a transaction", self.name);
        Ok(())
    }

    /// Fails if it has ended.
    pub(crate) fn is_alive(&mut self) -> Result<()> {
        let status = self.child.try_wait()?;
        let log = || fs::read_to_string(&self.log).unwrap_or_default();
        ensure!(status.is_none(), "{} ended; its last line: {}", self.name, log().lines().last().unwrap_or("none"));
        Ok(())
    }
}
