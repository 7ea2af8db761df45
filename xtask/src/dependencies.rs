//! Checks of the dependencies: licences, sources, versions and known vulnerabilities.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::checks::manifests_outside;
use crate::run::{Command, cargo, output, root, step};
use crate::setup;

/// The environment variable that names a folder with a clone of the database of advisories, for machines that cannot
/// fetch it.
pub const DATABASE_VARIABLE: &str = "ADVISORY_DB";

/// The address of RustSec's database, and the folder name that cargo-deny derives from it. The next constant has both
/// for an address that does not exist.
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

/// Runs all checks. Advisories are skipped if their database cannot be fetched.
///
/// # Errors
/// The problems that were found.
pub fn check() -> Result<()> {
    step("Licences, sources and duplicate versions", || {
        deny(&["--workspace", "check", "licenses", "sources", "bans"])
    })?;
    step("Yanked versions", yanked)?;
    step("Known vulnerabilities", || match database(None) {
        Ok(folder) => advisories_of(&folder),
        Err(error) if named().is_some() => Err(error),
        Err(error) => {
            eprintln!("skipped: known vulnerabilities were not checked, because the database cannot be fetched.");
            eprintln!("         {error:#}");
            eprintln!("         {DATABASE_VARIABLE} can name a folder with a clone of {}.", RUSTSEC.0);
            Ok(())
        }
    })
}

/// Looks for known vulnerabilities. The database is in this folder, or is fetched.
///
/// # Errors
/// The vulnerabilities that were found, or why there is no database.
pub fn advisories(folder: Option<&Path>) -> Result<()> {
    advisories_of(&database(folder)?)
}

fn deny(args: &[&str]) -> Result<()> {
    Command::new(setup::cargo_deny()?).args(args).run()
}

/// Looks for versions that their authors have withdrawn, in cargo's copy of the registry's index. `cargo deny` does
/// this only in its check of advisories, which needs a database. So it gets a database whose only advisory is about no
/// real package.
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
    // Cargo first updates its copy of the index. Without a network, the old copy is used.
    if cargo(&["update", "--dry-run", "--quiet"]).is_err() {
        eprintln!("    the registry's index cannot be fetched, so cargo's copy is used");
    }
    let check = ["check", "--deny", "index-failure", "advisories"];
    deny(&[&["--workspace", "--offline", "--config", &config][..], &check].concat())
}

/// Puts the database where cargo-deny expects it, and returns that folder. The source is the given folder, the folder
/// that the environment names, or the network.
fn database(folder: Option<&Path>) -> Result<PathBuf> {
    let databases = root()?.join("target").join("advisories");
    let clone = databases.join(RUSTSEC.1);
    if clone.exists() {
        fs::remove_dir_all(&clone)?;
    }
    fs::create_dir_all(&databases)?;
    // A network that drops packets must not block the tests for ever.
    let git = Command::new("timeout").args(["120", "git", "clone", "--quiet"]).env("GIT_TERMINAL_PROMPT", "0");
    match folder.map(Path::to_owned).or_else(named) {
        Some(folder) => {
            let command = git.arg(folder.canonicalize().with_context(|| format!("{}", folder.display()))?);
            command
                .arg(&clone)
                .run()
                .with_context(|| format!("{} is not a clone of the database", folder.display()))?;
        }
        None => git.args(["--depth", "1", RUSTSEC.0]).arg(&clone).run()?,
    }
    Ok(databases)
}

/// The folder that the environment variable names.
fn named() -> Option<PathBuf> {
    std::env::var_os(DATABASE_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// Checks every package. Packages outside of the workspace have their own lock files, so they are checked too.
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

/// Writes a copy of `deny.toml` that uses the database in this folder. Returns the path of the copy.
fn config(folder: &Path, address: &str) -> Result<String> {
    let text = fs::read_to_string(root()?.join("deny.toml"))?;
    let section = "[advisories]\n";
    let with = format!("{section}db-path = {folder:?}\ndb-urls = [{address:?}]\n");
    let file = folder.join("deny.toml");
    fs::write(&file, text.replacen(section, &with, 1))?;
    Ok(file.to_string_lossy().into_owned())
}
