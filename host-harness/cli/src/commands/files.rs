//! Files that a command reads and writes.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Reads a text file.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// Reads a JSON text from a file, or from standard input if the path is `-`. Without a path it returns `{}`.
pub(crate) fn read_json(path: Option<&Path>) -> Result<String> {
    let Some(path) = path else { return Ok("{}".to_owned()) };
    let text = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
        text
    } else {
        read_text(path)?
    };
    serde_json::from_str::<serde::de::IgnoredAny>(&text)
        .with_context(|| format!("{} is not valid JSON", path.display()))?;
    Ok(text)
}

/// Writes the whole file or nothing. Only the file's owner can read it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_data()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}
