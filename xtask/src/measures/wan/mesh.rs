//! What is asked of many nodes: whether they are one network, and hold the same.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::join_all;
use meshpool::protocol::transaction::TransactionId;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::measures::wan::member::{Member, Submitting};
use crate::measures::wan::state::{Path, State};
use crate::support::nat_lab::Lab;

/// How often many nodes are compared.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until nothing is missing. Returns how long that took.
///
/// # Errors
/// Something is missing for so long.
pub(crate) async fn until(
    what: &str,
    limit: Duration,
    mut missing: impl FnMut() -> Option<String>,
) -> Result<Duration> {
    let began = Instant::now();
    while let Some(missing) = missing() {
        ensure!(began.elapsed() < limit, "not {what} within {limit:?}: {missing}");
        sleep(LOOK).await;
    }
    Ok(began.elapsed())
}

/// Returns what these nodes report.
///
/// # Errors
/// One of them does not answer.
pub(crate) fn states(members: &[&Member]) -> Result<Vec<State>, String> {
    let state = |member: &&Member| member.state().ok_or_else(|| format!("{} does not answer", member.name));
    members.iter().map(state).collect()
}

/// Returns which links there are between nodes: those that both ends list, by the nodes' indices.
pub(crate) fn links(members: &[&Member], states: &[State]) -> HashSet<(usize, usize)> {
    let lists = |a: usize, b: usize| states[a].is_linked_to(&states[b].node, members[b].host.address());
    let pairs = (0..members.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    pairs.filter(|(a, b)| lists(*a, *b) && lists(*b, *a)).collect()
}

/// Returns the nodes, by their indices, to which no links lead from the first one.
pub(crate) fn unreached(count: usize, links: &HashSet<(usize, usize)>) -> Vec<usize> {
    let mut reached: HashSet<usize> = (0..count.min(1)).collect();
    loop {
        let further = links.iter().filter(|(a, b)| reached.contains(a) != reached.contains(b));
        let further: Vec<_> = further.flat_map(|(a, b)| [*a, *b]).collect();
        if further.is_empty() {
            return (0..count).filter(|node| !reached.contains(node)).collect();
        }
        reached.extend(further);
    }
}

/// Returns which pools differ from the first one, or hold less than these; `None` if none does.
pub(crate) fn difference(members: &[&Member], at_least: usize) -> Option<String> {
    let states = match states(members) {
        Ok(states) => states,
        Err(silent) => return Some(silent),
    };
    let differ = |state: &State| state.pool != states[0].pool || state.pool.count < at_least as u64;
    let differing = members.iter().zip(&states).filter(|(_, state)| differ(state));
    let differing: Vec<_> =
        differing.map(|(member, state)| format!("{} holds {}", member.name, state.pool.count)).collect();
    (!differing.is_empty())
        .then(|| format!("{} holds {}, {}", members[0].name, states[0].pool.count, differing.join(", ")))
}

/// Returns how many links by node id are direct, and how many are relayed.
pub(crate) fn paths(states: &[State]) -> (usize, usize) {
    // Each link is reported by both ends, unless one of them is not among these nodes.
    let of_lower = |state: &State| {
        let links = state.links.iter().filter(|link| link.peer.trim_start_matches("iroh:") > state.node.as_str());
        let (direct, relayed): (Vec<_>, Vec<_>) = links.partition(|link| matches!(link.path, Path::Direct(_)));
        (direct.len(), relayed.len())
    };
    states.iter().map(of_lower).fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1))
}

/// Ends nodes, and checks that nothing went wrong in them or in the lab.
pub(crate) async fn end(members: &mut [Member], lab: &Lab) -> Result<()> {
    join_all(members.iter_mut().map(Member::end)).await.into_iter().collect::<Result<()>>()?;
    let mut faults: Vec<_> = members.iter().flat_map(Member::faults).collect();
    let overflowed = lab.counts().overflowed;
    faults.extend((overflowed > 0).then(|| format!("the switch had no room for {overflowed} packets")));
    ensure!(faults.is_empty(), "{}", faults.join("; "));
    Ok(())
}

/// Transactions from several nodes.
pub(crate) struct Traffic {
    stop: watch::Sender<bool>,
    tasks: Vec<Submitting>,
}

impl Traffic {
    /// Starts to hand each node a transaction at each interval, at most so many.
    pub(crate) fn start<'a>(members: impl IntoIterator<Item = &'a Member>, every: Duration, most: usize) -> Self {
        let (stop, stopped) = watch::channel(false);
        let tasks = members.into_iter().map(|member| member.submit(every, most, stopped.clone())).collect();
        Self { stop, tasks }
    }

    /// Ends it. Returns what was acknowledged.
    pub(crate) async fn end(self) -> Result<HashSet<TransactionId>> {
        self.stop.send_replace(true);
        self.finished().await
    }

    /// Waits until each node was handed the most. Returns what was acknowledged.
    pub(crate) async fn finished(self) -> Result<HashSet<TransactionId>> {
        let mut acknowledged = HashSet::new();
        for task in self.tasks {
            acknowledged.extend(task.await??);
        }
        Ok(acknowledged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_without_a_way_from_the_first_are_unreached() {
        let links = HashSet::from([(1, 0), (4, 1), (3, 2)]);
        assert_eq!(unreached(6, &links), [2, 3, 5]);
        assert_eq!(unreached(2, &links), [0; 0]);
        assert_eq!(unreached(0, &HashSet::new()), [0; 0]);
    }
}
