//! The case `mixed`: one network of all that may meet. A relay, nodes behind NATs, a node without
//! links by node id, the minimal native peer, which knows none, a node of the exercise, and if one
//! is named a node of an earlier build.
//!
//! The node of the exercise ends by an address that it cannot dial, so it shows by its life that it
//! was told none. The frames that it was sent are searched as well.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use meshpool::binary::pool::POOL_FILE;
use meshpool::protocol::json::Parser;
use meshpool::protocol::transaction::{Transaction, TransactionId};
use serde_json::Value;

use crate::measures::wan::member::{Member, PORT, Programs, transaction};
use crate::measures::wan::mesh::{self, Traffic, until};
use crate::measures::wan::round::Round;
use crate::measures::wan::script::Script;
use crate::measures::wan::world::Lines;
use crate::support::nat_lab::{Lab, Nat};
use crate::support::testbed::pool_files::{self, Checked};

/// The longest time until all pools are equal. Live transactions are there at once; this is for one
/// that a comparison has to find.
pub(crate) const BOUND: Duration = Duration::from_secs(10);
/// The NATs of the nodes that have no public address.
const NATS: [Nat; 4] = [Nat::Home, Nat::Full, Nat::Symmetric, Nat::UdpBlocked];
/// The interval of looking at each node.
const LOOK: Duration = Duration::from_millis(50);
/// The time in which all nodes must be linked, or hold the same; then the round fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// The transactions of each node.
const EACH: usize = 20;

/// The nodes of a round. Dropping it kills them and removes their network.
struct Mixed {
    /// Those that run our program, or an earlier build of it. The public ones first.
    members: Vec<Member>,
    /// How many have a public address.
    public: usize,
    exercise: Script,
    minimal: Script,
    // Dropped last: the nodes are on its hosts.
    lab: Lab,
}

/// Runs one round.
pub(crate) async fn run(lines: Lines, root: &Path, programs: &Programs) -> Result<Round> {
    let mut mixed = Mixed::start(lines, root, programs).await?;
    until("all linked", PATIENCE, || mixed.unlinked()).await?;
    let mut acknowledged = mixed.submit_to_scripts().await?;
    acknowledged.extend(Traffic::start(&mixed.members, Duration::from_millis(1), EACH).finished().await?);
    let equal = until("equal", PATIENCE, || mixed.difference(&acknowledged)).await?;
    let (direct, relayed) = mesh::paths(&mesh::states(&mixed.all()).map_err(anyhow::Error::msg)?);
    mixed.end(&acknowledged).await?;
    Ok(Round { joined: None, gap: Some(equal), direct, relayed })
}

impl Mixed {
    async fn start(lines: Lines, root: &Path, programs: &Programs) -> Result<Self> {
        let mut lab = Lab::new(lines.delay)?;
        lab.set_loss(lines.loss);
        let mut members = Vec::new();
        let previous = programs.previous.iter().map(|previous| ("previous", previous, ""));
        let of_this_build = [("relay", &programs.node, "RELAY=on\n"), ("off", &programs.node, "WAN=off\n")];
        for (name, binary, settings) in of_this_build.into_iter().chain(previous) {
            let member = Member::make(name, lab.public(name)?, root, binary, LOOK)?;
            let address = member.host.address();
            let known = known(&members[..members.len().min(1)]);
            member.configure(&format!("HOST=0.0.0.0\nADDRESS=ws://{address}:{PORT}\n{settings}"), &known)?;
            members.push(member);
        }
        let public = members.len();
        for nat in NATS {
            let member = Member::make(nat.name(), lab.behind(nat)?, root, &programs.node, LOOK)?;
            member.configure("WAN=on\n", &known(&members[..1]))?;
            members.push(member);
        }
        try_join_all(members.iter_mut().map(Member::start_and_wait)).await?;
        until("a full mesh", PATIENCE, || mesh_lacks(&members)).await?;
        // These come when there are links by node id of which they might be told.
        let known = known(&members[..public]);
        let host = lab.public("exercise")?;
        let address = host.address().to_string();
        let flags =
            ["--host", &address, "--frames", "--dedupe", "set", "--dies-of-dead-addresses", "--until-stdin-ends"];
        let exercise = Script::start("exercise", host, root, &programs.interop.join("node.mjs"), &flags, &known[..1])?;
        let peers: Vec<_> = known.iter().flat_map(|known| ["--peer", known]).collect();
        let program = programs.interop.join("minimal-peer.mjs");
        let minimal = Script::start("minimal", lab.public("minimal")?, root, &program, &peers, &[])?;
        Ok(Self { members, public, exercise, minimal, lab })
    }

    fn all(&self) -> Vec<&Member> {
        self.members.iter().collect()
    }

    /// Returns which links the scripts still lack; `None`: all are there. Nobody can dial the
    /// minimal peer, and it no node behind a NAT.
    fn unlinked(&self) -> Option<String> {
        let address = format!("ws://{}:{PORT}", self.exercise.host.address());
        let dialled = |member: &&Member| member.state().is_some_and(|state| state.connected.contains(&address));
        if let Some(member) = self.members.iter().find(|member| !dialled(member)) {
            return Some(format!("{} is not linked to the node of the exercise", member.name));
        }
        let dialled: HashSet<_> = self.exercise.lines("connected ").into_iter().collect();
        let linked = self.minimal.lines(r#"{"event":"linked""#).len();
        let public = known(&self.members[..self.public]);
        if let Some(lacking) = public.iter().find(|address| !dialled.contains(*address)) {
            return Some(format!("the node of the exercise has not dialled {lacking}"));
        }
        (linked < public.len()).then(|| format!("the minimal peer has {linked} links"))
    }

    /// Gives the scripts transactions.
    async fn submit_to_scripts(&mut self) -> Result<HashSet<TransactionId>> {
        let mut submitted = HashSet::new();
        for number in 0..EACH {
            let (one, other) = (transaction("exercise", number), transaction("minimal", number));
            for text in [&one, &other] {
                submitted.insert(Transaction::parse(&mut Parser::new(), text)?.id());
            }
            self.exercise.send(one).await?;
            self.minimal.write(&other).await?;
        }
        Ok(submitted)
    }

    /// Returns which pools do not hold this; `None`: all do.
    fn difference(&self, submitted: &HashSet<TransactionId>) -> Option<String> {
        let text = std::fs::read_to_string(self.exercise.folder.join(POOL_FILE)).unwrap_or_default();
        // It may be writing.
        let held = serde_json::from_str::<Vec<Value>>(&text).unwrap_or_default().len();
        let minimal = self.held_by_minimal().map_or(0, |held| held.len());
        mesh::difference(&self.all(), submitted.len()).or_else(|| {
            let is_short = held < submitted.len() || minimal < submitted.len();
            is_short.then(|| format!("the node of the exercise holds {held}, the minimal peer {minimal}"))
        })
    }

    /// Returns what the minimal peer was given and has got, in this order.
    fn held_by_minimal(&self) -> Result<Vec<TransactionId>> {
        let events = ["given", "transaction"].map(|event| self.minimal.lines(&format!(r#"{{"event":"{event}","#)));
        let id = |line: String| {
            let facts: Value = serde_json::from_str(&format!("{{{line}"))?;
            Ok(facts["identity"].as_str().context("an event has an identity")?.parse()?)
        };
        events.into_iter().flatten().map(id).collect()
    }

    /// Ends the nodes, and checks what they leave behind.
    async fn end(mut self, submitted: &HashSet<TransactionId>) -> Result<()> {
        self.exercise.is_alive()?;
        self.minimal.is_alive()?;
        mesh::end(&mut self.members, &self.lab).await?;
        let folders = self.members.iter().map(|member| &member.folder).chain([&self.exercise.folder]);
        let checked = pool_files::check(folders.cloned(), submitted)?;
        ensure!(checked == Checked { held: submitted.len(), ..Checked::default() }, "in the files: {checked:?}");
        let held = self.held_by_minimal()?;
        let is_right = held.len() == submitted.len() && held.iter().all(|id| submitted.contains(id));
        ensure!(is_right, "the minimal peer was told of {} transactions instead of {}", held.len(), submitted.len());
        let frames = self.exercise.lines("frame ");
        let handshakes = frames.iter().filter(|frame| frame.contains(r#""HANDSHAKE""#)).count();
        ensure!(handshakes >= self.members.len(), "the node of the exercise got {handshakes} HANDSHAKEs only");
        let of_ids = frames.iter().find(|frame| frame.contains("iroh:"));
        ensure!(of_ids.is_none(), "the node of the exercise was told of an address by node id: {of_ids:?}");
        Ok(())
    }
}

/// Returns the addresses of public nodes.
fn known(members: &[Member]) -> Vec<String> {
    members.iter().map(|member| format!("ws://{}:{PORT}", member.host.address())).collect()
}

/// Returns how many links a full mesh lacks; `None`: it is one.
fn mesh_lacks(members: &[Member]) -> Option<String> {
    let members: Vec<_> = members.iter().collect();
    match mesh::states(&members) {
        Ok(states) => {
            let links = mesh::links(&members, &states);
            let pairs = (0..members.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
            let mut lacking = pairs.filter(|pair| !links.contains(pair));
            lacking.next().map(|(a, b)| format!("{} is not linked to {}", members[a].name, members[b].name))
        }
        Err(silent) => Some(silent),
    }
}
