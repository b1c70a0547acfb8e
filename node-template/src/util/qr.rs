//! QR codes (ISO/IEC 18004), for a telephone that reads an invite from a screen.

use qrcode::QrCode;
#[cfg(feature = "web")]
use qrcode::render::svg;
#[cfg(feature = "cli")]
use qrcode::render::unicode;

/// The side of a picture, in pixels: a telephone reads it from half a metre.
#[cfg(feature = "web")]
const SIDE: u32 = 240;

/// Returns a text as an SVG picture; `None` if it is too long for a code.
#[cfg(feature = "web")]
pub(crate) fn svg(text: &str) -> Option<String> {
    let code = QrCode::new(text).ok()?;
    let picture = code.render::<svg::Color<'_>>().min_dimensions(SIDE, SIDE).build();
    // Inside a page it needs no declaration.
    Some(picture.split_once("?>").map_or(picture.clone(), |(_, picture)| picture.to_owned()))
}

/// Returns a text as characters for a terminal with a dark background; `None` if it is too long.
#[cfg(feature = "cli")]
pub(crate) fn text(text: &str) -> Option<String> {
    let code = QrCode::new(text).ok()?;
    // What is dark in the code is left to the background.
    let mut picture = code.render::<unicode::Dense1x2>();
    Some(picture.dark_color(unicode::Dense1x2::Light).light_color(unicode::Dense1x2::Dark).build() + "\n")
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use qrcode::Color;

    use super::*;

    /// The modules of an empty border, which readers need on each side (ISO/IEC 18004, 5.3.8).
    const BORDER: usize = 4;

    #[test]
    fn a_terminal_with_a_dark_background_shows_the_modules_of_the_code() {
        let invite = format!("iroh:{}@relay.example:4001#my net", "d7".repeat(32));
        let code = QrCode::new(&invite).expect("it fits");
        let (width, modules) = (code.width(), code.to_colors());
        // A block is bright, and the background dark. A character has two modules, one over one.
        let picture = text(&invite).expect("it fits");
        let bright: Vec<Vec<bool>> = picture
            .lines()
            .flat_map(|line| {
                let half = |bright: [char; 2]| line.chars().map(|shown| bright.contains(&shown)).collect();
                assert!(line.chars().all(|shown| " ▀▄█".contains(shown)), "{line}");
                [half(['▀', '█']), half(['▄', '█'])]
            })
            .collect();
        let side = width + 2 * BORDER;
        assert_eq!(bright.len(), side.next_multiple_of(2));
        for (y, row) in bright.iter().take(side).enumerate() {
            assert_eq!(row.len(), side);
            for (x, bright) in row.iter().enumerate() {
                let inside = |at: usize| (BORDER..BORDER + width).contains(&at);
                let is_dark = inside(x) && inside(y) && modules[(y - BORDER) * width + x - BORDER] == Color::Dark;
                assert_eq!(*bright, !is_dark, "column {x}, row {y}");
            }
        }
        assert_eq!(text(&"x".repeat(8_000)), None, "it is too long");
    }
}
