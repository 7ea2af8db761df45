//! What is depended on: licences, sources, versions, and known vulnerabilities.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::checks::manifests_outside;
use crate::run::{Command, cargo, output, root, step};
use crate::setup;

/// Names a folder with a clone of the database of advisories, for machines that cannot fetch it.
pub const DATABASE_VARIABLE: &str = "ADVISORY_DB";

/// The names that cargo-deny gives to the databases of two addresses: RustSec's, and one that does not exist.
const RUSTSEC: (&str, &str) = ("https://github.com/RustSec/advisory-db", "advisory-db-3157b0e258782691");
const NOTHING: (&str, &str) = ("https://none.invalid/none", "none-c60878908cd78f0e");

const ABOUT_NOTHING: &str = "```toml
[advisory]
id = \"RUSTSEC-2000-0001\"
package = \"nothing\"
date = \"2000-01-01\"

[versions]
patched = []
```

# Nothing

About no package.
";

/// All of it; advisories only where their database can be had.
///
/// # Errors
/// What was found.
pub fn check() -> Result<()> {
    step("Licences, sources and duplicate versions", || {
        deny(&["--workspace", "check", "licenses", "sources", "bans"])
    })?;
    step("Yanked versions", yanked)?;
    step("Known vulnerabilities", || match database(None) {
        Ok(folder) => advisories_of(&folder),
        Err(error) if named().is_some() => Err(error),
        Err(error) => {
            eprintln!("skipped: known vulnerabilities were not looked for, since the database cannot be had.");
            eprintln!("         {error:#}");
            eprintln!("         {DATABASE_VARIABLE} can name a folder with a clone of {}.", RUSTSEC.0);
            Ok(())
        }
    })
}

/// Known vulnerabilities, by the database in this folder or the one that can be fetched.
///
/// # Errors
/// What was found, or that the database cannot be had.
pub fn advisories(folder: Option<&Path>) -> Result<()> {
    advisories_of(&database(folder)?)
}

fn deny(args: &[&str]) -> Result<()> {
    Command::new(setup::cargo_deny()?).args(args).run()
}

/// Versions that their authors have withdrawn, as cargo's copy of the registry's index has them. `cargo deny` looks for them
/// in its check of advisories alone, which wants a database of those; it is given one with an advisory about nothing.
fn yanked() -> Result<()> {
    let folder = root()?.join("target").join("yanked");
    let database = folder.join(NOTHING.1);
    let advisory = database.join("crates").join("nothing");
    fs::create_dir_all(&advisory)?;
    fs::write(advisory.join("RUSTSEC-2000-0001.md"), ABOUT_NOTHING)?;
    let git = |args: &[&str]| Command::new("git").arg("-C").arg(&database).args(args).run();
    git(&["init", "--quiet"])?;
    let author = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.com"];
    git(&[&author[..], &["commit", "--quiet", "--allow-empty", "--message", "About nothing"]].concat())?;
    let config = config(&folder, NOTHING.0)?;
    // Cargo asks the registry again for what it has a copy of; without a network the copy counts.
    if cargo(&["update", "--dry-run", "--quiet"]).is_err() {
        eprintln!("    the index cannot be had: cargo's copy of it counts");
    }
    let check = ["check", "--deny", "index-failure", "advisories"];
    deny(&[&["--workspace", "--offline", "--config", &config][..], &check].concat())
}

/// The folder with the database, as cargo-deny wants it: the given one, the one that the environment names, or a new one.
fn database(folder: Option<&Path>) -> Result<PathBuf> {
    let databases = root()?.join("target").join("advisories");
    let clone = databases.join(RUSTSEC.1);
    if clone.exists() {
        fs::remove_dir_all(&clone)?;
    }
    fs::create_dir_all(&databases)?;
    // A network that swallows packets must not hold the tests up.
    let git = Command::new("timeout").args(["120", "git", "clone", "--quiet"]).env("GIT_TERMINAL_PROMPT", "0");
    match folder.map(Path::to_owned).or_else(named) {
        Some(folder) => {
            let command = git.arg(folder.canonicalize().with_context(|| format!("{}", folder.display()))?);
            command.arg(&clone).run().with_context(|| format!("{} is no clone of the database", folder.display()))?;
        }
        None => git.args(["--depth", "1", RUSTSEC.0]).arg(&clone).run()?,
    }
    Ok(databases)
}

/// The folder that the environment names.
fn named() -> Option<PathBuf> {
    std::env::var_os(DATABASE_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// Every package is judged, those outside of the workspace too: their lock files are others.
fn advisories_of(databases: &Path) -> Result<()> {
    let clone = databases.join(RUSTSEC.1);
    let date = output("git", &["-C", &clone.to_string_lossy(), "log", "-1", "--format=%cs"])?;
    eprintln!("    the database is of {}", date.trim());
    let config = config(databases, RUSTSEC.0)?;
    let check = ["--offline", "--config", &config, "check", "advisories"];
    deny(&[&["--workspace"], &check[..]].concat())?;
    for manifest in manifests_outside() {
        cargo(&["fetch", "--quiet", "--locked", "--manifest-path", &manifest])?;
        deny(&[&["--manifest-path", &manifest], &check[..]].concat()).with_context(|| manifest.clone())?;
    }
    Ok(())
}

/// `deny.toml` with the database in this folder, as a file in it.
fn config(folder: &Path, address: &str) -> Result<String> {
    let text = fs::read_to_string(root()?.join("deny.toml"))?;
    let section = "[advisories]\n";
    let with = format!("{section}db-path = {folder:?}\ndb-urls = [{address:?}]\n");
    let file = folder.join("deny.toml");
    fs::write(&file, text.replacen(section, &with, 1))?;
    Ok(file.to_string_lossy().into_owned())
}
