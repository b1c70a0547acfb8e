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
