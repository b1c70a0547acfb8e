//! The animated picture of a lesson: an SVG with one slide for each step, made of what was shown.
//!
//! It needs no script, so it moves in a README too. Where a reader wants less motion, one slide
//! stands still. Colours follow the reader's light or dark scheme.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::lesson::screen::Style;

/// How long a slide stands, in seconds.
const SLIDE: f64 = 6.0;
/// The time between two lines of a slide, in seconds.
const LINE: f64 = 0.2;
/// The most lines of a slide, and characters of a line.
const LINES: usize = 17;
const CHARACTERS: usize = 96;
/// Pixels of a character, of a line, and around all.
const CHARACTER_WIDTH: f64 = 7.83;
const LINE_HEIGHT: usize = 20;
const MARGIN: usize = 16;
/// The slide that stands still for readers who want less motion: the flood.
const STILL: usize = 4;
/// The largest picture, in bytes.
const MAX_BYTES: usize = 60_000;

const CSS: &str = "\
rect{fill:#f6f8fa;stroke:#d0d7de}\
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1f2328;white-space:pre}\
.t{fill:#0550ae;font-weight:700}.c{font-weight:700}.f{fill:#116329}\
@media(prefers-color-scheme:dark){rect{fill:#0d1117;stroke:#30363d}text{fill:#e6edf3}.t{fill:#79c0ff}.f{fill:#7ee787}}";

/// Writes the picture.
pub(crate) fn write(path: &Path, shown: &[(Style, String)]) -> Result<()> {
    let picture = draw(&slides(shown));
    ensure!(picture.len() <= MAX_BYTES, "the picture has {} bytes, more than {MAX_BYTES}: show less", picture.len());
    fs::write(path, picture).with_context(|| format!("{} cannot be written", path.display()))
}

/// Returns the lines of each slide.
fn slides(shown: &[(Style, String)]) -> Vec<Vec<(Style, String)>> {
    let mut slides: Vec<Vec<(Style, String)>> = Vec::new();
    for (style, text) in shown {
        if *style == Style::Title {
            slides.push(Vec::new());
        }
        let Some(slide) = slides.last_mut() else { continue };
        let text = match style {
            Style::Title | Style::Command => text.clone(),
            Style::Output => without_date(text),
            Style::Frame if text.contains(" → ") => text.trim_start().to_owned(),
            _ => continue,
        };
        if slide.len() >= LINES || text.is_empty() {
            continue;
        }
        let last = slide.last().map(|(style, _)| *style);
        if last.is_some_and(|last| last == Style::Title || last != *style && *style == Style::Command) {
            slide.push((Style::Text, String::new()));
        }
        if slide.len() < LINES {
            slide.push((*style, cut(&text)));
        }
    }
    // The last title is that of the end.
    slides.retain(|slide| slide.len() > 2);
    slides
}

/// Returns a line of a log with the node's name, without date and time.
fn without_date(line: &str) -> String {
    let is_time = |word: &str| word.ends_with('Z') && word.contains('T') && word.starts_with('2');
    match line.split_once("  ").and_then(|(node, rest)| Some((node, rest.split_once(' ')?))) {
        Some((node, (word, rest))) if is_time(word) => format!("{node}  {rest}"),
        _ => line.to_owned(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(CHARACTERS - 1) {
        Some((end, last)) if end + last.len_utf8() < text.len() => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}

fn draw(slides: &[Vec<(Style, String)>]) -> String {
    let (width, height) =
        ((CHARACTERS as f64 * CHARACTER_WIDTH) as usize + 2 * MARGIN, LINES * LINE_HEIGHT + 2 * MARGIN);
    let period = SLIDE * slides.len() as f64;
    let shown = 100.0 / slides.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\
         <title>The lesson: the commands of its steps, what they print, and the frames that travel</title>\n<style>{CSS}\
         g{{opacity:0;animation:s {period}s step-end infinite}}\
         text{{opacity:0;animation:l {period}s step-end infinite}}\
         @keyframes s{{0%{{opacity:1}}{shown:.3}%{{opacity:0}}100%{{opacity:0}}}}\
         @keyframes l{{0%{{opacity:1}}{:.3}%{{opacity:0}}100%{{opacity:0}}}}\
         @media(prefers-reduced-motion:reduce){{g,text{{animation:none}}text,g.still{{opacity:1}}}}</style>\n\
         <rect x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n",
        shown * 1.1,
        width - 1,
        height - 1,
    );
    for (number, slide) in slides.iter().enumerate() {
        let begins = SLIDE * number as f64;
        let still = if number + 1 == STILL { " class=\"still\"" } else { "" };
        // Writing into a String cannot fail.
        writeln!(svg, "<g{still} style=\"animation-delay:{begins}s\">").unwrap_or_default();
        for (place, (style, text)) in slide.iter().enumerate().filter(|(_, (_, text))| !text.is_empty()) {
            let class = match style {
                Style::Title => " class=\"t\"",
                Style::Command => " class=\"c\"",
                Style::Frame => " class=\"f\"",
                _ => "",
            };
            let y = MARGIN + LINE_HEIGHT * (place + 1) - 6;
            let delay = begins + LINE * place as f64;
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            writeln!(svg, "<text x=\"{MARGIN}\" y=\"{y}\"{class} xml:space=\"preserve\" style=\"animation-delay:{delay:.1}s\">{text}</text>")
                .unwrap_or_default();
        }
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(steps: usize) -> Vec<(Style, String)> {
        let step = |number: usize| {
            [
                (Style::Title, format!("Step {number}")),
                (Style::Text, "prose".to_owned()),
                (Style::Command, "$ a < b && c".to_owned()),
                (Style::Output, "node-1  2026-11-28T13:39:42.617Z the page is here".to_owned()),
                (Style::Frame, format!("  0.1 ms  node-1 → node-2  {}", "x".repeat(200))),
                (Style::Frame, "   more of it".to_owned()),
            ]
        };
        let mut shown: Vec<_> = (1..=steps).flat_map(step).collect();
        shown.push((Style::Title, "The end".to_owned()));
        shown
    }

    #[test]
    fn a_slide_has_the_commands_the_output_and_the_frames_of_a_step() {
        let slides = slides(&shown(2));
        assert_eq!(slides.len(), 2);
        let texts: Vec<_> = slides[0].iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts[..4], ["Step 1", "", "$ a < b && c", "node-1  the page is here"]);
        assert!(texts.len() == 5 && texts[4].chars().count() == CHARACTERS && texts[4].ends_with('…'), "{texts:?}");
    }

    #[test]
    fn the_picture_is_xml_that_fits() {
        let svg = draw(&slides(&shown(8)));
        assert!(svg.len() < MAX_BYTES && svg.contains("a &lt; b &amp;&amp; c"), "{svg}");
        for tag in ["g", "text", "svg"] {
            assert_eq!(svg.matches(&format!("<{tag}")).count(), svg.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(svg.contains("prefers-reduced-motion") && svg.contains("prefers-color-scheme:dark"));
        assert_eq!(svg.matches("class=\"still\"").count(), 1);
    }
}
