//! Samples of what a node takes of the machine, from /proc and from its own metrics.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use measuring::proc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::measures::soak::findings::Findings;
use crate::support::testbed::node::{Node, PORT};

/// The default port of a node's metrics.
const HTTP_PORT: u16 = PORT + 4000;
/// The longest wait for the metrics of a busy node; without them the sample is dropped.
const PATIENCE: Duration = Duration::from_secs(8);

/// One sample of a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// Seconds since the start.
    pub(crate) at: f64,
    /// Resident memory in bytes, including the program's file.
    pub(crate) resident: f64,
    /// The part of it that is heap and stack.
    pub(crate) own: f64,
    /// Open file descriptors.
    pub(crate) descriptors: f64,
    pub(crate) threads: f64,
    /// Tasks of the runtime.
    pub(crate) tasks: f64,
    /// Transactions on disk.
    pub(crate) pool: f64,
    /// Connections of all kinds.
    pub(crate) links: f64,
}

const HEADING: &str = "node,seconds,resident_bytes,own_bytes,descriptors,threads,tasks,pool,links";

/// The samples of each node, and how many were dropped.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    pub(crate) samples: Vec<Vec<Sample>>,
    pub(crate) unanswered: usize,
}

/// Samples all nodes until the time is over, writes the samples into a file, and restarts a node
/// that ended by itself, which is a finding.
pub(crate) async fn watch(
    nodes: &[Arc<Node>],
    every: Duration,
    began: Instant,
    until: Instant,
    log: &mut impl Write,
    findings: &Findings,
) -> Result<Watched> {
    writeln!(log, "{HEADING}")?;
    let mut watched = Watched { samples: vec![Vec::new(); nodes.len()], unanswered: 0 };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while ticks.tick().await < until {
        for (node, samples) in nodes.iter().zip(&mut watched.samples) {
            if let Some(how) = node.exit_status()? {
                findings.add(how);
                findings.note(node.start().await);
            }
            let Some(pid) = node.pid() else { continue };
            match look(node, pid, began).await {
                Ok(sample) => {
                    let Sample { at, resident, own, descriptors, threads, tasks, pool, links } = sample;
                    let name = &node.name;
                    writeln!(log, "{name},{at:.1},{resident},{own},{descriptors},{threads},{tasks},{pool},{links}")?;
                    samples.push(sample);
                }
                // It is being ended just now.
                Err(_) if node.pid() != Some(pid) => {}
                Err(_) => watched.unanswered += 1,
            }
        }
        log.flush()?;
    }
    Ok(watched)
}

async fn look(node: &Node, pid: u32, began: Instant) -> Result<Sample> {
    let metrics = timeout(PATIENCE, node.namespace.run(metrics())).await???;
    let field = |name: &str| number(&metrics, name).with_context(|| format!("the metrics have no {name}"));
    Ok(Sample {
        at: began.elapsed().as_secs_f64(),
        resident: proc::memory(pid)?.resident as f64,
        own: proc::anonymous_memory(pid)? as f64,
        descriptors: proc::descriptors(pid)? as f64,
        threads: proc::threads(pid)? as f64,
        tasks: field("meshpool_tasks ")?,
        pool: field("meshpool_pool_transactions ")?,
        links: metrics.lines().filter(|line| line.starts_with("meshpool_links{")).filter_map(last_number).sum(),
    })
}

/// Returns the number after a name at the beginning of a line.
fn number(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn last_number(line: &str) -> Option<f64> {
    line.split_whitespace().next_back()?.parse().ok()
}

async fn metrics() -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", HTTP_PORT)).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "no metrics");
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read() {
        let text = "meshpool_tasks 7\nmeshpool_links{kind=\"full\"} 3\n";
        assert_eq!(number(text, "meshpool_tasks "), Some(7.0));
        assert_eq!(number(text, "meshpool_pool "), None);
        assert_eq!(last_number("meshpool_links{kind=\"full\"} 3"), Some(3.0));
    }
}
