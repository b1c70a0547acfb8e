//! The results of a soak: a table, charts, and whether it passed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use measuring::{Axis, Chart, Format, Line, Scale, Stroke, Table, median};

use crate::measures::soak::churn::Churned;
use crate::measures::soak::judge::{Index, Verdict, What, course, judge};
use crate::measures::soak::ledger::Counts;
use crate::measures::soak::sample::{Sample, Watched};
use crate::support::testbed::pool_files::Checked;

/// The time in which all pools must become equal at the end.
pub(crate) const EQUAL_WITHIN: Duration = Duration::from_secs(180);
/// The bound of an isolated node's index, in bytes for each transaction. Tables that have just
/// doubled take twice as much as full ones.
const INDEX_BYTES: f64 = 400.0;
/// With fewer transactions the index is too small to be measured.
const INDEX_FROM: f64 = 100_000.0;
const MIB: f64 = (1 << 20) as f64;

/// What happened during the soak.
pub(crate) struct Disturbances {
    pub(crate) watched: Watched,
    /// When the network was cut in two, in seconds since the start.
    pub(crate) cuts: Vec<(f64, f64)>,
    pub(crate) churned: Churned,
    /// The attackers' connections and frames.
    pub(crate) attackers: (u64, u64),
}

/// All results.
pub(crate) struct Results {
    pub(crate) time: Duration,
    /// Each node's name, and whether it ran all the time; the isolated one comes last.
    pub(crate) nodes: Vec<(String, bool)>,
    pub(crate) disturbances: Disturbances,
    pub(crate) counts: Counts,
    pub(crate) acknowledged: usize,
    /// The time until all pools were equal; `None` if they did not become so.
    pub(crate) equal_after: Option<Duration>,
    pub(crate) checked: Checked,
    /// Faults that should never happen.
    pub(crate) findings: Vec<String>,
}

/// The table, and what is out of bounds.
pub(crate) struct Report {
    rows: Vec<[String; 4]>,
    pub(crate) broken: Vec<String>,
}

impl Report {
    fn info(&mut self, what: &str, figure: impl Into<String>) {
        self.rows.push([what.to_owned(), String::new(), figure.into(), String::new()]);
    }

    fn check(&mut self, what: &str, bound: impl Into<String>, figure: impl Into<String>, holds: bool) {
        let verdict = if holds { "ok" } else { "BROKEN" };
        let figure = figure.into();
        if !holds {
            self.broken.push(format!("{what}: {figure}"));
        }
        self.rows.push([what.to_owned(), bound.into(), figure, verdict.to_owned()]);
    }

    pub(crate) fn show(&self, format: Format) -> String {
        let mut table = Table::new(["what", "bound", "measured", ""]);
        for row in &self.rows {
            table.push(row);
        }
        table.show(format)
    }
}

impl Results {
    /// Holds the results against their bounds.
    pub(crate) fn report(&self) -> Report {
        let mut report = Report { rows: Vec::new(), broken: Vec::new() };
        let Disturbances { watched, cuts, churned: Churned { terminated, killed }, attackers } = &self.disturbances;
        let cut_for: f64 = cuts.iter().map(|(from, to)| to - from).sum();
        report.info("duration", format!("{:.0} s", self.time.as_secs_f64()));
        report.info("nodes stopped and started again: by SIGTERM, by SIGKILL", format!("{terminated}, {killed}"));
        report.info("partitions; their seconds in total", format!("{}; {cut_for:.0}", cuts.len()));
        let (connections, frames) = attackers;
        report.info("attackers: connections, frames", format!("{connections}, {frames}"));
        let Counts { pushed, refused } = self.counts;
        report.info("transactions submitted, rejected", format!("{pushed}, {refused}"));
        report.check("acknowledged", "more than 0", self.acknowledged.to_string(), self.acknowledged > 0);
        let equal = self.equal_after.map_or("never".to_owned(), |after| format!("{:.1} s", after.as_secs_f64()));
        let patience = EQUAL_WITHIN.as_secs();
        report.check("pools equal at the end", format!("{patience} s"), equal, self.equal_after.is_some());
        let Checked { held, lost, twice, differ } = self.checked;
        report.info("transactions in each file at the end", held.to_string());
        for (what, count) in [
            ("acknowledged, but missing in a file", lost),
            ("transactions that a file has twice", twice),
            ("files that differ from the first node's", differ),
        ] {
            report.check(what, "0", count.to_string(), count == 0);
        }
        self.judge_courses(&mut report);
        report.info("samples dropped, as the node did not answer in time", watched.unanswered.to_string());
        let found = self.findings.len();
        report.check("nodes that ended by themselves, failed, or did not start", "0", found.to_string(), found == 0);
        report
    }

    fn judge_courses(&self, report: &mut Report) {
        let (index, total) = (self.index(), self.time.as_secs_f64());
        let held = self.isolated().last().map_or(0.0, |sample| sample.pool);
        let each = index.each();
        if held >= INDEX_FROM {
            let what = "index of the isolated node: bytes per transaction";
            report.check(what, format!("{INDEX_BYTES}"), format!("{each:.0}"), each <= INDEX_BYTES);
        }
        for what in What::ALL {
            for (name, samples) in self.steady() {
                let course = course(what, samples, &index);
                let title = match what {
                    What::Memory => "MiB without the index",
                    What::Descriptors => "file descriptors",
                    What::Tasks => "tasks",
                };
                let title = format!("{name}, {title}: second quarter, last");
                match judge(what, &course, total) {
                    Some(Verdict { second, last, levels_off }) => {
                        let digits = |value: f64| match what {
                            What::Memory => format!("{:.1}", value / MIB),
                            _ => format!("{value:.0}"),
                        };
                        report.check(&title, "levels off", format!("{}, {}", digits(second), digits(last)), levels_off);
                    }
                    None => report.info(&title, "too few samples"),
                }
            }
        }
        for (name, samples) in self.steady() {
            let own = samples.last().map_or((0.0, 0.0), |last| (last.own, last.resident));
            let figure = format!("{:.1}, {:.1}", own.0 / MIB, own.1 / MIB);
            report.info(&format!("{name}, MiB at the end: its own, resident"), figure);
        }
        let most = |value: fn(&Sample) -> f64| {
            let of_all = self.of_the_network().flat_map(|(_, samples)| samples).map(value);
            format!("{:.0}", of_all.fold(0.0, f64::max))
        };
        report.info("most of any node: file descriptors", most(|sample| sample.descriptors));
        report.info("most of any node: tasks", most(|sample| sample.tasks));
        report.info("most of any node: threads", most(|sample| sample.threads));
        report.info("most of any node: connections", most(|sample| sample.links));
    }

    /// Returns the nodes of the network with their samples, without the isolated one.
    fn of_the_network(&self) -> impl Iterator<Item = (&(String, bool), &Vec<Sample>)> {
        let count = self.nodes.len().saturating_sub(1);
        self.nodes.iter().zip(&self.disturbances.watched.samples).take(count)
    }

    /// Returns the nodes that ran all the time, with their samples.
    fn steady(&self) -> impl Iterator<Item = (&str, &Vec<Sample>)> {
        let steady = self.of_the_network().filter(|((_, steady), _)| *steady);
        steady.map(|((name, _), samples)| (name.as_str(), samples))
    }

    fn isolated(&self) -> &[Sample] {
        self.disturbances.watched.samples.last().map_or(&[], Vec::as_slice)
    }

    fn index(&self) -> Index {
        Index::measured(self.isolated())
    }

    /// Draws memory, file descriptors and tasks.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn draw(&self, folder: &Path) -> Result<()> {
        let index = self.index();
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let line = |name: &str, stroke, points: Vec<(f64, f64)>| {
            let points = points.into_iter().map(|(at, value)| (at / 60.0, value)).collect();
            Line { name: name.to_owned(), stroke, points }
        };
        let steady = |value: &dyn Fn(&Sample) -> f64| -> Vec<Line> {
            let points = |samples: &[Sample]| samples.iter().map(|sample| (sample.at, value(sample))).collect();
            self.steady().map(|(name, samples)| line(name, Stroke::Normal, points(samples))).collect()
        };
        let others = |value: &dyn Fn(&Sample) -> f64| line("restarted, median", Stroke::Dashed, self.others(value));
        let less = |sample: &Sample| (sample.own - index.of(sample.pool)) / MIB;
        let mut memory = steady(&less);
        let isolated = self.isolated().iter().map(|sample| (sample.at, sample.own / MIB)).collect();
        memory.push(line("isolated node, all memory", Stroke::Dashed, isolated));
        let (mut descriptors, mut tasks) = (steady(&|sample| sample.descriptors), steady(&|sample| sample.tasks));
        descriptors.push(others(&|sample| sample.descriptors));
        tasks.push(others(&|sample| sample.tasks));
        for (file, title, lines) in [
            ("soak-memory.svg", "Memory without the pool's index, MiB", memory),
            ("soak-descriptors.svg", "Open file descriptors", descriptors),
            ("soak-tasks.svg", "Tasks of the runtime", tasks),
        ] {
            let axis = |label: &str| Axis { label: label.to_owned(), scale: Scale::Linear };
            let bands = self.disturbances.cuts.iter().map(|(from, to)| (from / 60.0, to / 60.0)).collect();
            let chart = Chart { title: title.to_owned(), x: axis("minutes"), y: axis(""), lines, bands };
            let path = folder.join(file);
            fs::write(&path, chart.svg()).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(())
    }

    /// Returns the median over the restarted nodes, between each two samples of a steady one.
    fn others(&self, value: &dyn Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
        let others: Vec<&Vec<Sample>> =
            self.of_the_network().filter(|((_, steady), _)| !steady).map(|(_, samples)| samples).collect();
        let Some((_, times)) = self.steady().next() else { return Vec::new() };
        let at = |pair: &[Sample]| {
            let during = pair[0].at..pair[1].at;
            let seen = others.iter().flat_map(|samples| samples.iter()).filter(|sample| during.contains(&sample.at));
            Some((during.start, median(seen.map(value))?))
        };
        times.windows(2).filter_map(at).collect()
    }
}
