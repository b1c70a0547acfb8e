//! The rounds of each case, their bounds, and the table of both.

use std::time::Duration;

use measuring::{Format, Table, median};

use crate::measures::wan::cases::Case;
use crate::measures::wan::round::Round;

/// The rounds of a case.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) case: Case,
    /// One way between public addresses.
    pub(crate) delay: Duration,
    /// How many times its bounds everything may take.
    pub(crate) slack: u32,
    /// Those that were measured.
    pub(crate) rounds: Vec<Round>,
    /// What failed in the others, each in one line.
    pub(crate) failures: Vec<String>,
}

impl Row {
    fn linked(&self) -> Vec<Duration> {
        self.rounds.iter().filter_map(|round| Some(round.joined?.linked)).collect()
    }

    fn direct(&self) -> Vec<Duration> {
        self.rounds.iter().filter_map(|round| round.joined?.direct).collect()
    }

    fn gaps(&self) -> Vec<Duration> {
        self.rounds.iter().filter_map(|round| round.gap).collect()
    }

    /// Returns what is out of bounds, in one line.
    pub(crate) fn broken(&self) -> Option<String> {
        let mut broken = Vec::new();
        if let Some(failure) = self.failures.first() {
            let all = self.rounds.len() + self.failures.len();
            broken.push(format!("{} of {all} rounds failed, the first one: {failure}", self.failures.len()));
        }
        let (linked, direct) = self.case.join_bounds(self.delay);
        let mut check = |what: &str, times: &[Duration], bound: Duration| {
            let bound = bound * self.slack;
            if let Some(longest) = times.iter().max().filter(|longest| **longest > bound) {
                broken.push(format!("{what} {} ms, more than {} ms", longest.as_millis(), bound.as_millis()));
            }
        };
        check("linked after", &self.linked(), linked);
        check("direct after", &self.direct(), direct);
        if let Some((bound, what)) = self.case.gap_bound() {
            check(&format!("{what}:"), &self.gaps(), bound);
        }
        (!broken.is_empty()).then(|| format!("{}: {}", self.case, broken.join(", ")))
    }

    fn paths(&self) -> String {
        let sum = |count: fn(&Round) -> usize| self.rounds.iter().map(count).sum::<usize>();
        match (sum(|round| round.direct), sum(|round| round.relayed)) {
            (0, 0) => String::new(),
            (direct, 0) => format!("{direct} direct"),
            (0, relayed) => format!("{relayed} relayed"),
            (direct, relayed) => format!("{direct} direct, {relayed} relayed"),
        }
    }
}

/// Shows a row for each case. Times are in milliseconds: the shortest, the median, the longest.
pub(crate) fn show(rows: &[Row], format: Format) -> String {
    let heading =
        ["case", "passed", "paths at the end", "linked after", "direct after", "time", "bound", "which is the time"];
    let mut table = Table::new(heading).right(3..7);
    for row in rows {
        let bound = row.case.gap_bound();
        table.push([
            row.case.to_string(),
            format!("{} of {}", row.rounds.len(), row.rounds.len() + row.failures.len()),
            row.paths(),
            spread(&row.linked()),
            spread(&row.direct()),
            spread(&row.gaps()),
            bound.map(|(bound, _)| bound.as_millis().to_string()).unwrap_or_default(),
            bound.map(|(_, what)| what.to_owned()).unwrap_or_default(),
        ]);
    }
    format!("{}\ntimes in ms: shortest / median / longest", table.show(format))
}

fn spread(times: &[Duration]) -> String {
    let milliseconds = |time: &Duration| time.as_secs_f64() * 1e3;
    match (times.iter().min(), median(times.iter().map(milliseconds)), times.iter().max()) {
        (Some(min), Some(median), Some(max)) => {
            format!("{:.0} / {median:.0} / {:.0}", milliseconds(min), milliseconds(max))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measures::wan::world::Joined;
    use crate::support::nat_lab::Nat;

    fn round(linked: u64, direct: Option<u64>, gap: Option<u64>) -> Round {
        let time = Duration::from_millis;
        let joined = Joined { linked: time(linked), direct: direct.map(time) };
        let is_direct = direct.is_some();
        Round { joined: Some(joined), gap: gap.map(time), direct: is_direct.into(), relayed: (!is_direct).into() }
    }

    fn row(case: Case, rounds: &[Round], failures: &[&str]) -> Row {
        let failures = failures.iter().map(|failure| (*failure).to_owned()).collect();
        Row { case, delay: Duration::from_millis(10), slack: 1, rounds: rounds.to_vec(), failures }
    }

    #[test]
    fn a_row_for_each_case() {
        let join = Case::Join { a: Nat::Home, b: Nat::Home };
        let rows = [
            row(join, &[round(50, Some(155), None), round(44, Some(138), None), round(46, None, None)], &[]),
            row(Case::NatMoved, &[round(44, None, Some(6_300))], &["a: not linked"]),
            row(
                Case::Mixed,
                &[Round { joined: None, gap: Some(Duration::from_millis(90)), direct: 3, relayed: 4 }],
                &[],
            ),
        ];
        assert_eq!(
            show(&rows, Format::Text),
            "case         passed  paths at the end     linked after     direct after                time  bound  which is the time\n\
             home × home  3 of 3  2 direct, 1 relayed  44 / 46 / 50  138 / 146 / 155\n\
             nat moved    1 of 2  1 relayed            44 / 44 / 44                   6300 / 6300 / 6300   7000  without traffic, after the move\n\
             mixed        1 of 1  3 direct, 4 relayed                                       90 / 90 / 90  10000  until equal, after the last transaction\n\
             times in ms: shortest / median / longest"
        );
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let join = Case::Join { a: Nat::Home, b: Nat::Home };
        assert_eq!(row(join, &[round(580, Some(2_000), None)], &[]).broken(), None);
        assert_eq!(
            row(join, &[round(581, Some(2_001), None)], &["b: not linked"]).broken().as_deref(),
            Some(
                "home × home: 1 of 2 rounds failed, the first one: b: not linked, linked after 581 ms, more than 580 ms, \
                 direct after 2001 ms, more than 2000 ms"
            )
        );
        let cut = row(Case::LineCut, &[round(44, Some(100), Some(501))], &[]);
        assert_eq!(
            cut.broken().as_deref(),
            Some("line cut: without traffic, after the line is back: 501 ms, more than 500 ms")
        );
    }
}
