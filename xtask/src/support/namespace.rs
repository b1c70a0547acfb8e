//! Network namespaces: made by name, entered by threads, and removed on drop.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::support::debian::Program;
use crate::support::terminal::note;

/// The program that makes namespaces and what is in them.
pub(crate) const IP: Program = Program { name: "ip", argument: "-Version", package: "iproute2" };
/// The folder of named namespaces.
const NAMESPACES: &str = "/run/netns";

/// Checks that this process may make namespaces.
///
/// # Errors
/// What is missing, in one line.
pub(crate) fn is_allowed() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "this task makes network namespaces, which only root may: run it as root, or in a container with CAP_SYS_ADMIN and CAP_NET_ADMIN"
    );
    IP.check()
}

/// The names of the namespaces. Dropping them removes the namespaces.
#[derive(Debug, Default)]
pub(crate) struct Namespaces(Vec<String>);

impl Namespaces {
    pub(crate) fn add(&mut self, name: &str) -> Result<String> {
        // Recorded first, so that a half-made one is removed too.
        self.0.push(name.to_owned());
        ip(&["netns", "add", name])?;
        Ok(name.to_owned())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let delete = |name: &str| ip(&["netns", "delete", name]);
        for name in &self.0 {
            if let Err(error) = delete(name).or_else(|_| delete(name))
                && Path::new(NAMESPACES).join(name).exists()
            {
                note!("warning: the network namespace {name} is left over: {error:#}");
            }
        }
    }
}

/// A thread with a runtime in a namespace, to which sockets and child processes of its tasks
/// belong. Dropping it ends the tasks.
#[derive(Debug)]
pub(crate) struct Namespace {
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    pub(crate) fn enter(namespace: &str) -> Result<Self> {
        let file = open(namespace)?;
        let (sender, ready) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = || -> io::Result<tokio::runtime::Runtime> {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                tokio::runtime::Builder::new_current_thread().enable_all().build()
            };
            match runtime() {
                Ok(runtime) => {
                    // The receiver is gone only if the task is ending.
                    sender.send(Ok(runtime.handle().clone())).unwrap_or_default();
                    // An error means that the sender was dropped, which is the request to end.
                    runtime.block_on(stopped).unwrap_or_default();
                }
                Err(error) => sender.send(Err(error)).unwrap_or_default(),
            }
        });
        let runtime = ready.recv().context("a thread ended at its start")?;
        let runtime = runtime.with_context(|| format!("the namespace {namespace} cannot be entered"))?;
        Ok(Self { runtime, stop: Some(stop), thread: Some(thread) })
    }

    /// Runs a task here and waits for it. Cancelling the wait does not end the task.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        Ok(self.runtime.spawn(work).await?)
    }

    /// Spawns a task here that ends with the namespace.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(work)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            note!("warning: a thread of a network namespace panicked");
        }
    }
}

/// Runs a function on a thread of its own in a namespace, and waits for it. Sockets that it opens
/// and processes that it starts stay in that namespace.
pub(crate) fn within<T: Send>(namespace: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let file = open(namespace)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("the namespace {namespace} cannot be entered"))?;
            work()
        });
        thread.join().unwrap_or_else(|_| bail!("a thread in the namespace {namespace} panicked"))
    })
}

fn open(namespace: &str) -> Result<File> {
    let path = format!("{NAMESPACES}/{namespace}");
    File::open(&path).with_context(|| format!("{path} cannot be opened"))
}

/// Kills all processes whose main thread is in a namespace.
pub(crate) fn kill_all(namespace: &str) -> Result<()> {
    let pids = call("ip", &["netns", "pids", namespace], "")?;
    for pid in pids.split_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw) {
        // One that has ended meanwhile is what is wanted.
        if let Err(error) = kill_process(pid, Signal::KILL)
            && error != rustix::io::Errno::SRCH
        {
            bail!("the process {} cannot be killed: {error}", pid.as_raw_nonzero());
        }
    }
    Ok(())
}

pub(crate) fn ip(arguments: &[&str]) -> Result<()> {
    call("ip", arguments, "").map(drop)
}

/// Calls `ip` for a namespace with a command per line.
pub(crate) fn ip_lines(namespace: &str, lines: &str) -> Result<()> {
    call("ip", &["-n", namespace, "-batch", "-"], lines).map(drop)
}

/// Calls a program with this text as its input. Returns its output.
pub(crate) fn call(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    // With a process group of its own, Ctrl+C reaches this process only, which then removes the
    // network.
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{program} cannot be started; is it installed?"))?;
    let mut stdin = child.stdin.take().context("the input is a pipe")?;
    // A program that has failed does not read all; its message says why.
    stdin.write_all(input.as_bytes()).or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let message: Vec<_> = message.split_whitespace().collect();
        bail!("{program} {}: {}", arguments.join(" "), message.join(" "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
