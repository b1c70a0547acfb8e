//! The feature sets that the documents name: each builds without a warning. And each crate is built
//! once for `cargo run`, `cargo xtask` and the tests, since all ask for the same features of it.
//!
//! The documents are the only list. A set is each text `features = […]` in them, as it stands in a
//! dependency in `Cargo.toml`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::support::cargo::{self, cargo};
use crate::support::terminal::{plural, print};

/// The documents for those who depend on the library.
const DOCUMENTS: [&str; 3] = ["README.md", "docs/library.md", "node-template/README.md"];
/// What stands before a set.
const BEFORE: &str = "features = [";

/// Builds the library with each documented set of its features, under clippy.
pub(crate) fn check(root: &Path) -> Result<()> {
    let sets = documented(root)?;
    for set in &sets {
        let features = set.join(",");
        let mut arguments = vec!["clippy", "--quiet", "--package", "meshpool", "--lib", "--no-default-features"];
        arguments.extend(["--features", &features, "--", "-D", "warnings"]);
        cargo(root, &arguments)?;
    }
    print(format!("{} of features without a warning", plural(sets.len(), "documented set")))?;
    // Crates for macros have features of their own, and would hide those of the same crate here.
    let node = built(root, &["--package", "meshpool", "--edges", "normal,no-proc-macro"])?;
    for (who, arguments) in [
        ("cargo xtask", ["--package", "xtask", "--edges", "normal,no-proc-macro"].as_slice()),
        ("the tests", ["--workspace", "--edges", "normal,dev,no-proc-macro"].as_slice()),
    ] {
        let other = built(root, arguments)?;
        let twice: Vec<_> = node.difference(&other).map(String::as_str).collect();
        ensure!(
            twice.is_empty(),
            "{who} would build again, with other features: {}; name the same features of them in both Cargo.toml",
            twice.join("; ")
        );
    }
    Ok(())
}

/// Returns the crates of a build, each with its version and its features.
fn built(root: &Path, arguments: &[&str]) -> Result<BTreeSet<String>> {
    let tree = cargo::read(root, &[&["tree", "--prefix", "none", "--format", "{p} {f}"], arguments].concat())?;
    Ok(tree.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).filter(|line| !line.is_empty()).collect())
}

/// Returns the sets of all documents, each once.
fn documented(root: &Path) -> Result<BTreeSet<Vec<String>>> {
    let mut sets = BTreeSet::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).with_context(|| format!("{document} cannot be read"))?;
        let found = sets_in(&text);
        ensure!(!found.is_empty(), "{document} names no `{BEFORE}…]`: say there which features an embedder sets");
        sets.extend(found);
    }
    Ok(sets)
}

/// Returns the sets in a text, in its order.
fn sets_in(text: &str) -> Vec<Vec<String>> {
    let rests = text.split(BEFORE).skip(1);
    let sets = rests.filter_map(|rest| rest.split_once(']').map(|(set, _)| set));
    let name = |name: &str| name.trim().trim_matches('"').to_owned();
    sets.map(|set| set.split(',').map(name).filter(|name| !name.is_empty()).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_where_it_stands_in_a_sentence_a_table_or_a_manifest() {
        let text = "with `default-features = false, features = [\"net\"]`:\n\
                    | `features = []` | the core |\n| `features = [\"net\", \"web\"]` | the page |\n\
                    meshpool = { path = \"p\", features = [\n  \"tls\",\n  \"net\",\n] }\nfeatures = [\"cut";
        let expected: [&[&str]; 4] = [&["net"], &[], &["net", "web"], &["tls", "net"]];
        assert_eq!(sets_in(text), expected);
    }

    #[test]
    fn the_documents_name_the_empty_set_and_each_feature_of_the_library() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
        let sets = documented(root).expect("readable");
        assert!(sets.contains(&Vec::new()), "the core alone: {sets:?}");
        let manifest = fs::read_to_string(root.join("node-template/Cargo.toml")).expect("readable");
        let section = manifest.split("[features]\n").nth(1).and_then(|rest| rest.split("\n[").next());
        let lines = section.expect("a section").lines().filter(|line| line.contains(" = ["));
        let declared: BTreeSet<_> = lines.filter_map(|line| line.split(' ').next()).collect();
        assert!(declared.len() >= 4, "{declared:?}");
        for feature in declared.into_iter().filter(|feature| *feature != "default") {
            assert!(sets.iter().flatten().any(|named| named == feature), "{feature} is in no documented set");
        }
    }
}
