//! The modules of a package: which file holds which, without test code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use proc_macro2::TokenStream;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Attribute, Item, Meta, Token};

/// The path of a module. It begins with the name of its target, instead of `crate`.
pub(crate) type ModulePath = Vec<String>;

/// The name of a library's target.
pub(crate) const LIBRARY: &str = "lib";

/// A package, as far as its imports go.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// The folder of its manifest, from the repository's root.
    pub(crate) folder: PathBuf,
    /// The name and the root file of each library and program.
    pub(crate) targets: Vec<(String, PathBuf)>,
}

/// A file that is not only test code.
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) module: ModulePath,
    pub(crate) syntax: syn::File,
}

/// All modules of a package.
#[derive(Default)]
pub(crate) struct Modules {
    pub(crate) files: Vec<SourceFile>,
    /// The file that holds each module. A module in braces is in the file around it.
    pub(crate) file_of: BTreeMap<ModulePath, PathBuf>,
}

impl Modules {
    /// Reads the files that the targets of a package consist of.
    ///
    /// # Errors
    /// A file cannot be read, or is not Rust.
    pub(crate) fn read(root: &Path, package: &Package) -> Result<Self> {
        let mut modules = Self::default();
        for (name, file) in &package.targets {
            modules.read_file(root, file, vec![name.clone()], parent(file))?;
        }
        Ok(modules)
    }

    /// Reads a file. `folder` is where the files of its child modules are.
    fn read_file(&mut self, root: &Path, path: &Path, module: ModulePath, folder: PathBuf) -> Result<()> {
        let text = fs::read_to_string(root.join(path)).with_context(|| format!("{} cannot be read", path.display()))?;
        let syntax = syn::parse_file(&text).map_err(|error| {
            let line = error.span().start().line;
            anyhow::anyhow!("{}:{line} is not Rust that this check can read: {error}", path.display())
        })?;
        self.file_of.insert(module.clone(), path.to_owned());
        self.read_children(root, path, &syntax.items, &module, &folder)?;
        self.files.push(SourceFile { path: path.to_owned(), module, syntax });
        Ok(())
    }

    fn read_children(
        &mut self,
        root: &Path,
        path: &Path,
        items: &[Item],
        module: &ModulePath,
        folder: &Path,
    ) -> Result<()> {
        for item in items {
            let Item::Mod(child) = item else { continue };
            if is_test(&child.attrs) {
                continue;
            }
            let name = child.ident.to_string();
            let name = name.trim_start_matches("r#").to_owned();
            let mut child_module = module.clone();
            child_module.push(name.clone());
            if let Some((_, items)) = &child.content {
                self.file_of.insert(child_module.clone(), path.to_owned());
                self.read_children(root, path, items, &child_module, &folder.join(name))?;
                continue;
            }
            let given = child.attrs.iter().find_map(path_attribute);
            let candidates = match &given {
                Some(given) => vec![normal(&parent(path).join(given))],
                None => vec![folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")],
            };
            let found = candidates.iter().find(|file| root.join(file).is_file());
            let line = child.ident.span().start().line;
            ensure!(found.is_some(), "{}:{line}: the module {name} has no file", path.display());
            let Some(file) = found else { continue };
            let owns_folder = given.is_some() || file.ends_with("mod.rs");
            let children = if owns_folder { parent(file) } else { folder.join(&name) };
            self.read_file(root, file, child_module, children)?;
        }
        Ok(())
    }
}

fn parent(file: &Path) -> PathBuf {
    file.parent().map(Path::to_owned).unwrap_or_default()
}

/// A path without `..` inside.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir if normal.file_name().is_some() => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// The value of `#[path = "…"]`.
fn path_attribute(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) if pair.path.is_ident("path") => {
            Some(text.value())
        }
        _ => None,
    }
}

/// Whether what has these attributes is only built for tests.
pub(crate) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => needs_test(&list.tokens),
        // `#[test]`, `#[tokio::test]`.
        meta => meta.path().segments.last().is_some_and(|last| last.ident == "test"),
    })
}

/// Whether a condition of `cfg` only holds in tests.
fn needs_test(condition: &TokenStream) -> bool {
    let list = |tokens: &TokenStream| {
        let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
        parser.parse2(tokens.clone()).map(|list| list.into_iter().collect::<Vec<_>>()).unwrap_or_default()
    };
    fn holds(meta: &Meta, list: &dyn Fn(&TokenStream) -> Vec<Meta>) -> bool {
        match meta {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(inner) if inner.path.is_ident("all") => list(&inner.tokens).iter().any(|meta| holds(meta, list)),
            Meta::List(inner) if inner.path.is_ident("any") => list(&inner.tokens).iter().all(|meta| holds(meta, list)),
            _ => false,
        }
    }
    list(condition).iter().any(|meta| holds(meta, &list))
}
