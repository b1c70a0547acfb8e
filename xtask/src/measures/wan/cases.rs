//! The cases, each from the start of its nodes to their end, and their bounds.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use crate::measures::wan::member::{Member, PORT, Programs};
use crate::measures::wan::round::Round;
use crate::measures::wan::world::{Lines, Relays, World};
use crate::measures::wan::{mixed, overlay, state};
use crate::support::nat_lab::Nat;

/// How long traffic flows before a disturbance: enough to see its usual gaps.
const CALM: Duration = Duration::from_secs(1);
/// How long traffic is watched after a disturbance: it may take effect late, or not at all.
const AFTER: Duration = Duration::from_secs(10);
/// The same after a relay fell mute, which is noticed later.
const MUTE_AFTER: Duration = Duration::from_secs(20);
/// How long a line is cut, and how long until its links have ended and their dials have failed
/// again and again.
const CUT: Duration = Duration::from_secs(5);
const LOST: Duration = Duration::from_secs(90);
/// How long a disturbed link may stay without traffic until the round fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether traffic flows again.
const LOOK: Duration = Duration::from_millis(10);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// B joins by an invite of A.
    Join { a: Nat, b: Nat },
    /// The relay falls silent under a direct link.
    RelayKilled,
    /// The relay is ended and started under a relayed link.
    RelayRestarted,
    /// The relay falls silent for good under a relayed link; another one is known.
    RelayReplaced,
    /// The connections of both nodes to their relay are dead under a relayed link, and new ones are
    /// served, so it answers pings; another one is known.
    RelayMute,
    /// The line of B is cut and restored.
    LineCut,
    /// The same, for so long that the link has ended.
    LineLost,
    /// The NAT of B gets a new public address.
    NatMoved,
    /// B knows the id of A alone, and looks A up in a DHT.
    Lookup,
    /// Packets to addresses of which the nodes were not told.
    ThirdParties,
    /// A third of a capped network and one of its relays fall silent.
    Overlay,
    /// Nodes behind NATs, nodes without links by node id, and nodes of the exercise in one network.
    Mixed,
}

impl Case {
    /// The names of the cases in the command line.
    pub(crate) const NAMES: [&str; 12] = [
        "join",
        "relay-killed",
        "relay-restarted",
        "relay-replaced",
        "relay-mute",
        "line-cut",
        "line-lost",
        "nat-moved",
        "third-parties",
        "lookup",
        "overlay",
        "mixed",
    ];

    /// Returns all cases, with a join for each of these pairs.
    pub(crate) fn all(pairs: &[(Nat, Nat)]) -> Vec<Self> {
        let joins = pairs.iter().map(|(a, b)| Self::Join { a: *a, b: *b });
        let others = [
            Self::RelayKilled,
            Self::RelayRestarted,
            Self::RelayReplaced,
            Self::RelayMute,
            Self::LineCut,
            Self::LineLost,
            Self::NatMoved,
            Self::ThirdParties,
            Self::Lookup,
            Self::Overlay,
            Self::Mixed,
        ];
        joins.chain(others).collect()
    }

    /// Returns the name in the command line.
    pub(crate) fn name(self) -> &'static str {
        let number = match self {
            Self::Join { .. } => 0,
            Self::RelayKilled => 1,
            Self::RelayRestarted => 2,
            Self::RelayReplaced => 3,
            Self::RelayMute => 4,
            Self::LineCut => 5,
            Self::LineLost => 6,
            Self::NatMoved => 7,
            Self::ThirdParties => 8,
            Self::Lookup => 9,
            Self::Overlay => 10,
            Self::Mixed => 11,
        };
        Self::NAMES[number]
    }

    /// Returns the NATs of the inviting and of the joining node; `None` where there are many.
    fn nats(self) -> Option<(Nat, Nat)> {
        match self {
            Self::Join { a, b } => Some((a, b)),
            Self::RelayKilled | Self::LineCut | Self::LineLost | Self::NatMoved | Self::ThirdParties | Self::Lookup => {
                Some((Nat::Home, Nat::Home))
            }
            // These have no direct path.
            Self::RelayRestarted | Self::RelayReplaced | Self::RelayMute => Some((Nat::Home, Nat::Symmetric)),
            Self::Overlay | Self::Mixed => None,
        }
    }

    /// Whether the path must be direct. It may be where that is not required.
    fn wants_direct((a, b): (Nat, Nat)) -> bool {
        let open = |nat| matches!(nat, Nat::None | Nat::Full);
        let blocked = a == Nat::UdpBlocked || b == Nat::UdpBlocked;
        !blocked && (open(a) || open(b) || (a, b) == (Nat::Home, Nat::Home))
    }

    /// Returns the longest time until the nodes are linked, and until the path is direct.
    pub(crate) fn join_bounds(self, delay: Duration) -> (Duration, Duration) {
        let round_trip = delay * 2;
        if self == Self::Lookup {
            // The answers of the DHT come first, and it may not answer the first question.
            return (Duration::from_secs(5), Duration::from_secs(6));
        }
        (Duration::from_millis(500) + round_trip * 4, Duration::from_secs(2))
    }

    /// Returns the longest time, and what it is.
    pub(crate) fn gap_bound(self) -> Option<(Duration, &'static str)> {
        match self {
            Self::Join { .. } | Self::ThirdParties | Self::Lookup => None,
            Self::RelayKilled => Some((Duration::from_millis(500), "without traffic")),
            Self::RelayRestarted => Some((Duration::from_secs(3), "without traffic, after the relay is back")),
            // It is found silent after 5 to 6 s.
            Self::RelayReplaced => Some((Duration::from_secs(12), "without traffic, after the relay is gone")),
            // It is found mute after 8 to 9 s.
            Self::RelayMute => Some((Duration::from_secs(14), "without traffic, after the relay is mute")),
            Self::LineCut => Some((Duration::from_millis(500), "without traffic, after the line is back")),
            // The relays are pinged every 6 s by then, and the dials follow within a second.
            Self::LineLost => Some((Duration::from_secs(20), "without traffic, after the line is back")),
            Self::NatMoved => Some((Duration::from_secs(7), "without traffic, after the move")),
            Self::Overlay => Some((overlay::BOUND, "until connected and equal, after the kill")),
            Self::Mixed => Some((mixed::BOUND, "until equal, after the last transaction")),
        }
    }

    /// Runs one round. A direct link whose relay is killed is watched for `watched`.
    pub(crate) async fn run(self, lines: Lines, watched: Duration, root: &Path, programs: &Programs) -> Result<Round> {
        let relays = match self {
            Self::Join { .. } | Self::ThirdParties => Relays::Peer,
            Self::Lookup => Relays::LookedUp,
            Self::RelayReplaced | Self::RelayMute => Relays::Strangers(2),
            Self::RelayKilled | Self::RelayRestarted | Self::LineCut | Self::LineLost | Self::NatMoved => {
                Relays::Strangers(1)
            }
            Self::Overlay => return overlay::run(lines, root, &programs.node).await,
            Self::Mixed => return mixed::run(lines, root, programs).await,
        };
        let nats = self.nats().context("two nodes")?;
        let watches = self == Self::ThirdParties;
        let mut world = World::start(nats, relays, lines, watches, root, &programs.node).await?;
        let joined = world.join(Self::wants_direct(nats)).await?;
        world.exchange().await?;
        let gap = match self {
            Self::Join { .. } | Self::Lookup => None,
            _ => self.disturb(&mut world, watched).await?,
        };
        for (name, watch) in &world.watches {
            let strangers = watch.strangers()?;
            ensure!(strangers.is_empty(), "{name} has sent to strangers: {strangers:?}");
        }
        let faults = world.faults();
        ensure!(faults.is_empty(), "{}", faults.join("; "));
        let is_direct = matches!(world.link()?.path, state::Path::Direct(_));
        Ok(Round { joined: Some(joined), gap, direct: is_direct.into(), relayed: (!is_direct).into() })
    }

    /// Disturbs the link while traffic flows. Returns the time without traffic.
    async fn disturb(self, world: &mut World, watched: Duration) -> Result<Option<Duration>> {
        let flow = world.flow();
        sleep(CALM).await;
        let before = world.link()?.number;
        let gap = match self {
            Self::Join { .. } | Self::ThirdParties | Self::Lookup | Self::Overlay | Self::Mixed => {
                sleep(AFTER).await;
                None
            }
            Self::RelayKilled => {
                let began = Instant::now();
                world.lab.kill(&world.relays[0].host)?;
                Some(longest_until_calm(&world.b, began, watched).await?)
            }
            Self::RelayRestarted => {
                let relay = world.relay()?;
                relay.end().await?;
                relay.start_and_wait().await?;
                Some(growth_after(&world.b, Instant::now()).await?)
            }
            Self::RelayReplaced => {
                let began = Instant::now();
                let host = world.relay()?.host.namespace().to_owned();
                let gone = world.relays.iter().find(|relay| relay.host.namespace() == host);
                gone.map(|relay| world.lab.kill(&relay.host)).transpose()?;
                Some(longest_until_calm(&world.b, began, AFTER).await?)
            }
            Self::RelayMute => {
                let began = Instant::now();
                let host = world.relay()?.host.namespace().to_owned();
                let mute = world.relays.iter().find(|relay| relay.host.namespace() == host);
                mute.map(|relay| world.lab.forget_connections(&relay.host, PORT)).transpose()?;
                Some(longest_until_calm(&world.b, began, MUTE_AFTER).await?)
            }
            Self::LineCut | Self::LineLost => {
                world.lab.cut(&world.b.host);
                sleep(if self == Self::LineCut { CUT } else { LOST }).await;
                world.lab.restore(&world.b.host);
                Some(growth_after(&world.b, Instant::now()).await?)
            }
            Self::NatMoved => {
                let began = Instant::now();
                world.lab.move_nat(&mut world.b.host)?;
                Some(longest_until_calm(&world.b, began, AFTER).await?)
            }
        };
        world.end_flow(flow).await?;
        let after = world.link()?.number;
        let same = matches!(self, Self::RelayReplaced | Self::RelayMute | Self::LineLost) || before == after;
        ensure!(same, "the link ended and another one began");
        Ok(gap)
    }
}

/// Waits until the pool of a node grows after a moment. Returns how long after.
async fn growth_after(member: &Member, moment: Instant) -> Result<Duration> {
    loop {
        if let Some(time) = member.history().first_growth_after(moment) {
            return Ok(time);
        }
        ensure!(moment.elapsed() < PATIENCE, "no traffic within {PATIENCE:?}");
        sleep(LOOK).await;
    }
}

/// Waits for some time, and then until there is traffic. Returns the longest time without any.
async fn longest_until_calm(member: &Member, moment: Instant, watched: Duration) -> Result<Duration> {
    sleep(watched).await;
    growth_after(member, Instant::now()).await?;
    let gap = member.history().longest_gap_after(moment);
    Ok(gap.unwrap_or_default())
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join { a, b } => write!(f, "{a} × {b}"),
            other => f.write_str(&other.name().replace('-', " ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_its_name() {
        let cases = Case::all(&[(Nat::Home, Nat::Full)]);
        assert_eq!(cases.iter().map(|case| case.name()).collect::<Vec<_>>(), Case::NAMES);
        assert_eq!(cases[0].to_string(), "home × full");
    }

    #[test]
    fn a_direct_path_is_wanted_where_one_side_lets_the_other_in() {
        let wants = |a, b| Case::wants_direct((a, b));
        let direct = [
            (Nat::Home, Nat::Home),
            (Nat::Full, Nat::Symmetric),
            (Nat::Symmetric, Nat::Full),
            (Nat::None, Nat::Symmetric),
            (Nat::None, Nat::Home),
        ];
        let relayed = [
            (Nat::Home, Nat::Symmetric),
            (Nat::Symmetric, Nat::Symmetric),
            (Nat::None, Nat::UdpBlocked),
            (Nat::UdpBlocked, Nat::Full),
        ];
        assert!(direct.into_iter().all(|(a, b)| wants(a, b)));
        assert!(!relayed.into_iter().any(|(a, b)| wants(a, b)));
    }
}
