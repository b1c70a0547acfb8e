//! Two nodes behind NATs and their relays, from the first start until both are linked.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::measures::wan::dht::PrivateDht;
use crate::measures::wan::member::{LOOK, Member, PORT, Submitting};
use crate::measures::wan::state::{self, State};
use crate::support::nat_lab::watch::Watch;
use crate::support::nat_lab::{Lab, Nat};

/// The time in which nodes must be linked, or have a direct path.
const PATIENCE: Duration = Duration::from_secs(30);
/// The time in which all pools must be equal when nothing disturbs them any more.
const EQUAL_WITHIN: Duration = Duration::from_secs(10);
/// The transactions of each member before they are linked.
const BEFORE: usize = 20;
/// The interval of the transactions in [`Flow`].
const EVERY: Duration = Duration::from_millis(50);

/// The nodes of a round. Dropping it kills them and removes their network.
pub(crate) struct World {
    kind: Relays,
    pub(crate) relays: Vec<Member>,
    /// Invites.
    pub(crate) a: Member,
    /// Joins.
    pub(crate) b: Member,
    /// The id of the first member.
    inviting: String,
    /// The transactions that were acknowledged.
    submitted: usize,
    /// What the members send to others than each other and the relays, from their start on.
    pub(crate) watches: Vec<(String, Watch)>,
    _dht: Option<PrivateDht>,
    // Dropped last: the members are on its hosts.
    pub(crate) lab: Lab,
}

/// What the lines of the lab do to packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines {
    /// One way between public addresses.
    pub(crate) delay: Duration,
    /// The part of all packets that is lost, from 0 to 1.
    pub(crate) loss: f64,
}

/// What the relays are to the two members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relays {
    /// A node of their network, which the first member knows: the usual case.
    Peer,
    /// So many nodes of another network. Then all transactions take the link between the two
    /// members, and a disturbance of that link shows.
    Strangers(usize),
    /// A node of another network, which the first member alone knows; the second one looks the
    /// first one up in a DHT.
    LookedUp,
}

/// The times from the start of the joining program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joined {
    pub(crate) linked: Duration,
    /// Until the path was direct, if that was waited for.
    pub(crate) direct: Option<Duration>,
}

impl World {
    /// Starts the relays, and the first member, which knows them. `watches`: whether it is watched
    /// to whom the members send.
    pub(crate) async fn start(
        (nat_a, nat_b): (Nat, Nat),
        relays: Relays,
        lines: Lines,
        watches: bool,
        root: &Path,
        binary: &Arc<Path>,
    ) -> Result<Self> {
        const NAMES: [&str; 2] = ["relay-1", "relay-2"];
        let mut lab = Lab::new(lines.delay)?;
        lab.set_loss(lines.loss);
        let (number, network) = match relays {
            Relays::Peer => (1, ""),
            Relays::Strangers(number) => (number, "NETWORK=relays\n"),
            Relays::LookedUp => (1, "NETWORK=relays\n"),
        };
        let mut started = Vec::new();
        let mut hints = Vec::new();
        for name in NAMES.into_iter().take(number) {
            let mut relay = Member::make(name, lab.public(name)?, root, binary, LOOK)?;
            let hint = format!("{}:{PORT}", relay.host.address());
            relay.configure(&format!("HOST=0.0.0.0\nADDRESS=ws://{hint}\nRELAY=on\n{network}"), &[])?;
            relay.start_and_wait().await?;
            started.push(relay);
            hints.push(hint);
        }
        let dht = (relays == Relays::LookedUp).then(|| PrivateDht::start(&mut lab)).transpose()?;
        let lookup = dht.as_ref().map(PrivateDht::settings).unwrap_or_default();
        let mut a = Member::make("a", lab.behind(nat_a)?, root, binary, LOOK)?;
        let b = Member::make("b", lab.behind(nat_b)?, root, binary, LOOK)?;
        match relays {
            Relays::Peer => {
                a.configure("WAN=on\n", &hints.iter().map(|hint| format!("ws://{hint}")).collect::<Vec<_>>())
            }
            Relays::Strangers(_) | Relays::LookedUp => {
                a.configure(&format!("WAN=on\nRELAYS={}\n{lookup}", hints.join(",")), &[])
            }
        }?;
        let watches = if watches { watch(&started, [&a, &b])? } else { Vec::new() };
        let inviting = a.start_and_wait().await?;
        if dht.is_some() {
            a.logged("is found by its id in the DHT", PATIENCE).await?;
            b.configure(&lookup, &[format!("iroh:{inviting}")])?;
        }
        if relays == Relays::Peer {
            a.wait("linked to the relay", PATIENCE, |state| (!state.connected.is_empty()).then_some(())).await?;
        }
        let mut world = Self { kind: relays, relays: started, a, b, inviting, submitted: 0, watches, _dht: dht, lab };
        world.submit_to_a().await?;
        Ok(world)
    }

    /// Has the second member join by an invite of the first one, or by what it can look up.
    pub(crate) async fn join(&mut self, until_direct: bool) -> Result<Joined> {
        let began = if self.kind == Relays::LookedUp {
            self.b.start(&[])?
        } else {
            let invite = self.a.ask(&["invite"]).await?;
            ensure!(invite.lines().count() == 1, "an invite is one line, not: {invite}");
            self.b.start(&["join", &invite])?
        };
        let inviting = self.inviting.clone();
        let direct = |state: &State| state.link_to(&inviting).map(|link| matches!(link.path, state::Path::Direct(_)));
        let is_direct = self.b.wait("linked", PATIENCE, direct).await?;
        let linked = began.elapsed();
        if until_direct && !is_direct {
            self.b.wait("linked directly", PATIENCE, |state| direct(state).filter(|is| *is)).await?;
        }
        Ok(Joined { linked, direct: (until_direct || is_direct).then(|| began.elapsed()) })
    }

    /// Returns the link that the second member has to the first one.
    pub(crate) fn link(&self) -> Result<state::Link> {
        let state = self.b.state().context("b does not answer")?;
        state.link_to(&self.inviting).cloned().context("b is not linked to a")
    }

    /// Returns the relay of the link.
    pub(crate) fn relay(&mut self) -> Result<&mut Member> {
        let state::Path::Relayed(via) = self.link()?.path else { bail!("the link has a direct path") };
        let relay = self.relays.iter_mut().find(|relay| via.contains(&relay.host.address().to_string()));
        relay.with_context(|| format!("no relay has the address {via}"))
    }

    async fn submit_to_a(&mut self) -> Result<()> {
        let (_go_on, stop) = watch::channel(false);
        self.submitted += self.a.submit(Duration::from_millis(1), BEFORE, stop).await??.len();
        Ok(())
    }

    /// Gives the second member transactions too, and waits until all pools are equal.
    pub(crate) async fn exchange(&mut self) -> Result<()> {
        let (_go_on, stop) = watch::channel(false);
        self.submitted += self.b.submit(Duration::from_millis(1), BEFORE, stop).await??.len();
        self.equal().await
    }

    /// Waits until all pools hold the same transactions: those that were acknowledged.
    pub(crate) async fn equal(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let members = [&self.a, &self.b].into_iter();
            let relays = self.relays.iter().filter(|_| self.kind == Relays::Peer);
            let pools: Vec<_> =
                members.chain(relays).map(|member| (&member.name, member.state().map(|state| state.pool))).collect();
            let (_, first) = &pools[0];
            let right = first.as_ref().is_some_and(|pool| pool.count == self.submitted as u64);
            if right && pools.iter().all(|(_, pool)| pool == first) {
                return Ok(());
            }
            let counts = || pools.iter().map(|(name, pool)| format!("{name} {:?}", pool.as_ref().map(|it| it.count)));
            ensure!(
                began.elapsed() < EQUAL_WITHIN,
                "of {} transactions the pools hold, after {EQUAL_WITHIN:?}: {}",
                self.submitted,
                counts().collect::<Vec<_>>().join(", ")
            );
            sleep(LOOK).await;
        }
    }

    /// Starts traffic from the first member to the second one.
    pub(crate) fn flow(&self) -> Flow {
        let (stop, stopped) = watch::channel(false);
        Flow { stop, task: self.a.submit(EVERY, usize::MAX, stopped) }
    }

    /// Ends traffic, and waits until all of it has come.
    pub(crate) async fn end_flow(&mut self, flow: Flow) -> Result<()> {
        flow.stop.send_replace(true);
        self.submitted += flow.task.await??.len();
        self.equal().await
    }

    /// Returns what is wrong in the logs, and with the lab.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults: Vec<_> = self.relays.iter().chain([&self.a, &self.b]).flat_map(Member::faults).collect();
        let overflowed = self.lab.counts().overflowed;
        faults.extend((overflowed > 0).then(|| format!("the switch had no room for {overflowed} packets")));
        faults
    }
}

/// Watches both members: they may send to the relays, and to each other's addresses.
fn watch(relays: &[Member], members: [&Member; 2]) -> Result<Vec<(String, Watch)>> {
    let relays = relays.iter().map(|relay| relay.host.address());
    let addresses = members.iter().flat_map(|member| [member.host.address(), member.host.public_address()]);
    let allowed: Vec<_> = relays.chain(addresses).map(IpAddr::from).collect();
    members.iter().map(|member| Ok((member.name.clone(), Watch::start(&member.host, &allowed)?))).collect()
}

/// A transaction at each interval of [`EVERY`].
pub(crate) struct Flow {
    stop: watch::Sender<bool>,
    task: Submitting,
}
