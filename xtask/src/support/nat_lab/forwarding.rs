//! What a learning switch with delay does with a frame, without sockets and clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The most frames under way; further ones are dropped. At 50 ms that is 1.3 million a second.
const MOST_UNDER_WAY: usize = 65_536;
/// An Ethernet header: destination, source, type.
const HEADER: usize = 14;

/// An interface of the switch, by its index.
pub(crate) type Port = usize;

type Mac = [u8; 6];

/// The state of a switch.
#[derive(Debug)]
pub(crate) struct Forwarding {
    delay: Duration,
    /// The part of all frames that is dropped, from 0 to 1.
    loss: f64,
    /// The ports, and whether each is cut.
    ports: BTreeMap<Port, bool>,
    /// Where each address was seen last.
    seen: HashMap<Mac, Port>,
    /// In the order in which they leave, since all have the same delay.
    under_way: VecDeque<Delayed>,
    counts: Counts,
}

#[derive(Debug)]
struct Delayed {
    due: Instant,
    from: Port,
    frame: Vec<u8>,
}

/// Frames since the start of the switch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Delivered to at least one port.
    pub(crate) forwarded: u64,
    /// Dropped by chance.
    pub(crate) lost: u64,
    /// Dropped since a port was cut.
    pub(crate) cut: u64,
    /// Dropped since too many were under way.
    pub(crate) overflowed: u64,
}

impl Forwarding {
    pub(crate) fn new(delay: Duration) -> Self {
        Self {
            delay,
            loss: 0.0,
            ports: BTreeMap::new(),
            seen: HashMap::new(),
            under_way: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn plug(&mut self, port: Port) {
        self.ports.insert(port, false);
    }

    /// From now on a cut port gets no frame, and its frames go nowhere; also those under way.
    pub(crate) fn set_cut(&mut self, port: Port, cut: bool) {
        self.ports.insert(port, cut);
    }

    pub(crate) fn set_loss(&mut self, part: f64) {
        self.loss = part.clamp(0.0, 1.0);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a frame that came in. `chance` is from 0 to 1, and below the loss drops it.
    pub(crate) fn receive(&mut self, now: Instant, from: Port, frame: &[u8], chance: f64) {
        // The kernel hands frames of all interfaces.
        let Some(cut) = self.ports.get(&from) else { return };
        let Some(source) = frame.get(6..12).filter(|_| frame.len() >= HEADER) else { return };
        if *cut {
            self.counts.cut += 1;
        } else if chance < self.loss {
            self.counts.lost += 1;
        } else if self.under_way.len() >= MOST_UNDER_WAY {
            self.counts.overflowed += 1;
        } else {
            self.seen.insert(source.try_into().expect("six bytes"), from);
            self.under_way.push_back(Delayed { due: now + self.delay, from, frame: frame.to_owned() });
        }
    }

    /// Returns when the next frame leaves.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.under_way.front().map(|delayed| delayed.due)
    }

    /// Returns the next frame that is due, and the ports where it leaves: that of its destination,
    /// or all others while that is unknown.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(Vec<u8>, Vec<Port>)> {
        while self.next_due().is_some_and(|due| due <= now) {
            let Delayed { from, frame, .. } = self.under_way.pop_front()?;
            let seen = frame.first_chunk::<6>().and_then(|to| self.seen.get(to).copied());
            let to = self.ports.iter().filter(|(port, _)| match seen {
                Some(seen) => **port == seen && seen != from,
                None => **port != from,
            });
            let (cut, open): (Vec<_>, Vec<_>) = to.partition(|(_, cut)| **cut);
            let open: Vec<_> = open.into_iter().map(|(port, _)| *port).collect();
            if self.ports.get(&from) == Some(&true) || open.is_empty() && !cut.is_empty() {
                self.counts.cut += 1;
            } else if !open.is_empty() {
                self.counts.forwarded += 1;
                return Some((frame, open));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(10);
    const ALL: u8 = 0xff;

    /// Makes a switch with the ports 1, 2 and 3.
    fn three_ports() -> (Forwarding, Instant) {
        let mut switch = Forwarding::new(DELAY);
        (1..=3).for_each(|port| switch.plug(port));
        (switch, Instant::now())
    }

    fn frame(to: u8, from: u8) -> Vec<u8> {
        [vec![to; 6], vec![from; 6], vec![8, 0, 42]].concat()
    }

    fn ports_of(due: Option<(Vec<u8>, Vec<Port>)>) -> Option<Vec<Port>> {
        due.map(|(_, ports)| ports)
    }

    #[test]
    fn a_frame_leaves_after_the_delay_where_its_destination_was_seen() {
        let (mut switch, now) = three_ports();
        switch.receive(now, 1, &frame(ALL, 1), 0.5);
        assert_eq!((switch.next_due(), switch.take_due(now)), (Some(now + DELAY), None));
        assert_eq!(ports_of(switch.take_due(now + DELAY)), Some(vec![2, 3]));
        switch.receive(now, 3, &frame(1, 3), 0.5);
        assert_eq!(switch.take_due(now + DELAY), Some((frame(1, 3), vec![1])));
        switch.receive(now, 1, &frame(1, 2), 0.5);
        assert_eq!(switch.take_due(now + DELAY), None, "its destination is where it came from");
        assert_eq!(switch.counts(), Counts { forwarded: 2, ..Counts::default() });
    }

    #[test]
    fn a_cut_port_neither_sends_nor_gets() {
        let (mut switch, now) = three_ports();
        for from in 1..=3 {
            switch.receive(now, from.into(), &frame(ALL, from), 0.5);
        }
        switch.set_cut(1, true);
        assert_eq!(ports_of(switch.take_due(now + DELAY)), Some(vec![3]), "that of 1 was under way");
        assert_eq!(ports_of(switch.take_due(now + DELAY)), Some(vec![2]));
        switch.receive(now, 1, &frame(2, 1), 0.5);
        switch.receive(now, 2, &frame(1, 2), 0.5);
        assert_eq!(switch.take_due(now + DELAY), None);
        assert_eq!(switch.counts(), Counts { forwarded: 2, cut: 3, ..Counts::default() });
        switch.set_cut(1, false);
        switch.receive(now, 2, &frame(1, 2), 0.5);
        assert_eq!(ports_of(switch.take_due(now + DELAY)), Some(vec![1]));
    }

    #[test]
    fn frames_are_lost_by_chance() {
        let (mut switch, now) = three_ports();
        switch.set_loss(0.3);
        for chance in [0.0, 0.29, 0.3, 0.99] {
            switch.receive(now, 1, &frame(ALL, 1), chance);
        }
        assert_eq!(switch.counts().lost, 2);
        assert_eq!(std::iter::from_fn(|| switch.take_due(now + DELAY)).count(), 2);
    }

    #[test]
    fn other_interfaces_and_broken_frames_are_ignored_and_a_flood_is_bounded() {
        let (mut switch, now) = three_ports();
        switch.receive(now, 9, &frame(ALL, 9), 0.5);
        switch.receive(now, 1, &[0; HEADER - 1], 0.5);
        assert_eq!(switch.next_due(), None);
        for _ in 0..=MOST_UNDER_WAY {
            switch.receive(now, 1, &frame(ALL, 1), 0.5);
        }
        assert_eq!(switch.counts().overflowed, 1);
    }
}
