use std::fs;

use super::*;

const TABLE: &str = "[core/src]\nlib\ntop tall.rs\nmiddle/\nlow floor\n";

/// The faults of a package `core` of these files, of which the first is its library's root.
fn faults(files: &[(&str, &str)], table: &str) -> Vec<String> {
    let root = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = root.path().join("core/src").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    let targets = vec![(LIBRARY.to_owned(), format!("core/src/{}", files[0].0).into())];
    let package = Package { name: "core".to_owned(), folder: "core".into(), targets };
    faults_of(root.path(), &package, table).expect("readable")
}

/// The faults of files in the layers of [`TABLE`]; those that are not given are empty.
fn layered(files: &[(&str, &str)]) -> Vec<String> {
    let root = "mod floor; mod low; mod middle; mod tall; mod top;";
    let empty = ["floor.rs", "low.rs", "middle/mod.rs", "tall.rs", "top.rs"];
    let rest = empty.iter().filter(|name| files.iter().all(|(given, _)| given != *name)).map(|name| (*name, ""));
    let all: Vec<_> = [("lib.rs", root)].into_iter().chain(files.iter().copied()).chain(rest).collect();
    faults(&all, TABLE)
}

#[track_caller]
fn assert_one(faults: &[String], parts: &[&str]) {
    assert_eq!(faults.len(), 1, "{faults:#?}");
    for part in parts {
        assert!(faults[0].contains(part), "{part:?} is not in {}", faults[0]);
    }
}

#[test]
fn lower_layers_and_the_own_folder_may_be_used() {
    let found = layered(&[
        ("top.rs", "use crate::middle::{self, Thing};\nuse crate::tall::Other;\nfn f() { middle::child::g() }"),
        ("middle/mod.rs", "pub mod child;\npub use child::Thing;\nuse crate::low;"),
        ("middle/child.rs", "use crate::floor::Floor;\nuse std::fmt;"),
        ("low.rs", "use super::floor::Floor;"),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn an_upward_import_is_found_however_it_is_written() {
    for line in [
        "use crate::top::Thing;",
        "use crate::{floor, top};",
        "use crate::{floor::{a, b}, top::{self as t, Thing as Other}};",
        "use super::top::*;",
        "pub(crate) use crate::top::Thing;",
        "fn f(x: crate::top::Thing) {}",
        "fn f() -> Vec<super::top::Thing> { vec![] }",
        "fn f() { let x = crate::top::g::<u8>(); }",
        "fn f() { fn inner() { use crate::top; top::g() } }",
        "impl crate::top::Trait for X {}",
        "struct X { #[arg(parser = crate::top::parse)] x: u8 }",
        "fn f() { println!(\"{}\", crate::top::g()); }",
        "fn f() { vec![1, [crate::top::g()]] }",
        "macro_rules! m { () => { $crate::top::g() } }",
        "fn f() { crate::top::mac!() }",
        "mod inner { use super::super::top::Thing; }",
        "mod inner { fn f() { crate::top::g() } }",
        "use crate::top as t; fn f() { t::g() }",
    ] {
        let found = layered(&[("low.rs", &format!("// A comment.\n{line}"))]);
        assert!(!found.is_empty(), "{line}");
        for fault in &found {
            let said =
                fault.starts_with("core/src/low.rs:2: layer 1 (low) uses ") && fault.contains("move the code down");
            assert!(said && fault.contains("of core/src/top.rs, layer 3 (top)"), "{line}: {fault}");
        }
    }
}

#[test]
fn a_comment_a_string_and_another_crate_import_nothing() {
    let found = layered(&[(
        "low.rs",
        "//! Uses [`crate::top::Thing`].\nuse ::top::Thing;\nuse other::top::Thing as T;\n\
         pub(in crate::low) fn f(top: u8) { let _ = (\"crate::top::x\", top, T::top()); }",
    )]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn an_import_in_test_code_is_allowed() {
    let found = layered(&[
        (
            "low.rs",
            "#[cfg(test)]\nuse crate::top::Thing;\n#[cfg(test)]\nmod tests { use crate::top; }\n\
             #[cfg(all(test, unix))]\nmod more;\n#[cfg(test)]\nfn f() { crate::top::g() }\n\
             #[test]\nfn t() { crate::top::g() }\nstruct X { #[cfg(test)] x: crate::top::Thing }",
        ),
        ("low/more.rs", "use crate::top::Thing;"),
    ]);
    assert_eq!(found, [""; 0]);
    let found = layered(&[("low.rs", "#[cfg(any(test, feature = \"x\"))]\nuse crate::top::Thing;")]);
    assert_one(&found, &["core/src/low.rs:2", "crate::top::Thing"]);
}

#[test]
fn folders_of_one_layer_do_not_use_each_other() {
    let files = [("lib.rs", "mod a; mod b;"), ("a/mod.rs", "use crate::b::X;"), ("b/mod.rs", "")];
    assert_one(&faults(&files, "[core/src]\nlib\na b\n"), &["a/mod.rs:1", "layer 1 (b)", "folders of one layer"]);
}

#[test]
fn circles_of_two_and_of_three_files_are_found() {
    let found = layered(&[("top.rs", "use crate::tall::X;"), ("tall.rs", "\nfn f() { crate::top::g() }")]);
    let parts =
        ["circle of 2 files", "tall.rs:2 uses crate::top::g of core/src/top.rs", "top.rs:1 uses crate::tall::X"];
    assert_one(&found, &parts);
    let found = layered(&[
        ("middle/mod.rs", "mod a; mod b; mod c; mod apart;\nuse apart::X;"),
        ("middle/a.rs", "use crate::middle::b;"),
        ("middle/b.rs", "use super::c::X;"),
        ("middle/c.rs", "use crate::middle::{a::X, apart::Y};"),
        ("middle/apart.rs", ""),
    ]);
    assert_one(
        &found,
        &["circle of 3 files", "a.rs:1 uses", "b.rs:1 uses super::c::X", "c.rs:1 uses crate::middle::a::X of"],
    );
    assert!(!found[0].contains("apart"), "{}", found[0]);
}

#[test]
fn a_child_that_uses_its_parent_is_a_circle_where_the_parent_uses_it() {
    let child = ("middle/child.rs", "use crate::middle::Thing;");
    assert_eq!(layered(&[("middle/mod.rs", "mod child;"), child]), [""; 0]);
    assert_one(&layered(&[("middle/mod.rs", "mod child;\npub use child::Item;"), child]), &["circle of 2 files"]);
}

#[test]
fn a_re_export_counts_for_the_file_that_re_exports() {
    let found = layered(&[
        ("middle/mod.rs", "mod child;\npub use child::Thing;"),
        ("middle/child.rs", ""),
        ("low.rs", "use crate::middle::Thing;"),
    ]);
    assert_one(&found, &["uses crate::middle::Thing of core/src/middle/mod.rs"]);
    let root = "mod low;\npub use other_crate as other;\npub use low::Low;";
    let table = "[core/src]\nlib\nlow\n";
    assert_eq!(faults(&[("lib.rs", root), ("low.rs", "use crate::other::Thing;")], table), [""; 0]);
    assert!(!faults(&[("lib.rs", root), ("low.rs", "use crate::Low;")], table).is_empty());
}

#[test]
fn files_and_names_without_the_other_are_found() {
    let found = layered(&[("lib.rs", "mod floor; mod low; mod middle; mod tall; mod top; mod new;"), ("new.rs", "")]);
    assert_one(&found, &["core/src/new.rs: is in no layer", "[core/src]", layers::TABLE]);
    let files = [("lib.rs", "mod low;"), ("low.rs", "")];
    assert_one(&faults(&files, "[core/src]\nlib\n\ngone # a comment\nlow\n"), &["layers.txt:4", "no gone"]);
}

#[test]
fn a_program_uses_its_library_by_name() {
    let root = tempfile::tempdir().expect("a folder");
    for (name, text) in [("lib.rs", "pub mod low;"), ("low.rs", ""), ("main.rs", "use my_core::low::X;")] {
        fs::write(root.path().join(name), text).expect("written");
    }
    let targets = vec![(LIBRARY.to_owned(), "lib.rs".into()), ("bin core".to_owned(), "main.rs".into())];
    let package = Package { name: "my-core".to_owned(), folder: PathBuf::new(), targets };
    let modules = Modules::read(root.path(), &package).expect("readable");
    let found: Vec<_> = imports::find(&modules, "my_core").into_iter().map(|import| (import.from, import.to)).collect();
    assert_eq!(found, [("main.rs".into(), "low.rs".into())]);
}

#[test]
fn a_table_with_a_fault_is_refused() {
    for (table, said) in
        [("low\n", "layers.txt:1: write a section"), ("[a]\nx\ny x\n", "layers.txt:3: x is listed twice")]
    {
        let error = layers::read(table).expect_err(table).to_string();
        assert!(error.contains(said), "{error}");
    }
}
