//! Draws values over the number of nodes as an SVG file: a line per contestant, both axes
//! logarithmic, each line named at its end. It brings its own colours for light and for dark, and a
//! background of its own, so that it can be read on any page.

use std::fmt::Write;

/// A chart.
#[derive(Debug)]
pub(crate) struct Picture {
    /// What it shows, in what unit.
    pub(crate) title: String,
    /// The contestants, in their order.
    pub(crate) lines: Vec<Line>,
}

/// One contestant's values.
#[derive(Debug)]
pub(crate) struct Line {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is ours, and stands out.
    pub(crate) ours: bool,
    /// The number of nodes and the value there. A value that is not above zero is not drawn.
    pub(crate) points: Vec<(usize, f64)>,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 600.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 408.0;
/// How far apart two names must be, from line to line.
const NAME_HEIGHT: f64 = 17.0;

/// Lines take turns in these: told apart by hue, by lightness and, from the seventh on, by dashes.
/// Okabe and Ito's palette, which the colour-blind can tell apart too; the second of each pair is
/// for a dark background.
const COLOURS: [(&str, &str); 6] = [
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff9a4d"),
    ("#007a5a", "#2fc79a"),
    ("#a3508a", "#e29ac9"),
    ("#8a6d00", "#e6c229"),
    ("#666666", "#a8a8a8"),
];
const DASHES: [&str; 3] = ["none", "7 4", "2 4"];

impl Picture {
    /// The file's text.
    pub(crate) fn svg(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        self.write(&mut text).unwrap_or_default();
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="system-ui, sans-serif" font-size="13">"#
        )?;
        writeln!(text, "<title>{}</title>", escaped(&self.title))?;
        writeln!(text, "<style>\n{}</style>", style())?;
        writeln!(text, r#"<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="8"/>"#)?;
        writeln!(text, r#"<text class="ink" x="20" y="30" font-size="16">{}</text>"#, escaped(&self.title))?;
        let points = || self.lines.iter().flat_map(|line| line.points.iter().filter(|(_, value)| *value > 0.0));
        let mut nodes: Vec<_> = points().map(|(nodes, _)| *nodes).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let (Some(fewest), Some(most)) = (nodes.first(), nodes.last()) else { return text.write_str("</svg>\n") };
        let x = Scale::new(*fewest as f64, *most as f64, LEFT + 24.0, RIGHT - 12.0);
        let least = points().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
        let greatest = points().map(|(_, value)| *value).fold(0.0, f64::max);
        let (least, greatest) = (step_below(least), step_above(greatest));
        let y = Scale::new(least, greatest, BOTTOM, TOP);
        for value in steps(least, greatest) {
            let at = y.at(value);
            writeln!(text, r#"<line class="grid" x1="{LEFT}" y1="{at:.1}" x2="{RIGHT}" y2="{at:.1}"/>"#)?;
            let x = LEFT - 8.0;
            writeln!(
                text,
                r#"<text class="soft" x="{x}" y="{:.1}" text-anchor="end">{}</text>"#,
                at + 4.5,
                short(value)
            )?;
        }
        for nodes in nodes {
            let (at, below) = (x.at(nodes as f64), BOTTOM + 20.0);
            writeln!(text, r#"<text class="soft" x="{at:.1}" y="{below}" text-anchor="middle">{nodes}</text>"#)?;
        }
        let (middle, below) = (f64::midpoint(LEFT, RIGHT), BOTTOM + 40.0);
        writeln!(
            text,
            r#"<text class="soft" x="{middle}" y="{below}" text-anchor="middle">nodes, fully connected</text>"#
        )?;
        let mut names = Vec::new();
        // Ours last, on top of the others.
        let order = self.lines.iter().enumerate();
        for (index, line) in order.clone().filter(|(_, line)| !line.ours).chain(order.filter(|(_, line)| line.ours)) {
            let mut points = line.points.clone();
            points.retain(|(_, value)| *value > 0.0);
            points.sort_unstable_by_key(|(nodes, _)| *nodes);
            let points: Vec<_> = points.iter().map(|(nodes, value)| (x.at(*nodes as f64), y.at(*value))).collect();
            let Some((end, _)) = points.last().map(|(x, y)| (*y, *x)) else { continue };
            write_line(text, line, index, &points)?;
            names.push((index, end));
        }
        for ((index, end), at) in spread_out(names) {
            let line = &self.lines[index];
            let (weight, from, to) = (if line.ours { 700 } else { 400 }, RIGHT - 6.0, RIGHT + 14.0);
            let class = index % COLOURS.len();
            writeln!(text, r#"<line class="l{class} lead" x1="{from}" y1="{end:.1}" x2="{to}" y2="{at:.1}"/>"#)?;
            writeln!(
                text,
                r#"<text class="t{class}" x="{}" y="{:.1}" font-weight="{weight}">{}</text>"#,
                to + 5.0,
                at + 4.5,
                escaped(&line.name)
            )?;
        }
        text.write_str("</svg>\n")
    }
}

fn write_line(text: &mut String, line: &Line, index: usize, points: &[(f64, f64)]) -> std::fmt::Result {
    let (class, dash) = (index % COLOURS.len(), DASHES[index / COLOURS.len() % DASHES.len()]);
    let width = if line.ours { 3.5 } else { 1.8 };
    let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    writeln!(
        text,
        r#"<polyline class="l{class}" stroke-width="{width}" stroke-dasharray="{dash}" points="{}"/>"#,
        path.join(" ")
    )?;
    for (x, y) in points {
        writeln!(text, r#"<circle class="d{class}" cx="{x:.1}" cy="{y:.1}" r="{}"/>"#, width + 1.2)?;
    }
    Ok(())
}

fn style() -> String {
    let rules = |dark: bool| {
        let shade = |(light, darker): (&'static str, &'static str)| if dark { darker } else { light };
        let mut rules = format!(
            ".page{{fill:{}}} .ink{{fill:{}}} .soft{{fill:{}}} .grid{{stroke:{}}}\n",
            shade(("#ffffff", "#15181c")),
            shade(("#1b1f24", "#e8eaed")),
            shade(("#57606a", "#aab2bb")),
            shade(("#dfe3e8", "#343b43"))
        );
        for (index, colours) in COLOURS.into_iter().enumerate() {
            let colour = shade(colours);
            rules += &format!(".l{index}{{stroke:{colour};fill:none}} .d{index},.t{index}{{fill:{colour}}}\n");
        }
        rules
    };
    format!("{}.lead{{stroke-width:0.8}}\n@media (prefers-color-scheme: dark) {{\n{}}}\n", rules(false), rules(true))
}

/// Where a value is, on a logarithmic axis.
struct Scale {
    least: f64,
    span: f64,
    start: f64,
    length: f64,
}

impl Scale {
    fn new(least: f64, most: f64, start: f64, end: f64) -> Self {
        Self { least: least.ln(), span: (most / least).ln(), start, length: end - start }
    }

    fn at(&self, value: f64) -> f64 {
        // A single size stands in the middle.
        let part = if self.span > 0.0 { (value.ln() - self.least) / self.span } else { 0.5 };
        self.start + part * self.length
    }
}

/// 1, 2 and 5 of each power of ten.
fn step(number: i32) -> f64 {
    [1.0, 2.0, 5.0][number.rem_euclid(3) as usize] * 10_f64.powi(number.div_euclid(3))
}

fn number_of_step(value: f64) -> i32 {
    (value.log10().floor() as i32) * 3
}

fn step_below(value: f64) -> f64 {
    let first = number_of_step(value);
    (first..first + 3).rev().map(step).find(|step| *step <= value).unwrap_or(value)
}

fn step_above(value: f64) -> f64 {
    let first = number_of_step(value);
    (first..first + 4).map(step).find(|step| *step >= value && *step > 0.0).unwrap_or(value)
}

/// The steps between two; the powers of ten alone where there would be too many.
fn steps(least: f64, greatest: f64) -> Vec<f64> {
    let all = (number_of_step(least)..number_of_step(greatest) + 4).map(|number| (number, step(number)));
    let inside: Vec<_> = all.filter(|(_, step)| (least..=greatest).contains(step)).collect();
    let all = inside.len() <= 12;
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

/// Moves names apart that would lie on one another, each with where its line ends, and no further
/// than is needed.
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
    let place = |(members, middle): (Vec<(usize, f64)>, f64)| {
        let first = middle - (members.len() as f64 - 1.0) / 2.0 * NAME_HEIGHT;
        members.into_iter().enumerate().map(move |(index, name)| (name, first + index as f64 * NAME_HEIGHT))
    };
    groups.into_iter().flat_map(place).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_surround_the_values() {
        assert_eq!((step_below(36.0), step_above(36.0)), (20.0, 50.0));
        assert_eq!((step_below(1000.0), step_above(1000.0)), (1000.0, 1000.0));
        assert_eq!((step_below(0.36), step_above(0.36)), (0.2, 0.5));
        assert_eq!(steps(20.0, 500.0), [20.0, 50.0, 100.0, 200.0, 500.0]);
        assert_eq!(steps(1.0, 1e6), [1.0, 10.0, 1e2, 1e3, 1e4, 1e5, 1e6]);
        assert_eq!([short(0.2), short(5.0), short(20_000.0), short(2e6)], ["0.2", "5", "20k", "2M"]);
    }

    #[test]
    fn names_do_not_lie_on_one_another() {
        let names = vec![(0, 100.0), (1, 101.0), (2, 300.0), (3, 108.0), (4, 126.0)];
        let placed = spread_out(names);
        for pair in placed.windows(2) {
            assert!(pair[1].1 - pair[0].1 >= NAME_HEIGHT - 1e-9, "{placed:?}");
        }
        assert_eq!(placed.last().unwrap(), &((2, 300.0), 300.0));
    }

    #[test]
    fn every_contestant_is_drawn_and_named() {
        let line = |name: &str, ours, points: &[_]| Line { name: name.to_owned(), ours, points: points.to_vec() };
        let lines = vec![line("a & b", false, &[(3, 10.0), (10, 1.0)]), line("ours", true, &[(3, 50.0), (10, 0.0)])];
        let svg = Picture { title: "x < y".to_owned(), lines }.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 3, "zero has no place on a logarithmic axis");
        assert!(svg.contains(">a &amp; b<") && svg.contains(">x &lt; y<") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn nothing_to_draw_is_still_a_picture() {
        assert!(Picture { title: String::new(), lines: Vec::new() }.svg().ends_with("</svg>\n"));
    }
}
