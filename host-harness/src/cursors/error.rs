//! [`CursorStoreError`].

use std::io;
use std::path::PathBuf;

/// Why a [`CursorStore`](crate::CursorStore) cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CursorStoreError {
    /// The file cannot be opened or read.
    #[error("{} cannot be opened", path.display())]
    File {
        /// The database's file.
        path: PathBuf,
        /// The error that the operating system returned.
        source: io::Error,
    },
    /// The file contains something other than cursors. It was not changed.
    #[error("{} is not a database of this program and was left as it is; name another file, or delete it to start from the beginning", .0.display())]
    Foreign(PathBuf),
    /// The file is damaged. If the damage is found while opening, the file keeps its content, byte for byte. If it is
    /// found later, nothing more is written to the file. A damaged file is never repaired.
    #[error(
        "{} is damaged and was not changed: {detail}. Restore the file from a copy; or name another file, and the trigger \
         starts there as if for the first time",
        path.display()
    )]
    Damaged {
        /// The database's file.
        path: PathBuf,
        /// What is damaged, for a log.
        detail: String,
    },
    /// The file has an older format of the database. It was not changed.
    #[error(
        "{} has the older format {version} and was left as it is; read it with the version of this program that wrote it, \
         or name another file",
        path.display()
    )]
    OlderFormat {
        /// The database's file.
        path: PathBuf,
        /// The number of the format.
        version: u8,
    },
    /// Another process has opened the file.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The database cannot be used, for example because the disk is full.
    #[error("{} cannot be {doing}", path.display())]
    Database {
        /// The database's file.
        path: PathBuf,
        /// `opened`, `read` or `written`.
        doing: &'static str,
        /// The error that the database returned.
        source: Box<redb::Error>,
    },
}
