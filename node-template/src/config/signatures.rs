//! REQUIRE_SIGNATURES.

use crate::config::source::Sources;
use crate::config::{Flags, SettingsError};

pub(crate) fn required(sources: &mut Sources<'_>, flags: &Flags) -> Result<bool, SettingsError> {
    let flag = flags.require_signatures.as_deref().map(|text| ("--require-signatures", text));
    let Some(value) = sources.filled("REQUIRE_SIGNATURES", flag) else { return Ok(false) };
    match value.text.to_ascii_lowercase().as_str() {
        "1" | "on" | "true" | "yes" => Ok(true),
        "0" | "off" | "false" | "no" => Ok(false),
        _ => Err(value.bad("signatures are required (1) or not (0)")),
    }
}
