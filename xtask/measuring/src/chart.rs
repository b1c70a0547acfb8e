//! Line charts as SVG: each line is named at its end.
//!
//! A chart brings its own background and its colours for a light and for a dark page, so it can be
//! read on any page.

use std::fmt::{Result, Write};

use crate::stats::median;

/// A chart.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows, in what unit.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines, in the order of their colours.
    pub lines: Vec<Line>,
    /// Ranges of x that have a shaded background.
    pub bands: Vec<(f64, f64)>,
}

/// An axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// Its name; it may be empty.
    pub label: String,
    /// How values are spread over it.
    pub scale: Scale,
}

/// How values are spread over an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From zero to the greatest value.
    Linear,
    /// Logarithmic, from the least to the greatest value. Values that are not above zero are not
    /// drawn.
    Logarithmic,
}

/// A line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// How it is drawn.
    pub stroke: Stroke,
    /// Pairs of x and y, in any order. Of many, neighbours are drawn as one point, their median.
    pub points: Vec<(f64, f64)>,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stroke {
    /// Thin.
    Normal,
    /// Thick, on top of the others.
    Strong,
    /// Dashed: a line to compare with.
    Dashed,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 620.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 368.0;
/// How far apart two names are at least.
const NAME_HEIGHT: f64 = 17.0;
/// From the middle of a line of text to its base line.
const BASE: f64 = 4.5;
/// The most points of a line.
const POINTS: usize = 150;
/// The most points of a line of which each has a dot.
const DOTS: usize = 20;
/// The most labels of an axis.
const LABELS: usize = 12;

/// Lines take turns in these. The palette of Okabe and Ito, which the colour-blind can tell apart;
/// the second of each pair is for a dark background.
const COLOURS: [(&str, &str); 6] = [
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff9a4d"),
    ("#007a5a", "#2fc79a"),
    ("#a3508a", "#e29ac9"),
    ("#8a6d00", "#e6c229"),
    ("#666666", "#a8a8a8"),
];
/// Lines of the same colour are told apart by these.
const DASHES: [&str; 3] = ["none", "7 4", "2 4"];

impl Chart {
    /// The text of the file.
    pub fn svg(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        self.write(&mut text).unwrap_or_default();
        text
    }

    fn write(&self, text: &mut String) -> Result {
        let title = escape(&self.title);
        writeln!(
            text,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="system-ui, sans-serif" font-size="13">"#
        )?;
        writeln!(text, "<title>{title}</title>\n<style>\n{}</style>", style())?;
        writeln!(text, r#"<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="8"/>"#)?;
        writeln!(text, r#"<text class="ink" x="20" y="30" font-size="16">{title}</text>"#)?;
        let lines: Vec<_> = self.lines.iter().map(|line| self.drawable(line)).collect();
        if lines.iter().any(|points| !points.is_empty()) {
            self.write_plot(text, &lines)?;
        }
        text.write_str("</svg>\n")
    }

    /// The points of a line that are drawn, from left to right.
    fn drawable(&self, line: &Line) -> Vec<(f64, f64)> {
        let fits = |(x, y): &(f64, f64)| self.x.scale.holds(*x) && self.y.scale.holds(*y);
        let mut points: Vec<_> = line.points.iter().copied().filter(fits).collect();
        points.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let group = points.len().div_ceil(POINTS).max(1);
        let middle =
            |points: &[(f64, f64)]| Some((points[points.len() / 2].0, median(points.iter().map(|(_, y)| *y))?));
        points.chunks(group).filter_map(middle).collect()
    }

    fn write_plot(&self, text: &mut String, lines: &[Vec<(f64, f64)>]) -> Result {
        let of_all = |value: fn(&(f64, f64)) -> f64| -> Vec<f64> { lines.iter().flatten().map(value).collect() };
        let (xs, ys) = (of_all(|(x, _)| *x), of_all(|(_, y)| *y));
        let x = Mapping::new(self.x.scale, xs.iter().copied(), LEFT, RIGHT - 12.0);
        let y = Mapping::new(self.y.scale, round_range(self.y.scale, &ys), BOTTOM, TOP);
        for (from, to) in &self.bands {
            let (from, to) = (x.at(*from), x.at(*to));
            let (width, height) = (to - from, BOTTOM - TOP);
            writeln!(text, r#"<rect class="band" x="{from:.1}" y="{TOP}" width="{width:.1}" height="{height}"/>"#)?;
        }
        for value in y.steps(5) {
            let (at, before) = (y.at(value), LEFT - 8.0);
            writeln!(text, r#"<line class="grid" x1="{LEFT}" y1="{at:.1}" x2="{RIGHT}" y2="{at:.1}"/>"#)?;
            write_text(text, "soft", (before, at + BASE), "end", &short(value))?;
        }
        for value in x.labels(xs) {
            write_text(text, "soft", (x.at(value), BOTTOM + 20.0), "middle", &short(value))?;
        }
        write_text(text, "soft", (f64::midpoint(LEFT, RIGHT), BOTTOM + 40.0), "middle", &self.x.label)?;
        write_text(text, "soft", (LEFT - 8.0, TOP - 10.0), "start", &self.y.label)?;
        let mut names = Vec::new();
        let is_strong = |index: &usize| self.lines[*index].stroke == Stroke::Strong;
        let order = 0..lines.len();
        for index in order.clone().filter(|index| !is_strong(index)).chain(order.filter(is_strong)) {
            let points: Vec<_> = lines[index].iter().map(|(at, value)| (x.at(*at), y.at(*value))).collect();
            let Some((_, end)) = points.last() else { continue };
            names.push((index, *end));
            write_line(text, index, self.lines[index].stroke, &points)?;
        }
        for ((index, end), at) in spread_out(names) {
            let (class, from, to) = (index % COLOURS.len(), RIGHT - 6.0, RIGHT + 14.0);
            let (name, weight) = (&self.lines[index].name, if is_strong(&index) { 700 } else { 400 });
            writeln!(text, r#"<line class="l{class} lead" x1="{from}" y1="{end:.1}" x2="{to}" y2="{at:.1}"/>"#)?;
            let (x, y, name) = (to + 5.0, at + BASE, escape(name));
            writeln!(text, r#"<text class="t{class}" x="{x}" y="{y:.1}" font-weight="{weight}">{name}</text>"#)?;
        }
        Ok(())
    }
}

fn write_text(text: &mut String, class: &str, (x, y): (f64, f64), anchor: &str, content: &str) -> Result {
    let content = escape(content);
    writeln!(text, r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{content}</text>"#)
}

fn write_line(text: &mut String, index: usize, stroke: Stroke, points: &[(f64, f64)]) -> Result {
    let class = index % COLOURS.len();
    let dash = DASHES[(index / COLOURS.len() + usize::from(stroke == Stroke::Dashed)) % DASHES.len()];
    let width = if stroke == Stroke::Strong { 3.5 } else { 1.8 };
    let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let path = path.join(" ");
    writeln!(text, r#"<polyline class="l{class}" stroke-width="{width}" stroke-dasharray="{dash}" points="{path}"/>"#)?;
    for (x, y) in points.iter().filter(|_| points.len() <= DOTS) {
        writeln!(text, r#"<circle class="t{class}" cx="{x:.1}" cy="{y:.1}" r="{}"/>"#, width + 1.2)?;
    }
    Ok(())
}

fn style() -> String {
    let rules = |dark: bool| {
        let shade = |(light, darker): (&'static str, &'static str)| if dark { darker } else { light };
        let mut rules = format!(
            ".page{{fill:{}}} .ink{{fill:{}}} .soft{{fill:{}}} .grid{{stroke:{}}} .band{{fill:{}}}\n",
            shade(("#ffffff", "#15181c")),
            shade(("#1b1f24", "#e8eaed")),
            shade(("#57606a", "#aab2bb")),
            shade(("#dfe3e8", "#343b43")),
            shade(("#eceef1", "#272c33"))
        );
        for (index, colours) in COLOURS.into_iter().enumerate() {
            let colour = shade(colours);
            rules += &format!(".l{index}{{stroke:{colour};fill:none}} .t{index}{{fill:{colour}}}\n");
        }
        rules
    };
    format!("{}.lead{{stroke-width:0.8}}\n@media (prefers-color-scheme: dark) {{\n{}}}\n", rules(false), rules(true))
}

impl Scale {
    fn holds(self, value: f64) -> bool {
        value.is_finite() && (self == Self::Linear || value > 0.0)
    }
}

/// Where on the page the values of an axis are.
struct Mapping {
    scale: Scale,
    least: f64,
    greatest: f64,
    start: f64,
    end: f64,
}

impl Mapping {
    fn new(scale: Scale, values: impl IntoIterator<Item = f64>, start: f64, end: f64) -> Self {
        let first = if scale == Scale::Linear { 0.0 } else { f64::INFINITY };
        let (least, greatest) = values
            .into_iter()
            .fold((first, 0.0_f64), |(least, greatest), value| (least.min(value), greatest.max(value)));
        Self { scale, least: if scale == Scale::Linear { 0.0 } else { least }, greatest, start, end }
    }

    fn at(&self, value: f64) -> f64 {
        let (span, above) = match self.scale {
            Scale::Linear => (self.greatest, value),
            Scale::Logarithmic => ((self.greatest / self.least).ln(), (value / self.least).ln()),
        };
        // A single value stands in the middle.
        let part = if span > 0.0 { (above / span).clamp(0.0, 1.0) } else { 0.5 };
        self.start + part * (self.end - self.start)
    }

    /// Round values, at most about so many on a linear axis.
    fn steps(&self, most: u32) -> Vec<f64> {
        match self.scale {
            Scale::Linear if self.greatest > 0.0 => {
                let step = step_above(self.greatest / f64::from(most));
                let count = (self.greatest / step + 1e-9).floor() as u32;
                (0..=count).map(|number| f64::from(number) * step).collect()
            }
            Scale::Linear => vec![0.0],
            Scale::Logarithmic => logarithmic_steps(self.least, self.greatest),
        }
    }

    /// The values that are written along the axis: round ones, or on a logarithmic axis those that
    /// were measured, if they are few.
    fn labels(&self, mut measured: Vec<f64>) -> Vec<f64> {
        measured.sort_by(f64::total_cmp);
        measured.dedup();
        if self.scale == Scale::Logarithmic && measured.len() <= LABELS { measured } else { self.steps(7) }
    }
}

/// The least and the greatest value of an axis that begins and ends with a round one.
fn round_range(scale: Scale, values: &[f64]) -> [f64; 2] {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(0.0, f64::max);
    match scale {
        Scale::Linear => {
            let step = step_above(greatest / 5.0);
            [0.0, (greatest / step).ceil().max(1.0) * step]
        }
        Scale::Logarithmic => [step_below(least), step_above(greatest)],
    }
}

/// The steps are 1, 2 and 5 of each power of ten.
fn step(number: i32) -> f64 {
    [1.0, 2.0, 5.0][number.rem_euclid(3) as usize] * 10_f64.powi(number.div_euclid(3))
}

/// The number of the step that is the power of ten below a value.
fn power_below(value: f64) -> i32 {
    (value.log10().floor() as i32) * 3
}

fn step_below(value: f64) -> f64 {
    let first = power_below(value);
    (first..first + 3).rev().map(step).find(|step| *step <= value).unwrap_or(value)
}

/// The least step that is not below a value; 1 for what is not above zero.
fn step_above(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let first = power_below(value);
    (first..first + 4).map(step).find(|step| *step >= value).unwrap_or(value)
}

/// The steps between two values; every third one where there would be too many.
fn logarithmic_steps(least: f64, greatest: f64) -> Vec<f64> {
    let all = (power_below(least)..power_below(greatest) + 4).map(|number| (number, step(number)));
    let inside: Vec<_> = all.filter(|(_, step)| (least..=greatest).contains(step)).collect();
    let all = inside.len() <= LABELS;
    inside.into_iter().filter(|(number, _)| all || number.rem_euclid(3) == 0).map(|(_, step)| step).collect()
}

/// 1,000 as 1k, and a million as 1M.
fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", value / 1e6),
        1e3.. => format!("{}k", value / 1e3),
        // 0.1 is not exactly a tenth.
        _ => format!("{}", (value * 1e6).round() / 1e6),
    }
}

/// Moves names apart that would overlap, each with where its line ends, and no further than is
/// needed.
fn spread_out(mut names: Vec<(usize, f64)>) -> Vec<((usize, f64), f64)> {
    names.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    // Groups of names that touch: a group lies around the middle of its lines' ends.
    let mut groups: Vec<(Vec<(usize, f64)>, f64)> = Vec::new();
    for name in names {
        groups.push((vec![name], name.1));
        while let [.., (above, above_middle), (below, below_middle)] = &groups[..] {
            let apart = (above.len() + below.len()) as f64 / 2.0 * NAME_HEIGHT;
            if below_middle - above_middle >= apart {
                break;
            }
            let members: Vec<_> = above.iter().chain(below).copied().collect();
            let middle = members.iter().map(|(_, end)| end).sum::<f64>() / members.len() as f64;
            let half = members.len() as f64 / 2.0 * NAME_HEIGHT;
            let middle = middle.max(TOP + half - NAME_HEIGHT).min(HEIGHT - half).max(half);
            groups.truncate(groups.len() - 2);
            groups.push((members, middle));
        }
    }
    let lay_out = |(members, middle): (Vec<(usize, f64)>, f64)| {
        let first = middle - (members.len() as f64 - 1.0) / 2.0 * NAME_HEIGHT;
        members.into_iter().enumerate().map(move |(index, name)| (name, first + index as f64 * NAME_HEIGHT))
    };
    groups.into_iter().flat_map(lay_out).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale) -> Axis {
        Axis { label: String::new(), scale }
    }

    fn line(name: &str, stroke: Stroke, points: &[(f64, f64)]) -> Line {
        Line { name: name.to_owned(), stroke, points: points.to_vec() }
    }

    fn chart(scale: Scale, lines: Vec<Line>) -> Chart {
        Chart { title: "x < y".to_owned(), x: axis(scale), y: axis(scale), lines, bands: Vec::new() }
    }

    #[test]
    fn steps_surround_the_values() {
        assert_eq!((step_below(36.0), step_above(36.0)), (20.0, 50.0));
        assert_eq!((step_below(1000.0), step_above(1000.0)), (1000.0, 1000.0));
        assert_eq!((step_below(0.36), step_above(0.36)), (0.2, 0.5));
        assert_eq!([0.0, 0.3, 1.0, 6.0, 11.0].map(step_above), [1.0, 0.5, 1.0, 10.0, 20.0]);
        assert_eq!(logarithmic_steps(20.0, 500.0), [20.0, 50.0, 100.0, 200.0, 500.0]);
        assert_eq!(logarithmic_steps(1.0, 1e6), [1.0, 10.0, 1e2, 1e3, 1e4, 1e5, 1e6]);
        assert_eq!([0.2, 5.0, 20_000.0, 2e6].map(short), ["0.2", "5", "20k", "2M"]);
    }

    #[test]
    fn a_linear_axis_begins_at_zero_and_ends_round() {
        assert_eq!(round_range(Scale::Linear, &[3.0, 42.0]), [0.0, 50.0]);
        assert_eq!(round_range(Scale::Linear, &[0.0]), [0.0, 1.0]);
        let mapping = Mapping::new(Scale::Linear, [50.0], 0.0, 100.0);
        assert_eq!(mapping.steps(5), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!([-1.0, 0.0, 25.0, 60.0].map(|value| mapping.at(value)), [0.0, 0.0, 50.0, 100.0]);
    }

    #[test]
    fn names_do_not_overlap() {
        let placed = spread_out(vec![(0, 100.0), (1, 101.0), (2, 300.0), (3, 108.0), (4, 126.0)]);
        for pair in placed.windows(2) {
            assert!(pair[1].1 - pair[0].1 >= NAME_HEIGHT - 1e-9, "{placed:?}");
        }
        assert_eq!(placed.last(), Some(&((2, 300.0), 300.0)));
    }

    #[test]
    fn every_line_is_drawn_and_named() {
        let lines = vec![
            line("a & b", Stroke::Normal, &[(3.0, 10.0), (10.0, 1.0)]),
            line("ours", Stroke::Strong, &[(10.0, 0.0), (3.0, 50.0)]),
            line("nothing", Stroke::Normal, &[]),
        ];
        let svg = chart(Scale::Logarithmic, lines.clone()).svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 3, "a logarithmic axis has no zero");
        assert!(svg.contains(">a &amp; b<") && svg.contains(">x &lt; y<") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(chart(Scale::Linear, lines).svg().matches("<circle").count(), 4);
    }

    #[test]
    fn bands_are_shaded_and_long_lines_thinned() {
        let long: Vec<_> = (0..1_000).map(|number| (f64::from(number), 5.0)).collect();
        let mut chart = chart(Scale::Linear, vec![line("long", Stroke::Dashed, &long)]);
        chart.bands = vec![(2.0, 3.0)];
        let svg = chart.svg();
        assert_eq!((svg.matches("class=\"band\"").count(), svg.matches("<circle").count()), (1, 0));
        assert!(svg.contains("stroke-dasharray=\"7 4\""));
        assert!(svg.len() < 8_000, "{} bytes", svg.len());
    }

    #[test]
    fn nothing_to_draw_is_still_a_chart() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            assert!(chart(scale, Vec::new()).svg().ends_with("</svg>\n"));
            assert!(chart(scale, vec![line("zero", Stroke::Normal, &[(0.0, 0.0)])]).svg().ends_with("</svg>\n"));
        }
    }
}
