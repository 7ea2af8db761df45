//! Cursors of triggers on disk: [`CursorStore`].

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, TableDefinition, TableError};

use crate::interface::types::Cursor;

/// Connector, trigger and partition.
type Key = (&'static str, &'static str, &'static str);

const POSITIONS: TableDefinition<Key, &[u8]> = TableDefinition::new("positions");
const SNAPSHOTS: TableDefinition<Key, &[u8]> = TableDefinition::new("snapshots");

/// By connector and trigger: the connector's version and the trigger's revision that wrote the cursors, so that a newer
/// connector can read them.
const WRITERS: TableDefinition<(&str, &str), (&str, u32)> = TableDefinition::new("writers");

/// Why a [`CursorStore`] does not open, read or write.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CursorStoreError {
    /// The file cannot be opened or read.
    #[error("{} cannot be opened: {source}", path.display())]
    File {
        /// The database's file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file holds something else; it is left as it is.
    #[error("{} is no database of cursors; name another file, or delete it to begin anew", .0.display())]
    Foreign(PathBuf),
    /// Another process has it open.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The database could not be used.
    #[error("the cursors cannot be {doing}: {source}")]
    Database {
        /// `opened`, `read` or `written`.
        doing: &'static str,
        /// What the database said.
        source: Box<redb::Error>,
    },
}

/// What is stored for one trigger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredCursors {
    /// The connector's version and the trigger's revision that wrote the cursors. Where they are not those of now, the
    /// cursors go through [`Connector::migrate`](crate::Connector::migrate) first.
    pub writer: Option<(String, u32)>,
    /// The cursors, by partition.
    pub partitions: BTreeMap<String, Cursor>,
}

/// A database of cursors, one for each partition of each trigger. One process at a time uses it.
///
/// A commit is on disk before it returns, and a crash leaves either the cursor before it or the one after it. The large
/// part of a cursor, its snapshot, changes once a page and is written only then. Calls block for as long as the disk
/// takes, some milliseconds.
#[derive(Debug)]
pub struct CursorStore {
    database: Database,
}

impl CursorStore {
    /// Opens or makes a database that its owner alone can read.
    ///
    /// # Errors
    ///
    /// [`CursorStoreError`].
    pub fn open(path: &Path) -> Result<Self, CursorStoreError> {
        let failed = |source| CursorStoreError::File { path: path.to_owned(), source };
        let mut file = open(path).map_err(failed)?;
        // What is something else must not be taken for a damaged database, and repaired.
        let mut magic = Vec::new();
        (&mut file).take(4).read_to_end(&mut magic).map_err(failed)?;
        if !magic.is_empty() && magic != b"redb" {
            return Err(CursorStoreError::Foreign(path.to_owned()));
        }
        file.rewind().map_err(failed)?;
        match FileBackend::new(file).and_then(|file| Builder::new().create_with_backend(file)) {
            Ok(database) => Ok(Self { database }),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(CursorStoreError::InUse(path.to_owned())),
            Err(error) => Err(database_error("opened")(error.into())),
        }
    }

    /// Everything that is stored for one trigger.
    ///
    /// # Errors
    ///
    /// [`CursorStoreError::Database`].
    pub fn read(&self, connector: &str, trigger: &str) -> Result<StoredCursors, CursorStoreError> {
        let read = || -> Result<StoredCursors, redb::Error> {
            let transaction = self.database.begin_read()?;
            let mut stored = StoredCursors::default();
            let writers = match transaction.open_table(WRITERS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(stored),
                writers => writers?,
            };
            let positions = transaction.open_table(POSITIONS)?;
            let snapshots = transaction.open_table(SNAPSHOTS)?;
            stored.writer = writers.get((connector, trigger))?.map(|writer| {
                let (version, revision) = writer.value();
                (version.to_owned(), revision)
            });
            for entry in positions.range((connector, trigger, "")..)? {
                let (key, position) = entry?;
                let (of, about, partition) = key.value();
                if (of, about) != (connector, trigger) {
                    break;
                }
                let snapshot = snapshots.get(key.value())?.map(|snapshot| snapshot.value().to_vec());
                let cursor = Cursor { snapshot: snapshot.unwrap_or_default(), position: position.value().to_vec() };
                stored.partitions.insert(partition.to_owned(), cursor);
            }
            Ok(stored)
        };
        read().map_err(database_error("read"))
    }

    /// Stores who writes the cursors from now on, and the cursors that this writer begins with.
    ///
    /// # Errors
    ///
    /// [`CursorStoreError::Database`].
    pub fn begin(
        &self,
        connector: &str,
        trigger: &str,
        writer: (&str, u32),
        partitions: &BTreeMap<String, Cursor>,
    ) -> Result<(), CursorStoreError> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                transaction.open_table(WRITERS)?.insert((connector, trigger), writer)?;
                let mut positions = transaction.open_table(POSITIONS)?;
                let mut snapshots = transaction.open_table(SNAPSHOTS)?;
                for (partition, cursor) in partitions {
                    let key = (connector, trigger, partition.as_str());
                    positions.insert(key, cursor.position.as_slice())?;
                    snapshots.insert(key, cursor.snapshot.as_slice())?;
                }
            }
            Ok(transaction.commit()?)
        };
        write().map_err(database_error("written"))
    }

    /// Stores where a partition goes on. `before` is what is stored now, if the caller knows it.
    ///
    /// # Errors
    ///
    /// [`CursorStoreError::Database`].
    pub fn commit(
        &self,
        connector: &str,
        trigger: &str,
        partition: &str,
        cursor: &Cursor,
        before: Option<&Cursor>,
    ) -> Result<(), CursorStoreError> {
        let snapshot = before.is_none_or(|before| before.snapshot != cursor.snapshot);
        let key = (connector, trigger, partition);
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(POSITIONS)?.insert(key, cursor.position.as_slice())?;
            if snapshot {
                transaction.open_table(SNAPSHOTS)?.insert(key, cursor.snapshot.as_slice())?;
            }
            Ok(transaction.commit()?)
        };
        write().map_err(database_error("written"))
    }
}

fn database_error(doing: &'static str) -> impl Fn(redb::Error) -> CursorStoreError {
    move |source| CursorStoreError::Database { doing, source: Box::new(source) }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

    use super::*;

    fn cursor(snapshot: &str, position: &str) -> Cursor {
        Cursor { snapshot: snapshot.as_bytes().to_vec(), position: position.as_bytes().to_vec() }
    }

    #[test]
    fn what_was_committed_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursors");
        let first = CursorStore::open(&path).unwrap();
        assert_eq!(first.read("c", "a").unwrap(), StoredCursors::default());
        first.begin("c", "a", ("1.0.0", 1), &BTreeMap::new()).unwrap();
        first.commit("c", "a", "0", &cursor("s", "1"), None).unwrap();
        first.commit("c", "a", "0", &cursor("s", "2"), Some(&cursor("s", "1"))).unwrap();
        first.commit("c", "a", "1", &cursor("t", "3"), None).unwrap();
        // Other triggers, the next one in order among them, have cursors of their own.
        first.begin("c", "b", ("1.0.0", 7), &BTreeMap::from([("0".to_owned(), cursor("", "9"))])).unwrap();
        drop(first);
        let again = CursorStore::open(&path).unwrap();
        let stored = again.read("c", "a").unwrap();
        let expected = [("0".to_owned(), cursor("s", "2")), ("1".to_owned(), cursor("t", "3"))];
        assert_eq!(stored.partitions, BTreeMap::from(expected));
        assert_eq!(stored.writer, Some(("1.0.0".to_owned(), 1)));
        assert_eq!(again.read("c", "b").unwrap().writer, Some(("1.0.0".to_owned(), 7)));
    }

    #[test]
    fn one_process_at_a_time_and_no_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursors");
        let _held = CursorStore::open(&path).unwrap();
        assert!(matches!(CursorStore::open(&path), Err(CursorStoreError::InUse(_))));
        let path = folder.path().join("other");
        std::fs::write(&path, r#"{"connector": "c"}"#).unwrap();
        let error = CursorStore::open(&path).unwrap_err();
        assert!(error.to_string().contains("no database"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), br#"{"connector": "c"}"#);
    }
}
