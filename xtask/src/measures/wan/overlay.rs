//! The case `overlay`: twenty nodes with a cap on their links, most of them behind NATs, and two
//! relays. Transactions flow from several nodes. Then a third of the nodes and a relay fall silent
//! at once, and the others must become one network again that lacks nothing.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use meshpool::protocol::transaction::TransactionId;
use tokio::time::sleep;

use crate::measures::wan::member::{Member, PORT};
use crate::measures::wan::mesh::{self, Traffic, until};
use crate::measures::wan::round::Round;
use crate::measures::wan::state;
use crate::measures::wan::world::Lines;
use crate::support::nat_lab::{Host, Lab, Nat};
use crate::support::terminal::note;
use crate::support::testbed::pool_files::{self, Checked};

/// The hosts besides the two relays: 15 of 18 are behind a NAT.
const HOSTS: [Nat; 6] = [Nat::Home, Nat::Full, Nat::Symmetric, Nat::UdpBlocked, Nat::Home, Nat::None];
/// How often each of them is there.
const TIMES: usize = 3;
/// Links over WebSocket are found dead as early as links by node id are, and not after 45 s: this
/// case measures how the network mends itself, and not how long a default is.
const SETTINGS: &str = "MAX_PEERS=4\nPING_INTERVAL_SECONDS=5\nDEAD_AFTER_SECONDS=12\n";
/// The longest time until all are one network again, with equal pools. Links are found dead after
/// 12 s, those over the silent relay after 6 s, and new ones take some seconds; who has declined a
/// node is asked again later.
pub(crate) const BOUND: Duration = Duration::from_secs(40);
/// The interval of looking at each node. Twenty times as often as this would cost what is measured.
const LOOK: Duration = Duration::from_millis(100);
/// The interval of the transactions of each node that makes some.
const EVERY: Duration = Duration::from_millis(100);
/// How long transactions flow before the disturbance.
const CALM: Duration = Duration::from_secs(1);
/// The time in which all must be one network, at the start and again; then the round fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// The nodes of a round. Dropping it kills them and removes their network.
struct Overlay {
    /// The relays first.
    members: Vec<Member>,
    /// The id and the address of each node that is killed, and of the relay among them.
    gone: Vec<(String, Ipv4Addr)>,
    // Dropped last: the members are on its hosts.
    lab: Lab,
}

/// Runs one round.
pub(crate) async fn run(lines: Lines, root: &Path, binary: &Arc<Path>) -> Result<Round> {
    let mut overlay = Overlay::start(lines, root, binary).await?;
    let joined = until("one network", PATIENCE, || overlay.apart()).await?;
    // Some of those that stay and some of those that do not, behind NATs of all kinds.
    let (lost, kept): (Vec<_>, Vec<_>) = (2..overlay.members.len()).partition(|index| is_lost(*index));
    let some =
        |indices: &[usize]| -> Vec<_> { indices.iter().step_by(2).map(|index| &overlay.members[*index]).collect() };
    let (of_lost, of_kept) = (some(&lost), some(&kept));
    let doomed = Traffic::start(of_lost, EVERY, usize::MAX);
    let traffic = Traffic::start(of_kept, EVERY, usize::MAX);
    sleep(CALM).await;
    let began = Instant::now();
    overlay.kill()?;
    drop(doomed);
    until("one network again", PATIENCE, || overlay.apart()).await?;
    let connected = began.elapsed();
    let acknowledged = traffic.end().await?;
    until("equal", PATIENCE, || mesh::difference(&overlay.all(), acknowledged.len())).await?;
    let whole = began.elapsed();
    note!(
        "overlay: one network {} ms after the start, again after {} ms, pools equal after {} ms, {} transactions",
        joined.as_millis(),
        connected.as_millis(),
        whole.as_millis(),
        acknowledged.len()
    );
    let (direct, relayed) = mesh::paths(&mesh::states(&overlay.all()).map_err(anyhow::Error::msg)?);
    overlay.end(&acknowledged).await?;
    Ok(Round { joined: None, gap: Some(whole), direct, relayed })
}

impl Overlay {
    async fn start(lines: Lines, root: &Path, binary: &Arc<Path>) -> Result<Self> {
        let mut lab = Lab::new(lines.delay)?;
        lab.set_loss(lines.loss);
        let make = |name: &str, host| Member::make(name, host, root, binary, LOOK);
        let mut members = vec![make("relay-1", lab.public("relay-1")?)?, make("relay-2", lab.public("relay-2")?)?];
        let relays: Vec<_> = members.iter().map(|relay| format!("{}:{PORT}", relay.host.address())).collect();
        let known: Vec<_> = relays.iter().map(|relay| format!("ws://{relay}")).collect();
        for relay in &members {
            relay.configure(&format!("{SETTINGS}RELAY=on\n{}", public(&relay.host)), &known)?;
        }
        for (index, nat) in HOSTS.iter().cycle().take(HOSTS.len() * TIMES).enumerate() {
            let member = make(&format!("{nat}-{}", index + 1), lab.behind(*nat)?)?;
            let open = if *nat == Nat::None { public(&member.host) } else { String::new() };
            member.configure(&format!("{SETTINGS}WAN=on\nRELAYS={}\n{open}", relays.join(",")), &known)?;
            members.push(member);
        }
        try_join_all(members.iter_mut().map(Member::start_and_wait)).await?;
        Ok(Self { members, gone: Vec::new(), lab })
    }

    fn all(&self) -> Vec<&Member> {
        self.members.iter().collect()
    }

    /// Returns why the nodes are not one network, or hold on to what is gone; `None`: they are one.
    fn apart(&self) -> Option<String> {
        let members = self.all();
        let states = match mesh::states(&members) {
            Ok(states) => states,
            Err(silent) => return Some(silent),
        };
        for (member, state) in members.iter().zip(&states) {
            for (node, address) in &self.gone {
                let relay = format!("{address}:");
                let over =
                    |link: &state::Link| matches!(&link.path, state::Path::Relayed(via) if via.starts_with(&relay));
                if state.is_linked_to(node, *address) || state.links.iter().any(over) {
                    return Some(format!("{} has a link to {address}, or over it, which is gone", member.name));
                }
            }
        }
        let apart = mesh::unreached(members.len(), &mesh::links(&members, &states));
        let apart: Vec<_> = apart.into_iter().map(|index| members[index].name.as_str()).collect();
        (!apart.is_empty()).then(|| format!("{} are apart", apart.join(", ")))
    }

    /// Kills a third of the nodes, and the first relay.
    fn kill(&mut self) -> Result<()> {
        let members = std::mem::take(&mut self.members);
        for (index, member) in members.into_iter().enumerate() {
            if index == 0 || index >= 2 && is_lost(index) {
                let state = member.state().with_context(|| format!("{} does not answer", member.name))?;
                self.gone.push((state.node, member.host.address()));
                self.lab.kill(&member.host)?;
            } else {
                self.members.push(member);
            }
        }
        Ok(())
    }

    /// Ends the nodes, and checks what they leave behind.
    async fn end(mut self, acknowledged: &HashSet<TransactionId>) -> Result<()> {
        mesh::end(&mut self.members, &self.lab).await?;
        let checked = pool_files::check(self.members.iter().map(|member| member.folder.clone()), acknowledged)?;
        ensure!(checked == Checked { held: checked.held, ..Checked::default() }, "in the files: {checked:?}");
        Ok(())
    }
}

/// Returns the settings of a node that others can dial.
fn public(host: &Host) -> String {
    format!("HOST=0.0.0.0\nADDRESS=ws://{}:{PORT}\n", host.address())
}

/// Returns whether a node is killed: a third of them, behind other NATs in each of the [`HOSTS`].
fn is_lost(index: usize) -> bool {
    let index = index - 2;
    index % 3 == index / HOSTS.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_the_nodes_is_lost_behind_nats_of_all_kinds() {
        let nats = HOSTS.iter().cycle().take(HOSTS.len() * TIMES).enumerate();
        let lost: Vec<_> = nats.filter(|(index, _)| is_lost(index + 2)).map(|(_, nat)| *nat).collect();
        assert_eq!(lost.len() * 3, HOSTS.len() * TIMES);
        assert!(Nat::ALL.iter().all(|nat| lost.contains(nat)), "{lost:?}");
    }
}
