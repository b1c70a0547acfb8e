//! The animated picture of a lesson.

use std::path::Path;

use anyhow::Result;

use crate::lesson::screen::Style;

pub(crate) fn write(_path: &Path, _shown: &[(Style, String)]) -> Result<()> {
    Ok(())
}
