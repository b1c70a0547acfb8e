//! `hostile`: attacks a node in every way that a stranger has, and fails if an attack costs the
//! node too much.
//!
//! For each attack two nodes start in network namespaces of their own. A client beside the second
//! one hands the first one transactions and measures how long each acknowledgement takes. Then one
//! attacker at another address attacks the first node for some seconds. CPU time, log, disk and
//! dials of the attacked node are measured, and the CPU time of the attacker.

mod attacker;
mod attacks;
mod discovery_client;
mod maker;
mod relay_client;
mod table;

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use measuring::proc;
use meshpool::Client;
use meshpool::binary::pool::POOL_FILE;
use meshpool::protocol::address::PeerAddress;
use rustix::process::Signal;
use serde_json::json;
use tokio::process::Command;
use tokio::time::{interval, sleep};

use crate::measures::hostile::attacker::{Effort, HTTP_PORT};
use crate::measures::hostile::attacks::{ATTACKS, Attack, LARGE_POOL, Victim};
use crate::measures::hostile::table::{Cost, Row};
use crate::measures::setup::Setup;
use crate::support::namespace::{self, Namespace};
use crate::support::terminal::note;
use crate::support::terminal::{number, plural, print};
use crate::support::testbed::netns::{self, TestNetwork};
use crate::support::testbed::node::{Node, PORT, local_address};
use crate::support::workspace::Workspace;

/// The interval of the client's transactions.
const EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run only the attacks with these names
    #[arg(value_name = "ATTACK")]
    only: Vec<String>,
    /// Attack for N seconds each
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = number(1..=600_u64, "3"))]
    seconds: u64,
    /// Attack this address instead of measuring: the part of the attacker's process
    #[arg(long, hide = true, value_name = "IP")]
    attacker_of: Option<Ipv4Addr>,
    #[command(flatten)]
    setup: Setup,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let wanted = wanted(&arguments.only)?;
    let time = Duration::from_secs(arguments.seconds);
    if let (Some(to), [attack]) = (arguments.attacker_of, wanted.as_slice()) {
        print(serde_json::to_string(&attacker::attack(attack, to, time)?)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    namespace::is_allowed()?;
    let costs =
        arguments.setup.run(workspace, "hostile", async |binary, root| measure(binary, root, &wanted, time).await)?;
    let (calm, costs) = costs.split_first().context("the time without an attack comes first")?;
    let attacks = wanted.iter().zip(costs).map(|(attack, cost)| Row { attack: Some(attack), calm, cost });
    let rows: Vec<_> = std::iter::once(Row { attack: None, calm, cost: calm }).chain(attacks).collect();
    print(table::show(&rows, arguments.setup.format()))?;
    let broken: Vec<String> = rows.iter().filter_map(Row::broken).collect();
    ensure!(broken.is_empty(), "out of bounds: {}", broken.join("; "));
    print(format!("{} cost no more than they may", plural(wanted.len(), "attack")))?;
    Ok(ExitCode::SUCCESS)
}

fn wanted(names: &[String]) -> Result<Vec<&'static Attack>> {
    if let Some(unknown) = names.iter().find(|name| ATTACKS.iter().all(|attack| attack.name != **name)) {
        let all: Vec<_> = ATTACKS.iter().map(|attack| attack.name).collect();
        bail!("there is no attack {unknown}; choose of: {}", all.join(", "));
    }
    Ok(ATTACKS.iter().filter(|attack| names.is_empty() || names.iter().any(|name| attack.name == name)).collect())
}

/// Measures a time without an attack, and then each attack.
async fn measure(binary: &Path, root: &Path, wanted: &[&Attack], time: Duration) -> Result<Vec<Cost>> {
    let mut costs = vec![measure_one(binary, &root.join("calm"), None, time).await?];
    for attack in wanted {
        let cost = measure_one(binary, &root.join(attack.name), Some(attack), time).await;
        let cost = cost.with_context(|| format!("the attack {}", attack.name))?;
        let row = Row { attack: Some(attack), calm: &costs[0], cost: &cost };
        note!("{}", row.broken().unwrap_or_else(|| format!("{}: within bounds", attack.name)));
        costs.push(cost);
    }
    Ok(costs)
}

/// Measures one attack, or none, from the start of the nodes to their end.
async fn measure_one(binary: &Path, root: &Path, attack: Option<&Attack>, time: Duration) -> Result<Cost> {
    let mut network = TestNetwork::create(2)?;
    let nodes = make_nodes(&mut network, binary, root, attack.map_or(Victim::Plain, |attack| attack.on))?;
    for node in &nodes {
        node.start().await?;
    }
    let (victim, other) = (&nodes[0], &nodes[1]);
    let client = other.namespace.spawn(submit_for(time));
    // The client's first transactions go before the attack, as the link between the nodes does.
    sleep(EVERY * 10).await;
    let before = Reading::of(victim).await?;
    let effort = match attack {
        Some(attack) => run_attacker(&network.attackers[0], attack, time).await?,
        None => {
            sleep(time).await;
            Effort::default()
        }
    };
    let after = Reading::of(victim).await?;
    let acks = client.await?.context("the client")?;
    ensure!(victim.exit_status()?.is_none(), "the node ended");
    let faults = victim.faults();
    ensure!(faults.is_empty(), "{}", faults.join("; "));
    for node in &nodes {
        node.end(Signal::KILL).await?;
    }
    fs::remove_dir_all(root).with_context(|| format!("{} cannot be removed", root.display()))?;
    Ok(Cost {
        cpu: after.cpu.saturating_sub(before.cpu),
        log: after.log.saturating_sub(before.log),
        disk: after.disk.saturating_sub(before.disk),
        dials: after.dials.saturating_sub(before.dials),
        memory: after.memory.saturating_sub(before.memory),
        time: after.at - before.at,
        acks,
        effort,
    })
}

/// Makes the node that is attacked and the other one. Both hold the same pool.
fn make_nodes(network: &mut TestNetwork, binary: &Path, root: &Path, victim: Victim) -> Result<Vec<Node>> {
    let binary: Arc<Path> = binary.into();
    let address = |number: usize| format!("ws://{}:{PORT}", netns::host(number));
    let make = |(number, namespace)| {
        let relay = if victim == Victim::Relay && number == 0 { "RELAY=on\n" } else { "" };
        let settings = format!(
            "{relay}HOST=0.0.0.0\nADDRESS={}\nHTTP_PORT={HTTP_PORT}\nHTTP_HOST=0.0.0.0\nHTTP_TOKEN=not-for-strangers\n",
            address(number)
        );
        let known: &[String] = if number == 0 { &[] } else { &[address(0)] };
        let node = Node::make(format!("node-{}", number + 1), root, namespace, Arc::clone(&binary), known, &settings)?;
        if victim == Victim::LargePool {
            let rows: Vec<_> = (0..LARGE_POOL).map(|amount| json!({ "amount": amount })).collect();
            fs::write(node.folder.join(POOL_FILE), serde_json::to_string_pretty(&rows)?)?;
        }
        Ok(node)
    };
    std::mem::take(&mut network.nodes).into_iter().enumerate().map(make).collect()
}

/// Runs the attacker in a process of its own.
async fn run_attacker(namespace: &Namespace, attack: &Attack, time: Duration) -> Result<Effort> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["hostile", attack.name, "--attacker-of", &netns::host(0), "--seconds", &time.as_secs().to_string()]);
    command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let output =
        namespace.run(async move { command.output().await }).await?.context("the attacker cannot be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).with_context(|| format!("the attacker ended with {}: {text}", output.status))
}

/// Hands the first node transactions from another host. Returns the sorted times until each was
/// acknowledged.
async fn submit_for(time: Duration) -> Result<Vec<Duration>> {
    let mut client = Client::connect(&PeerAddress::new(&netns::host(0), PORT)?).await?;
    let mut times = Vec::new();
    let mut ticks = interval(EVERY);
    let until = Instant::now() + time + EVERY * 20;
    while Instant::now() < until {
        let began = ticks.tick().await;
        let ack = client.submit(&format!(r#"{{"amount":{},"text":"honest"}}"#, times.len())).await?;
        ensure!(ack.reason.is_none(), "an honest transaction was refused: {:?}", ack.reason);
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// What is read of a node before and after.
struct Reading {
    at: Instant,
    cpu: Duration,
    log: u64,
    disk: u64,
    dials: u64,
    /// The most so far.
    memory: u64,
}

impl Reading {
    async fn of(node: &Node) -> Result<Self> {
        let counters = node.namespace.run(async {
            let mut client = Client::connect(&local_address()).await?;
            let status = client.status(&[]).await?;
            anyhow::Ok(status.counters)
        });
        let counters = counters.await??;
        let pid = node.pid().context("the node ended")?;
        let mut disk = 0;
        let mut log = 0;
        for entry in fs::read_dir(&node.folder)? {
            let entry = entry?;
            let bytes = entry.metadata()?.len();
            if entry.file_name() == "log" { log += bytes } else { disk += bytes }
        }
        let dials = counters.get("dials").copied().unwrap_or_default();
        let memory = proc::memory(pid)?.peak;
        Ok(Self { at: Instant::now(), cpu: proc::cpu_time(pid)?, log, disk, dials, memory })
    }
}
