//! Reads which file of a package imports which, for tests that permit imports in one direction only.
//!
//! [`Sources`] reads the files below `src/` as tokens and resolves their paths. [`Graph`] finds circles of imports.
//! The rules belong to the tests that use this package: which module may import which, and which circles are permitted.
//!
//! # What is an import
//!
//! Each path that leads to a module of the package: in a `use`, with all branches of its braces, or anywhere else in
//! the code, in macros included. A path begins with `crate`, `self`, `super`, a module below the own one, or a name
//! that a `use` of the own module brings in. A path that serde reads from an attribute counts as well. Comments, other
//! texts and visibilities such as `pub(in crate::a)` do not.
//!
//! A file is a module wherever it is declared, so that a macro may declare it. What no path names is not seen: a method
//! of another module's type, for example. A `#[path]` attribute is not followed.

mod graph;
mod tokens;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

pub use graph::{Circle, Graph};
use tokens::{Reading, Written};

/// The most re-exports that are followed for one path. A longer chain is one that leads back to itself.
const MOST_RE_EXPORTS: usize = 32;

/// The sources of a package.
pub struct Sources {
    readings: BTreeMap<String, Reading>,
    /// The file of each module. Modules within a file have the name of that file.
    modules: BTreeMap<Vec<String>, String>,
    /// What the `use` lines of a module bring in: paths, by name, as they are written. None stands for several paths,
    /// of which a condition of compilation chooses one.
    names: BTreeMap<Vec<String>, BTreeMap<String, Option<Vec<String>>>>,
    /// What the `use` lines of a module bring in with an asterisk.
    globs: BTreeMap<Vec<String>, Vec<Vec<String>>>,
}

/// A path that leads to a module of the same package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The file that has the path, such as `src/amqp/codec.rs`.
    pub file: String,
    /// The path's line, from 1.
    pub line: usize,
    /// The module that has the path, such as `amqp::codec`. Empty for the root.
    pub module: String,
    /// The path from the root, without `crate::`. It is as written: re-exports are not followed.
    pub path: String,
    /// The file of the module that the path names.
    pub named: String,
    /// The file that the path leads to after all re-exports. The same as `named` without any.
    pub defined: String,
    /// Whether the path is compiled for unit tests alone.
    pub is_test: bool,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: crate::{}", self.file, self.line, self.path)
    }
}

impl Sources {
    /// Reads all files below `src/` in a package's folder.
    ///
    /// # Errors
    ///
    /// The file or folder that cannot be read, with the reason.
    pub fn read(package: &Path) -> io::Result<Self> {
        let (mut files, mut folders) = (Vec::new(), vec![package.join("src")]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(|error| unreadable(&folder.to_string_lossy(), &error))? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let name = path.strip_prefix(package).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                    let text = fs::read_to_string(&path).map_err(|error| unreadable(&name, &error))?;
                    files.push((name, text));
                }
            }
        }
        Self::parse(files)
    }

    /// Reads files from memory. Their paths begin with `src/`.
    ///
    /// # Errors
    ///
    /// The file that is no Rust source, with the reason.
    pub fn parse<N: Into<String>, T: AsRef<str>>(files: impl IntoIterator<Item = (N, T)>) -> io::Result<Self> {
        let mut readings = BTreeMap::new();
        for (file, text) in files {
            let file = file.into();
            let module = module_of(&file);
            let reading = Reading::of(&module, text.as_ref())
                .map_err(|error| unreadable(&file, &format!("{error} (line {})", error.span().start().line)))?;
            readings.insert(file, reading);
        }
        let (mut modules, mut globs) = (BTreeMap::new(), BTreeMap::new());
        let mut names: BTreeMap<Vec<String>, BTreeMap<String, Option<Vec<String>>>> = BTreeMap::new();
        // In reverse, `main.rs` comes before `lib.rs`, which is the root if a package has both.
        for (file, reading) in readings.iter().rev() {
            modules.insert(module_of(file), file.clone());
            modules.extend(reading.inline.iter().map(|module| (module.clone(), file.clone())));
            for import in &reading.uses {
                match &import.name {
                    Some(name) => {
                        let path = Some(import.path.clone());
                        let names = names.entry(import.module.clone()).or_default();
                        let known = names.entry(name.clone()).or_insert_with(|| path.clone());
                        if *known != path {
                            *known = None;
                        }
                    }
                    None => globs.entry(import.module.clone()).or_insert_with(Vec::new).push(import.path.clone()),
                }
            }
        }
        Ok(Self { readings, modules, names, globs })
    }

    /// The paths of all files, in order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.readings.keys().map(String::as_str)
    }

    /// All imports, in the order of files and lines.
    #[must_use]
    pub fn imports(&self) -> Vec<Import> {
        let tests: Vec<&Vec<String>> = self.readings.values().flat_map(|reading| &reading.test_files).collect();
        let mut found = Vec::new();
        for (file, reading) in &self.readings {
            let own = module_of(file);
            let in_tests = reading.is_test || tests.iter().any(|test| own.starts_with(test));
            for written in &reading.paths {
                let Some(path) = self.absolute(&written.module, &written.path, 0) else { continue };
                let (named, defined) = self.files_of(&path);
                // A name that a `use` brings in leads elsewhere only if it is a module's. Otherwise the `use` says it.
                if let Some(used) = self.use_of(written)
                    && self.files_of(&used) == (named.clone(), defined.clone())
                {
                    continue;
                }
                found.push(Import {
                    file: file.clone(),
                    line: written.line,
                    module: written.module.join("::"),
                    named,
                    defined,
                    path: path.join("::"),
                    is_test: in_tests || written.is_test,
                });
            }
        }
        found.sort_by(|a, b| (&a.file, a.line, &a.path).cmp(&(&b.file, b.line, &b.path)));
        found.dedup();
        found
    }

    /// The path from the root of the `use` that brings in the first of several names, if one does.
    fn use_of(&self, written: &Written) -> Option<Vec<String>> {
        let [first, _, ..] = written.path.as_slice() else { return None };
        let used = self.names.get(&written.module)?.get(first)?.as_ref()?;
        self.absolute(&written.module, used, 0)
    }

    /// The path from the root, or None if it leads out of the package.
    fn absolute(&self, module: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
        let (first, mut rest) = path.split_first()?;
        let mut begun = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => module.split_last()?.1.to_vec(),
            name => self.lookup(module, name, depth)?,
        };
        while let Some((next, after)) = rest.split_first() {
            match next.as_str() {
                "super" => drop(begun.pop()),
                "self" => {}
                _ => break,
            }
            rest = after;
        }
        begun.extend_from_slice(rest);
        Some(begun)
    }

    /// The path of a name within a module: of a module below it, or of what a `use` brings in from the package.
    fn lookup(&self, module: &[String], name: &str, depth: usize) -> Option<Vec<String>> {
        let inner = [module, &[name.to_owned()]].concat();
        if self.modules.contains_key(&inner) {
            return Some(inner);
        }
        if depth >= MOST_RE_EXPORTS {
            return None;
        }
        if let Some(path) = self.names.get(module).and_then(|names| names.get(name)) {
            // `use name;` and `use name::Thing as name;` begin outside of the package.
            let path = path.as_ref().filter(|path| path.first().is_some_and(|first| first != name));
            return path.and_then(|path| self.absolute(module, path, depth + 1));
        }
        self.globs.get(module).into_iter().flatten().find_map(|glob| {
            let other = self.absolute(module, glob, depth + 1)?;
            if other == module { None } else { self.lookup(&other, name, depth + 1) }
        })
    }

    /// The path after all re-exports.
    fn followed(&self, path: &[String], depth: usize) -> Vec<String> {
        let known = self.deepest(path);
        let (module, rest) = path.split_at(known);
        match rest.split_first() {
            Some((name, rest)) if depth < MOST_RE_EXPORTS => match self.lookup(module, name, depth) {
                Some(found) => self.followed(&[found.as_slice(), rest].concat(), depth + 1),
                None => path.to_vec(),
            },
            _ => path.to_vec(),
        }
    }

    /// How many names at the beginning of a path are a module's path.
    fn deepest(&self, path: &[String]) -> usize {
        (1..=path.len()).rev().find(|end| self.modules.contains_key(&path[..*end])).unwrap_or_default()
    }

    /// The file of the module that a path names, and the file that the path leads to after all re-exports.
    fn files_of(&self, path: &[String]) -> (String, String) {
        (self.file_of(path), self.file_of(&self.followed(path, 0)))
    }

    /// The file of the module that a path leads to.
    fn file_of(&self, path: &[String]) -> String {
        let module = &path[..self.deepest(path)];
        self.modules.get(module).map_or_else(|| ROOT.to_owned(), String::clone)
    }
}

/// The module of a file: `amqp::codec` for `src/amqp/codec.rs` and for `src/amqp/codec/mod.rs`. Empty for the root.
#[must_use]
pub fn module(file: &str) -> String {
    module_of(file).join("::")
}

/// The module directly below the root that a file belongs to: `amqp` for `src/amqp/codec.rs` and for `src/amqp.rs`.
/// Empty for the root itself.
#[must_use]
pub fn top(file: &str) -> String {
    module_of(file).into_iter().next().unwrap_or_default()
}

/// The root of a package without a file for it.
const ROOT: &str = "src/lib.rs";

fn module_of(file: &str) -> Vec<String> {
    let name = file.strip_prefix("src/").unwrap_or(file);
    let name = name.strip_suffix(".rs").unwrap_or(name);
    match name.strip_suffix("/mod").unwrap_or(name) {
        "lib" | "main" => Vec::new(),
        name => name.split('/').map(str::to_owned).collect(),
    }
}

fn unreadable(name: &str, error: &dyn fmt::Display) -> io::Error {
    io::Error::other(format!("{name} cannot be read: {error}"))
}

#[cfg(test)]
mod tests;
