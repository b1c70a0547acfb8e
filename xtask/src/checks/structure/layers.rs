//! The table of layers: which file or folder of a package may use which.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::checks::structure::imports::Import;

/// The table, from the repository's root.
pub(crate) const TABLE: &str = "docs/layers.txt";

/// The layers of one folder of source files.
#[derive(Debug)]
pub(crate) struct Layers {
    /// The folder, from the repository's root.
    pub(crate) folder: PathBuf,
    names: Vec<Name>,
}

/// A file or a folder with its layer.
#[derive(Debug)]
struct Name {
    /// Without `.rs` or `/`: a file `x.rs` and the folder `x` are one module.
    module: PathBuf,
    /// 1 is the lowest.
    layer: usize,
    /// The line in the table.
    line: usize,
}

/// Reads the table: a section `[folder]` for each folder of source files, in it a line for each
/// layer, the top one first. `#` begins a comment.
pub(crate) fn read(text: &str) -> Result<Vec<Layers>> {
    let mut sections: Vec<Layers> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(folder) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            sections.push(Layers { folder: folder.into(), names: Vec::new() });
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let section = sections.last_mut();
        let section =
            section.with_context(|| format!("{TABLE}:{number}: write a section such as [proto/src] above"))?;
        for Name { layer, .. } in &mut section.names {
            *layer += 1;
        }
        for name in line.split_whitespace() {
            let module = PathBuf::from(name.trim_end_matches('/').trim_end_matches(".rs"));
            let twice = section.names.iter().any(|name| name.module == module);
            ensure!(!twice, "{TABLE}:{number}: {name} is listed twice");
            section.names.push(Name { module, layer: 1, line: number });
        }
    }
    if sections.is_empty() {
        bail!("{TABLE} has no section such as [proto/src]");
    }
    Ok(sections)
}

impl Layers {
    /// Returns what breaks the order, and what the table has too much or lacks.
    pub(crate) fn violations<'a>(
        &self,
        root: &Path,
        files: impl IntoIterator<Item = &'a Path>,
        imports: &BTreeSet<Import>,
    ) -> Vec<String> {
        let mut violations = Vec::new();
        let folder = self.folder.display();
        for file in files.into_iter().filter(|file| self.name_of(file).is_none()) {
            let file = file.display();
            violations.push(format!("{file}: is in no layer: add its name, or its folder's, to [{folder}] in {TABLE}"));
        }
        for Name { module, line, .. } in &self.names {
            let path = root.join(&self.folder).join(module);
            if !path.is_dir() && !path.with_extension("rs").is_file() {
                violations.push(format!("{TABLE}:{line}: {folder} has no {}: remove the name", module.display()));
            }
        }
        violations.extend(imports.iter().filter_map(|import| self.violation(import)));
        violations
    }

    fn violation(&self, import: &Import) -> Option<String> {
        let (from, to) = (self.name_of(&import.from)?, self.name_of(&import.to)?);
        let same_folder = from.module == to.module || import.from.parent() == import.to.parent();
        if to.layer < from.layer || to.layer == from.layer && same_folder {
            return None;
        }
        let why = if to.layer == from.layer {
            "folders of one layer do not use each other; move what both need down"
        } else {
            "a lower layer does not use a higher one; move the code down, or return a value on which the caller acts"
        };
        Some(format!(
            "{}:{}: layer {} ({}) uses {} of {}, layer {} ({}): {why}",
            import.from.display(),
            import.line,
            from.layer,
            from.module.display(),
            import.path,
            import.to.display(),
            to.layer,
            to.module.display()
        ))
    }

    /// The longest name that a file belongs to.
    fn name_of(&self, file: &Path) -> Option<&Name> {
        let module = file.strip_prefix(&self.folder).ok()?.with_extension("");
        let names = self.names.iter().filter(|name| module.starts_with(&name.module));
        names.max_by_key(|name| name.module.components().count())
    }
}
