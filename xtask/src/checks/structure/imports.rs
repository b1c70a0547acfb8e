//! Which file uses which: every path in a package's code that leads to a module of the same
//! package.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proc_macro2::{Spacing, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, Macro, Meta, UseTree, VisRestricted};

use crate::checks::structure::modules::{LIBRARY, ModulePath, Modules, is_test};

/// A use of a module by another file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: PathBuf,
    pub(crate) line: usize,
    /// The path as the code has it.
    pub(crate) path: String,
    /// The file of the deepest module that the path leads to.
    pub(crate) to: PathBuf,
}

/// Finds all imports between the files of a package. `library` is what its programs call its
/// library.
pub(crate) fn find(modules: &Modules, library: &str) -> BTreeSet<Import> {
    let mut resolver = Resolver { modules, library, names: BTreeMap::new() };
    let mut imports = BTreeSet::new();
    let found: Vec<_> =
        modules.files.iter().map(|file| (file, Finder::read(file.module.clone(), &file.syntax))).collect();
    // A `use` may name what another one brought in, whichever comes first.
    for _ in 0..2 {
        for found in found.iter().flat_map(|(_, finder)| &finder.found).filter(|found| found.is_use) {
            resolver.learn(found);
        }
    }
    for (file, finder) in &found {
        for found in &finder.found {
            // One name alone is a value, a type or a macro.
            if !found.is_use && found.path.len() < 2 {
                continue;
            }
            let Some((module, _)) = resolver.resolve(&found.module, &found.path) else { continue };
            let to = &modules.file_of[&module];
            if *to != file.path {
                let path = found.path.join("::");
                imports.insert(Import { from: file.path.clone(), line: found.line, path, to: to.clone() });
            }
        }
    }
    imports
}

/// What a name of a module stands for.
#[derive(Debug)]
enum Name {
    Module(ModulePath),
    /// Something of another crate.
    External,
}

struct Resolver<'a> {
    modules: &'a Modules,
    library: &'a str,
    /// What each module brought in with `use`.
    names: BTreeMap<ModulePath, BTreeMap<String, Name>>,
}

impl Resolver<'_> {
    fn learn(&mut self, found: &Found) {
        let Some(name) = &found.name else { return };
        let stands_for = match self.resolve(&found.module, &found.path) {
            None => Name::External,
            Some((module, length)) if length == found.path.len() => Name::Module(module),
            // An item of the module, whose name leads nowhere further.
            Some(_) => return,
        };
        self.names.entry(found.module.clone()).or_default().insert(name.clone(), stands_for);
    }

    /// Returns the deepest module that a path leads to, and how much of the path that is; `None`
    /// where it leads to another crate, or begins with a name that is no module.
    fn resolve(&self, module: &ModulePath, path: &[String]) -> Option<(ModulePath, usize)> {
        let first = path.first()?;
        let root = || vec![module[0].clone()];
        let mut at = match first.as_str() {
            "crate" | "$crate" => root(),
            "self" => module.clone(),
            "super" => parent(module)?,
            name => match (self.child(module, name), self.names.get(module).and_then(|names| names.get(name))) {
                (Some(child), _) => child,
                (None, Some(Name::Module(module))) => module.clone(),
                (None, Some(Name::External)) => return None,
                (None, None) if name == self.library && module[0] != LIBRARY => vec![LIBRARY.to_owned()],
                (None, None) => return None,
            },
        };
        let mut length = 1;
        for name in &path[1..] {
            at = match (name.as_str(), self.child(&at, name)) {
                ("super", _) => parent(&at)?,
                ("self", _) => at,
                (_, Some(child)) => child,
                (_, None) if matches!(self.names.get(&at).and_then(|names| names.get(name)), Some(Name::External)) => {
                    return None;
                }
                (_, None) => break,
            };
            length += 1;
        }
        self.modules.file_of.contains_key(&at).then_some((at, length))
    }

    fn child(&self, module: &ModulePath, name: &str) -> Option<ModulePath> {
        let mut child = module.clone();
        child.push(name.to_owned());
        self.modules.file_of.contains_key(&child).then_some(child)
    }
}

fn parent(module: &ModulePath) -> Option<ModulePath> {
    (module.len() > 1).then(|| module[..module.len() - 1].to_vec())
}

/// A path that was found in a file.
#[derive(Debug)]
struct Found {
    module: ModulePath,
    path: Vec<String>,
    line: usize,
    is_use: bool,
    /// The name that a `use` brings in.
    name: Option<String>,
}

/// Finds the paths in a file, without test code.
struct Finder {
    module: ModulePath,
    found: Vec<Found>,
}

impl Finder {
    fn read(module: ModulePath, file: &syn::File) -> Self {
        let mut finder = Self { module, found: Vec::new() };
        finder.visit_file(file);
        finder
    }

    fn add(&mut self, path: Vec<String>, line: usize) {
        self.found.push(Found { module: self.module.clone(), path, line, is_use: false, name: None });
    }

    fn add_use(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &dyn ToString| [before, &[plain(name)]].concat();
        let (path, name, line) = match tree {
            UseTree::Path(path) => return self.add_use(&path.tree, &with(&path.ident)),
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.add_use(tree, before)),
            UseTree::Glob(glob) => (before.to_vec(), None, glob.star_token.span.start().line),
            // `self` in a group is the module before it, and brings in its name.
            UseTree::Name(name) if name.ident == "self" && !before.is_empty() => {
                (before.to_vec(), before.last().cloned(), name.ident.span().start().line)
            }
            UseTree::Name(name) => (with(&name.ident), Some(plain(&name.ident)), name.ident.span().start().line),
            UseTree::Rename(rename) => {
                let path = if rename.ident == "self" { before.to_vec() } else { with(&rename.ident) };
                (path, Some(plain(&rename.rename)), rename.ident.span().start().line)
            }
        };
        self.found.push(Found { module: self.module.clone(), path, line, is_use: true, name });
    }

    /// Finds paths in what a macro or an attribute is given, which may be no Rust.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => path.push(plain(ident)),
                TokenTree::Ident(ident) => {
                    self.end_path(&mut path, line);
                    (path, line) = (vec![plain(ident)], ident.span().start().line);
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                    // The second colon of `::` follows the first at once.
                    colons = if colons == 1 || punct.spacing() == Spacing::Joint { colons + 1 } else { 3 };
                    continue;
                }
                TokenTree::Group(group) => {
                    self.end_path(&mut path, line);
                    self.add_tokens(group.stream());
                }
                TokenTree::Literal(_) | TokenTree::Punct(_) => self.end_path(&mut path, line),
            }
            colons = 0;
        }
        self.end_path(&mut path, line);
    }

    fn end_path(&mut self, path: &mut Vec<String>, line: usize) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.add(path, line);
        }
    }
}

fn plain(name: &(impl ToString + ?Sized)) -> String {
    name.to_string().trim_start_matches("r#").to_owned()
}

/// Visits what is not built for tests alone.
macro_rules! without_tests {
    ($($visit:ident: $type:ident),* $(,)?) => {
        $(fn $visit(&mut self, node: &'ast syn::$type) {
            if !is_test(&node.attrs) {
                visit::$visit(self, node);
            }
        })*
    };
}

impl<'ast> Visit<'ast> for Finder {
    without_tests! {
        visit_item_const: ItemConst, visit_item_enum: ItemEnum, visit_item_fn: ItemFn, visit_item_impl: ItemImpl,
        visit_item_macro: ItemMacro, visit_item_static: ItemStatic, visit_item_struct: ItemStruct,
        visit_item_trait: ItemTrait, visit_item_type: ItemType, visit_item_union: ItemUnion,
        visit_impl_item_const: ImplItemConst, visit_impl_item_fn: ImplItemFn, visit_impl_item_type: ImplItemType,
        visit_trait_item_fn: TraitItemFn, visit_field: Field, visit_variant: Variant, visit_field_value: FieldValue,
        visit_arm: Arm, visit_local: Local, visit_expr_block: ExprBlock, visit_stmt_macro: StmtMacro,
    }

    fn visit_item_mod(&mut self, node: &'ast ItemMod) {
        if node.content.is_some() && !is_test(&node.attrs) {
            self.module.push(plain(&node.ident));
            visit::visit_item_mod(self, node);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, node: &'ast ItemUse) {
        // `use ::name` is of another crate.
        if node.leading_colon.is_none() && !is_test(&node.attrs) {
            self.add_use(&node.tree, &[]);
        }
    }

    fn visit_path(&mut self, node: &'ast syn::Path) {
        if let (None, Some(first)) = (&node.leading_colon, node.segments.first()) {
            let path = node.segments.iter().map(|segment| plain(&segment.ident)).collect();
            self.add(path, first.ident.span().start().line);
        }
        visit::visit_path(self, node);
    }

    fn visit_macro(&mut self, node: &'ast Macro) {
        self.visit_path(&node.path);
        self.add_tokens(node.tokens.clone());
    }

    fn visit_attribute(&mut self, node: &'ast Attribute) {
        if let Meta::List(list) = &node.meta {
            self.add_tokens(list.tokens.clone());
        }
    }

    /// `pub(in crate::module)` imports nothing.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}
}
