//! [`Checked`]: a database of `redb` that is checked before anything is written to its file.
//!
//! If `redb` opens a damaged file itself, it can panic or repair the file. This module therefore checks the whole file
//! first and keeps the changes that the check makes in memory. A file that fails the check is not changed. Recovery
//! after a crash is not a repair: `redb` promises that the last complete commit is valid, and continues from it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase as _, StorageBackend, TableHandle as _};

use super::error::CursorStoreError;
use super::held::Held;

/// The first bytes of a `redb` file.
const MAGIC: &[u8; 4] = b"redb";

/// A database that was undamaged when it was opened. If damage is found later, nothing more is written to the file.
pub(crate) struct Checked {
    path: PathBuf,
    /// `None` only while this value is being dropped.
    database: Option<Database>,
    file: Held,
}

impl Checked {
    /// Opens a database, or creates one that only its owner can read. An empty file becomes a new database.
    ///
    /// `tables` are the tables of this program: a database that has tables, but none of these, belongs to another
    /// program.
    ///
    /// # Errors
    ///
    /// [`CursorStoreError`]; the file is then unchanged.
    pub(crate) fn open(path: &Path, tables: &[&str]) -> Result<Self, CursorStoreError> {
        let failed = |source| CursorStoreError::File { path: path.to_owned(), source };
        let mut file = open(path).map_err(failed)?;
        let mut magic = Vec::new();
        (&mut file).take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(failed)?;
        if !MAGIC.starts_with(&magic) {
            return Err(CursorStoreError::Foreign(path.to_owned()));
        }
        file.rewind().map_err(failed)?;
        let file = FileBackend::new(file).map_err(|error| failed(io::Error::other(error)))?;
        Self::open_storage(path, Box::new(file), tables)
    }

    /// Works like [`Self::open`] on an open file; `path` is only used in errors.
    pub(super) fn open_storage(
        path: &Path,
        file: Box<dyn StorageBackend>,
        tables: &[&str],
    ) -> Result<Self, CursorStoreError> {
        let failed = |source| CursorStoreError::File { path: path.to_owned(), source };
        let file = Held::new(file).map_err(failed)?;
        let opened = catch(|| {
            let database = Builder::new().set_check_integrity_on_open(true).create_with_backend(file.clone())?;
            Ok((is_own(&database, tables)?, database))
        });
        let damaged = |detail| CursorStoreError::Damaged { path: path.to_owned(), detail };
        let (own, database) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                return Err(match error {
                    redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                        CursorStoreError::InUse(path.to_owned())
                    }
                    redb::Error::UpgradeRequired(version) => {
                        CursorStoreError::OlderFormat { path: path.to_owned(), version }
                    }
                    redb::Error::Corrupted(detail) => damaged(detail),
                    redb::Error::Io(error)
                        if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
                    {
                        damaged(error.to_string())
                    }
                    error => database_error(path, "opened", error),
                });
            }
            Err(detail) => return Err(damaged(detail)),
        };
        // From here on, `checked` may be dropped: its `Drop` catches a panic of the database.
        let checked = Self { path: path.to_owned(), database: Some(database), file };
        if !own {
            checked.file.refuse();
            return Err(CursorStoreError::Foreign(path.to_owned()));
        }
        checked.file.release().map_err(|error| database_error(path, "opened", error.into()))?;
        Ok(checked)
    }

    /// Runs `work` on the database; `doing` is `read` or `written`, for the error message.
    ///
    /// # Errors
    ///
    /// [`CursorStoreError::Damaged`] or [`CursorStoreError::Database`].
    pub(crate) fn run<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, CursorStoreError> {
        let damaged = |detail| {
            self.file.refuse();
            CursorStoreError::Damaged { path: self.path.clone(), detail }
        };
        let Some(database) = self.database.as_ref().filter(|_| !self.file.refuses()) else {
            return Err(damaged("damage was found earlier".to_owned()));
        };
        match catch(|| work(database)) {
            Ok(Err(redb::Error::Corrupted(detail))) | Err(detail) => Err(damaged(detail)),
            Ok(result) => result.map_err(|error| database_error(&self.path, doing, error)),
        }
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        // Dropping the database writes to the file; an error here cannot be reported to anybody.
        let database = self.database.take();
        let _ = catch(move || drop(database));
    }
}

impl std::fmt::Debug for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checked").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Turns a panic of the database into an error. Only this function catches panics; the database is not used afterwards.
fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref().copied()).unwrap_or("the database panicked").to_owned()
    })
}

/// Whether a database is empty or has at least one of these tables.
fn is_own(database: &Database, tables: &[&str]) -> Result<bool, redb::Error> {
    let found: Vec<_> = database.begin_read()?.list_tables()?.collect();
    Ok(found.is_empty() || found.iter().any(|table| tables.contains(&table.name())))
}

fn database_error(path: &Path, doing: &'static str, source: redb::Error) -> CursorStoreError {
    CursorStoreError::Database { path: path.to_owned(), doing, source: Box::new(source) }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
