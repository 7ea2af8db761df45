//! Files, tests, commands and headings that the documents cite must exist. A renamed test must be renamed in the
//! documents too.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use connector_tests::workspace;

const DOCUMENTS: [&str; 14] = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs/decisions.md",
    "docs/emulator.md",
    "docs/interface.md",
    "docs/metrics.md",
    "docs/security.md",
    "docs/testing.md",
    "findings/README.md",
    "fleets/README.md",
    "fuzz/README.md",
    "wit/deps/README.md",
];

/// Cited files and functions of other projects.
const OF_OTHERS: [&str; 3] = ["azext_iot/iothub/_payload.py", "set_check_integrity_on_open", "src/p2/http_impl.rs"];

/// Placeholders in a path, for any name.
const ANY_NAME: [&str; 3] = ["NAME", "VERSION", "FILE"];

/// A word with one of these endings is a file of the repository. Words with other endings, for example `account.json`,
/// are the reader's files.
const ENDINGS: [&str; 8] = [".rs", ".toml", ".md", ".py", ".wit", ".csv", ".sh", ".mjs"];

/// In the name of a test, the ellipsis stands for the rest of the name.
const ELLIPSIS: char = '…';

/// Cited options of other programs.
const OPTIONS_OF_OTHERS: [&str; 3] = ["--nocapture", "--test", "--offline"];

const WHAT_TO_DO: &str = "Mend the citation, or the name that it cites.";

/// The files and folders of the repository, with their paths from its root.
struct Tree {
    paths: Vec<String>,
    /// The text of all Rust files.
    rust: String,
    /// The names of all Rust functions.
    functions: BTreeSet<String>,
    /// The text of all manifests.
    manifests: String,
}

impl Tree {
    fn read() -> Result<Self> {
        let mut tree =
            Self { paths: Vec::new(), rust: String::new(), functions: BTreeSet::new(), manifests: String::new() };
        tree.walk(workspace(), "")?;
        let name = |rest: &str| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().map(str::to_owned);
        tree.functions = tree.rust.split("fn ").skip(1).filter_map(name).collect();
        Ok(tree)
    }

    fn walk(&mut self, folder: &Path, path: &str) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{path}/{name}");
            if entry.file_type()?.is_dir() {
                if !["target", ".git", ".venv", "node_modules", "corpus"].contains(&name.as_str()) {
                    self.walk(&entry.path(), &path)?;
                }
                self.paths.push(format!("{path}/"));
            } else {
                if name.ends_with(".rs") {
                    self.rust += &fs::read_to_string(entry.path())?;
                } else if name == "Cargo.toml" {
                    self.manifests += &fs::read_to_string(entry.path())?;
                }
                self.paths.push(path);
            }
        }
        Ok(())
    }

    /// Whether a file or folder ends with this path. Citations may be short, so a part of the path is enough.
    fn has(&self, cited: &str) -> bool {
        let ending = format!("/{cited}");
        self.paths
            .iter()
            .any(|path| path.ends_with(&ending) || path.strip_suffix('/').is_some_and(|path| path.ends_with(&ending)))
    }

    /// Whether a function has this name. An ellipsis at either end stands for the rest of the name.
    fn has_function(&self, cited: &str) -> bool {
        let part = cited.trim_matches(ELLIPSIS);
        self.functions.iter().any(|name| match (cited.starts_with(ELLIPSIS), cited.ends_with(ELLIPSIS)) {
            (false, false) => name == part,
            (false, true) => name.starts_with(part),
            (true, false) => name.ends_with(part),
            (true, true) => name.contains(part),
        })
    }

    /// Whether a source file contains this command-line option, or a field from which clap makes the option.
    fn has_option(&self, option: &str) -> bool {
        let field = option.trim_start_matches('-').replace('-', "_");
        self.rust.contains(option)
            || [format!("{field}:"), format!("r#{field}:")].iter().any(|field| {
                self.rust.match_indices(field.as_str()).any(|(at, _)| {
                    !self.rust.get(..at).unwrap_or_default().ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                })
            })
    }

    /// The subcommands of the program `connector-host`, as clap names them.
    fn subcommands(&self) -> BTreeSet<String> {
        let variants = self.rust.split("Subcommand)]\nenum Command {").nth(1).unwrap_or_default();
        let variants = variants.split("\n}").next().unwrap_or_default().lines();
        let names =
            variants.filter_map(|line| line.strip_prefix("    ")).filter(|line| line.starts_with(char::is_uppercase));
        names.map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_lowercase()).collect()
    }
}

/// The texts between backticks, and each line of a block of commands.
fn citations(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<&str> = None;
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            block = if block.is_some() { None } else { Some(language) };
        } else if block == Some("sh") {
            found.push(line.split('#').next().unwrap_or_default().trim().to_owned());
        } else if block.is_none() {
            found.extend(line.split('`').skip(1).step_by(2).map(|span| span.trim().to_owned()));
        }
    }
    found.retain(|span| !span.is_empty());
    found
}

fn is_path(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'));
    let of_the_repository = ENDINGS.iter().any(|ending| word.len() > ending.len() && word.ends_with(ending))
        || (word.ends_with('/') && word.len() > 1);
    plain && of_the_repository && !word.starts_with('/') && !word.starts_with("target/")
}

fn is_function(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ELLIPSIS);
    plain && word.contains('_') && (word.contains(ELLIPSIS) || word.matches('_').count() > 2)
}

/// The problems of one citation.
fn problems(tree: &Tree, help: &str, subcommands: &BTreeSet<String>, cited: &str) -> Vec<String> {
    let mut found = Vec::new();
    let words: Vec<&str> = cited.split_whitespace().collect();
    for word in &words {
        let word = word.trim_start_matches("../").trim_start_matches("./");
        let any_name = word.split(['/', '.']).any(|part| ANY_NAME.contains(&part));
        if is_path(word) && !any_name && !OF_OTHERS.contains(&word) && !tree.has(word.trim_end_matches('/')) {
            found.push(format!("there is no file or folder `{word}`"));
        }
        if is_function(word) && !OF_OTHERS.contains(&word) && !tree.has_function(word) {
            found.push(format!("there is no function `{word}`"));
        }
    }
    let ours = words.first().is_some_and(|word| word.starts_with("--"));
    if ours || cited.contains("connector-host") || cited.starts_with("cargo xtask") {
        for option in words.iter().filter(|word| word.starts_with("--") && word.len() > 2) {
            let option = option.split(['=', '[', ']']).next().unwrap_or_default();
            if !OPTIONS_OF_OTHERS.contains(&option) && !tree.has_option(option) {
                found.push(format!("nothing knows the option `{option}`"));
            }
        }
    }
    for pair in words.windows(2).filter(|_| cited.starts_with("cargo ")) {
        let is_there = match *pair {
            ["--package" | "-p", name] => tree.manifests.contains(&format!("name = \"{name}\"")),
            ["--test" | "--example" | "--bench", name] => {
                tree.has(&format!("{name}.rs")) || tree.has(&format!("{name}/main.rs"))
            }
            _ => true,
        };
        if !is_there {
            found.push(format!("cargo has no {}", pair.join(" ")));
        }
    }
    if let Some(rest) = cited.strip_prefix("cargo xtask ") {
        let lower = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
        for word in rest.split_whitespace().take(2).take_while(lower) {
            let is_known = |line: &str| line.split(|c: char| !c.is_ascii_alphanumeric()).any(|known| known == word);
            if !help.lines().any(is_known) {
                found.push(format!("`cargo xtask` has no `{word}`"));
            }
        }
    }
    // Options come before the subcommand, and most options take a value.
    let mut arguments = words.iter().skip_while(|word| **word != "connector-host").skip(1).peekable();
    while arguments.next_if(|word| word.starts_with("--")).is_some() {
        arguments.next();
    }
    if let Some(word) = arguments.next().filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
        && words.first() == Some(&"connector-host")
        && !subcommands.contains(*word)
    {
        found.push(format!("`connector-host` has no command `{word}`"));
    }
    found
}

/// The addresses of headings, as links use them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| -> String {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    };
    headings.map(anchor).collect()
}

/// Links within the repository that have no target.
fn broken_links(document: &str, text: &str) -> Result<Vec<String>> {
    let folder = workspace().join(document).parent().context("a document has a folder")?.to_owned();
    let mut broken = Vec::new();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for target in targets.filter(|target| !target.contains("://")) {
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let path = if file.is_empty() { workspace().join(document) } else { folder.join(file) };
        if !path.exists() {
            broken.push(format!("the link to {target} leads to no file"));
        } else if !anchor.is_empty() && !anchors(&fs::read_to_string(&path)?).contains(anchor) {
            broken.push(format!("the link to {target} leads to no heading"));
        }
    }
    Ok(broken)
}

#[test]
fn everything_that_is_cited_is_there() -> Result<()> {
    let tree = Tree::read()?;
    let subcommands = tree.subcommands();
    ensure!(subcommands.contains("conformance"), "the commands of `connector-host` were not found in its sources");
    let main = fs::read_to_string(workspace().join("xtask/src/main.rs"))?;
    let stages = fs::read_to_string(workspace().join("xtask/src/checks.rs"))?;
    let help =
        main.split("const HELP").nth(1).and_then(|rest| rest.split("\";").next()).context("xtask has no help")?;
    let names = stages.split("name: \"").skip(1).filter_map(|rest| rest.split('"').next());
    let help = names.fold(help.to_owned(), |help, name| help + "\n" + name);
    let mut found = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(workspace().join(document)).with_context(|| document.to_owned())?;
        let mut add = |problem: String| found.push(format!("{document}: {problem}"));
        for cited in citations(&text) {
            problems(&tree, &help, &subcommands, &cited).into_iter().for_each(&mut add);
        }
        broken_links(document, &text)?.into_iter().for_each(&mut add);
    }
    ensure!(found.is_empty(), "{} citations of nothing:\n{}\n{WHAT_TO_DO}", found.len(), found.join("\n"));
    Ok(())
}

#[test]
fn what_is_not_there_is_found() -> Result<()> {
    let tree = Tree::read()?;
    let commands = BTreeSet::from(["test".to_owned()]);
    let wrong = [
        "src/not_there.rs",
        "not/there/",
        "no_test_has_this_name",
        "no_test_begins_so_…",
        "--no-such-option-anywhere",
        "cargo xtask nothing",
        "cargo test --package nothing",
        "cargo test --test not_there",
        "connector-host --connection account.json nothing",
    ];
    // The citations are built from parts, because this file is searched as well.
    for cited in wrong {
        let cited = cited.replace("no_", "none_").replace("--no", "--none");
        assert_eq!(problems(&tree, "test", &commands, &cited).len(), 1, "{cited}");
    }
    let right = ["tests/tests/documents.rs", "documents.rs", "what_is_not_there_is_found", "…_is_cited_is_there"];
    for cited in
        right.into_iter().chain(["cargo xtask test", "connector-host test", "wit/frozen/VERSION/", "account.json"])
    {
        assert_eq!(problems(&tree, "test", &commands, cited), Vec::<String>::new());
    }
    Ok(())
}

/// Packages outside of the workspace cannot inherit its lints, so they must repeat them.
#[test]
fn packages_outside_have_the_workspaces_lints() -> Result<()> {
    let section = |manifest: &str, name: &str| -> Result<String> {
        let text = fs::read_to_string(workspace().join(manifest))?;
        let section =
            text.split(&format!("[{name}]\n")).nth(1).with_context(|| format!("{manifest} has no [{name}]"))?;
        Ok(section.split("\n[").next().unwrap_or_default().trim().to_owned())
    };
    for package in ["kit", "examples/http", "tests/hostile", "fuzz"] {
        for tool in ["rust", "clippy"] {
            let own = section(&format!("{package}/Cargo.toml"), &format!("lints.{tool}"))?;
            let shared = section("Cargo.toml", &format!("workspace.lints.{tool}"))?;
            ensure!(
                own == shared,
                "{package}/Cargo.toml: [lints.{tool}] is not [workspace.lints.{tool}] of Cargo.toml"
            );
        }
    }
    Ok(())
}
