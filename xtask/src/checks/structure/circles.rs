//! Circles of files that import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::checks::structure::imports::Import;

/// Returns a text for each largest set of files of which each imports each other, straight or by
/// way of others.
pub(crate) fn find(imports: &BTreeSet<Import>) -> Vec<String> {
    let mut uses: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for import in imports {
        uses.entry(&import.from).or_default().insert(&import.to);
    }
    let reached: BTreeMap<&Path, BTreeSet<&Path>> = uses.keys().map(|file| (*file, reach(&uses, file))).collect();
    let mutual = |one: &Path, other: &Path| {
        let reaches = |from: &Path, to: &Path| reached.get(from).is_some_and(|reached| reached.contains(to));
        reaches(one, other) && reaches(other, one)
    };
    let mut circles: BTreeSet<Vec<&Path>> = BTreeSet::new();
    for file in uses.keys().filter(|file| mutual(file, file)) {
        circles.insert(uses.keys().copied().filter(|other| mutual(file, other)).collect());
    }
    circles.iter().map(|files| describe(files, imports)).collect()
}

/// All files that a file leads to.
fn reach<'a>(uses: &BTreeMap<&'a Path, BTreeSet<&'a Path>>, file: &'a Path) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut open = vec![file];
    while let Some(file) = open.pop() {
        open.extend(uses.get(file).into_iter().flatten().copied().filter(|next| reached.insert(*next)));
    }
    reached
}

fn describe(files: &[&Path], imports: &BTreeSet<Import>) -> String {
    let mut text = format!(
        "{}: is in an import circle of {} files: move what they share into a file that uses none of them",
        files[0].display(),
        files.len()
    );
    let inside = |file: &Path| files.contains(&file);
    // For each pair of files one line, at the first use.
    let mut pairs: BTreeMap<(&Path, &Path), (usize, Vec<&str>)> = BTreeMap::new();
    for Import { from, line, path, to } in imports.iter().filter(|import| inside(&import.from) && inside(&import.to)) {
        let (_, paths) = pairs.entry((from, to)).or_insert((*line, Vec::new()));
        if !paths.contains(&path.as_str()) {
            paths.push(path);
        }
    }
    for ((from, to), (line, paths)) in pairs {
        text += &format!("\n  {}:{line} uses {} of {}", from.display(), paths.join(", "), to.display());
    }
    text
}
