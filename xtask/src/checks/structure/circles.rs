//! Circles of files that import each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
        "{}: is in an import circle of {} files: move what they share into a file that uses none of them; the shortest way around:",
        files[0].display(),
        files.len()
    );
    // For each pair of files the first use.
    let mut steps: BTreeMap<&Path, BTreeMap<&Path, &Import>> = BTreeMap::new();
    for import in
        imports.iter().filter(|import| [&import.from, &import.to].iter().all(|it| files.contains(&it.as_path())))
    {
        steps.entry(&import.from).or_default().entry(&import.to).or_insert(import);
    }
    let shortest = files.iter().filter_map(|file| way_around(&steps, file)).min_by_key(Vec::len);
    for Import { from, line, path, to } in shortest.unwrap_or_default() {
        text += &format!("\n  {}:{line} uses {path} of {}", from.display(), to.display());
    }
    text
}

/// Returns the shortest way from a file back to itself, by breadth-first search.
fn way_around<'a>(steps: &BTreeMap<&'a Path, BTreeMap<&'a Path, &'a Import>>, file: &Path) -> Option<Vec<&'a Import>> {
    let mut first: BTreeMap<&Path, &Import> = BTreeMap::new();
    let mut open = VecDeque::from([file]);
    while let Some(at) = open.pop_front() {
        for (to, import) in steps.get(at).into_iter().flatten() {
            if !first.contains_key(to) {
                first.insert(to, import);
                open.push_back(to);
            }
        }
    }
    let mut way = vec![*first.get(file)?];
    while way[way.len() - 1].from != file {
        way.push(first[way[way.len() - 1].from.as_path()]);
    }
    way.reverse();
    Some(way)
}
