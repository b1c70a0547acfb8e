//! Draws values over time as an SVG file: a line for each course, named at its end, with the times in grey in which the network was in two. It brings its own colours for
//! light and for dark, so that it can be read on any page.

use std::fmt::Write;

/// A picture.
#[derive(Debug)]
pub(super) struct Picture<'a> {
    /// What it shows, in what unit.
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
    /// When the network was in two, in seconds.
    pub(super) cuts: &'a [(f64, f64)],
    /// How long all of it took, in seconds.
    pub(super) total: f64,
}

/// One course.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    /// Whether it is no node's, but there to compare with.
    pub(super) dashed: bool,
    /// Seconds and values.
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 680.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 290.0;
/// How far apart two names must be.
const NAME_HEIGHT: f64 = 16.0;
/// The most points of a line: of more, neighbours become one, their median.
const POINTS: usize = 150;

/// Okabe and Ito's palette, which the colour-blind can tell apart; the second of each pair is for a dark background.
const COLOURS: [(&str, &str); 6] = [
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff9a4d"),
    ("#007a5a", "#2fc79a"),
    ("#a3508a", "#e29ac9"),
    ("#8a6d00", "#e6c229"),
    ("#666666", "#a8a8a8"),
];

impl Picture<'_> {
    /// The file's text.
    pub(super) fn svg(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        self.write(&mut text).unwrap_or_default();
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let title = escaped(&self.title);
        writeln!(
            text,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="system-ui, sans-serif" font-size="13">"#
        )?;
        writeln!(text, "<title>{title}</title>\n<style>\n{}</style>", style())?;
        writeln!(text, r#"<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="8"/>"#)?;
        writeln!(text, r#"<text class="ink" x="20" y="30" font-size="16">{title}</text>"#)?;
        let lines: Vec<_> = self.lines.iter().map(|line| (line, thinned(&line.points))).collect();
        let most = lines.iter().flat_map(|(_, points)| points).map(|(_, value)| *value).fold(0.0, f64::max);
        let step = step(most / 4.0);
        let top = (most / step).ceil().max(1.0) * step;
        let x = |at: f64| LEFT + (at / self.total.max(1.0)).clamp(0.0, 1.0) * (RIGHT - LEFT);
        let y = |value: f64| BOTTOM - (value / top).clamp(0.0, 1.0) * (BOTTOM - TOP);
        for (from, to) in self.cuts {
            let (from, width) = (x(*from), x(*to) - x(*from));
            writeln!(
                text,
                r#"<rect class="cut" x="{from:.1}" y="{TOP}" width="{width:.1}" height="{}"/>"#,
                BOTTOM - TOP
            )?;
        }
        for number in 0..=(top / step).round() as u32 {
            let value = f64::from(number) * step;
            let at = y(value);
            writeln!(text, r#"<line class="grid" x1="{LEFT}" y1="{at:.1}" x2="{RIGHT}" y2="{at:.1}"/>"#)?;
            let (x, at) = (LEFT - 8.0, at + 4.5);
            writeln!(text, r#"<text class="soft" x="{x}" y="{at:.1}" text-anchor="end">{}</text>"#, short(value))?;
        }
        for number in 0..=6 {
            let at = self.total * f64::from(number) / 6.0;
            let (x, y, minutes) = (x(at), BOTTOM + 20.0, (at / 6.0).round() / 10.0);
            writeln!(text, r#"<text class="soft" x="{x:.1}" y="{y}" text-anchor="middle">{minutes}</text>"#)?;
        }
        let (middle, below) = (f64::midpoint(LEFT, RIGHT), BOTTOM + 40.0);
        writeln!(text, r#"<text class="soft" x="{middle}" y="{below}" text-anchor="middle">minutes</text>"#)?;
        let mut names = Vec::new();
        for (number, (line, points)) in lines.iter().enumerate() {
            let Some((_, last)) = points.last() else { continue };
            let class = number % COLOURS.len();
            let dash = if line.dashed { r#" stroke-dasharray="6 4""# } else { "" };
            let points: Vec<_> = points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
            writeln!(text, r#"<polyline class="l{class}"{dash} points="{}"/>"#, points.join(" "))?;
            names.push((y(*last), class, &line.name));
        }
        names.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut free = TOP;
        let room = BOTTOM + 4.5;
        let count = names.len();
        for (place, (end, class, name)) in names.into_iter().enumerate() {
            // No name lies on another, and none below the picture.
            let last = room - (count - place - 1) as f64 * NAME_HEIGHT;
            let at = (end + 4.5).max(free).min(last.max(free));
            free = at + NAME_HEIGHT;
            writeln!(text, r#"<text class="t{class}" x="{}" y="{at:.1}">{}</text>"#, RIGHT + 8.0, escaped(name))?;
        }
        text.write_str("</svg>\n")
    }
}

fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let together = points.len().div_ceil(POINTS).max(1);
    let middle = |points: &[(f64, f64)]| {
        let value = super::judge::median(points.iter().map(|(_, value)| *value).collect());
        Some((points[points.len() / 2].0, value?))
    };
    points.chunks(together).filter_map(middle).collect()
}

/// 1, 2 or 5 of a power of ten, not below the value.
fn step(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= value).unwrap_or(10.0 * power)
}

/// 1,000 as 1k.
fn short(value: f64) -> String {
    if value >= 1e3 { format!("{}k", value / 1e3) } else { format!("{}", (value * 1e3).round() / 1e3) }
}

fn style() -> String {
    let rules = |dark: bool| {
        let shade = |(light, darker): (&'static str, &'static str)| if dark { darker } else { light };
        let mut rules = format!(
            ".page{{fill:{}}} .ink{{fill:{}}} .soft{{fill:{}}} .grid{{stroke:{}}} .cut{{fill:{}}}\n",
            shade(("#ffffff", "#15181c")),
            shade(("#1b1f24", "#e8eaed")),
            shade(("#57606a", "#aab2bb")),
            shade(("#dfe3e8", "#343b43")),
            shade(("#eceef1", "#272c33"))
        );
        for (index, colours) in COLOURS.into_iter().enumerate() {
            let colour = shade(colours);
            rules += &format!(".l{index}{{stroke:{colour};fill:none;stroke-width:1.6}} .t{index}{{fill:{colour}}}\n");
        }
        rules
    };
    format!("{}@media (prefers-color-scheme: dark) {{\n{}}}\n", rules(false), rules(true))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_course_is_drawn_and_named_and_every_cut_is_shown() {
        let line = |name: &str, points: Vec<_>| Line { name: name.to_owned(), dashed: false, points };
        let long = (0..1_000).map(|number| (f64::from(number), 5.0)).collect();
        let lines = vec![line("a & b", vec![(0.0, 1.0), (9.0, 3.0)]), line("c", long), line("nothing", Vec::new())];
        let svg = Picture { title: "x < y".to_owned(), lines, cuts: &[(2.0, 3.0)], total: 10.0 }.svg();
        assert_eq!((svg.matches("<polyline").count(), svg.matches("class=\"cut\"").count()), (2, 1));
        assert!(svg.contains(">a &amp; b<") && svg.contains(">x &lt; y<") && svg.ends_with("</svg>\n"));
        assert!(svg.len() < 8_000, "{} bytes: long courses are thinned", svg.len());
        assert!(Picture { title: String::new(), lines: Vec::new(), cuts: &[], total: 0.0 }.svg().ends_with("</svg>\n"));
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([0.0, 0.3, 1.0, 6.0, 11.0].map(step), [1.0, 0.5, 1.0, 10.0, 20.0]);
        assert_eq!([short(0.5), short(20.0), short(50_000.0)], ["0.5", "20", "50k"]);
    }
}
