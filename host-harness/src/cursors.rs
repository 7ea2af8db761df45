//! Stores the cursors of triggers on disk: [`CursorStore`].

mod checked;
#[cfg(test)]
mod damage;
mod error;
mod held;

use std::collections::BTreeMap;
use std::path::Path;

use redb::{ReadableDatabase as _, TableDefinition, TableError};

pub(crate) use self::checked::Checked;
pub use self::error::CursorStoreError;
use crate::interface::types::Cursor;

/// The ids of connector, trigger and partition.
type Key = (&'static str, &'static str, &'static str);

const TABLES: [&str; 3] = ["positions", "snapshots", "writers"];
const POSITIONS: TableDefinition<Key, &[u8]> = TableDefinition::new(TABLES[0]);
const SNAPSHOTS: TableDefinition<Key, &[u8]> = TableDefinition::new(TABLES[1]);

/// For each connector and trigger: the connector's version and the trigger's revision with which the cursors were
/// stored. A newer connector needs them to migrate the cursors.
const WRITERS: TableDefinition<(&str, &str), (&str, u32)> = TableDefinition::new(TABLES[2]);

/// The stored cursors of one trigger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredCursors {
    /// The connector's version and the trigger's revision with which the cursors were stored. If either differs from
    /// the current one, the cursors must be converted with [`Connector::migrate`](crate::Connector::migrate) first.
    pub writer: Option<(String, u32)>,
    /// The cursors, by partition.
    pub partitions: BTreeMap<String, Cursor>,
}

/// A database that holds one cursor for each partition of each trigger. Only one process at a time can open it.
///
/// [`Self::commit`] returns after the cursor is on disk; after a crash, either this cursor or the previous one is
/// stored. A cursor's snapshot may be large but changes only once per page, and it is written only then. Each function
/// blocks while the disk works, for some milliseconds.
#[derive(Debug)]
pub struct CursorStore {
    database: Checked,
}

impl CursorStore {
    /// Opens a database, or creates one that only its owner can read. The whole file is read and checked first; nothing
    /// is written to a damaged file.
    ///
    /// # Errors
    ///
    /// [`CursorStoreError`]. The file is then unchanged.
    pub fn open(path: &Path) -> Result<Self, CursorStoreError> {
        Ok(Self { database: Checked::open(path, &TABLES)? })
    }

    /// Reads the stored cursors of one trigger, and the versions that wrote them.
    ///
    /// # Errors
    ///
    /// [`CursorStoreError::Database`] or [`CursorStoreError::Damaged`].
    pub fn read(&self, connector: &str, trigger: &str) -> Result<StoredCursors, CursorStoreError> {
        self.database.run("read", |database| {
            let transaction = database.begin_read()?;
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
        })
    }

    /// Stores the versions with which cursors are written from now on, and the first cursors.
    ///
    /// # Errors
    ///
    /// [`CursorStoreError::Database`] or [`CursorStoreError::Damaged`].
    pub fn begin(
        &self,
        connector: &str,
        trigger: &str,
        writer: (&str, u32),
        partitions: &BTreeMap<String, Cursor>,
    ) -> Result<(), CursorStoreError> {
        self.database.run("written", |database| {
            let transaction = database.begin_write()?;
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
        })
    }

    /// Stores the cursor with which a partition continues. `before` is the cursor that is stored now, if the caller
    /// knows it.
    ///
    /// # Errors
    ///
    /// [`CursorStoreError::Database`] or [`CursorStoreError::Damaged`].
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
        self.database.run("written", |database| {
            let transaction = database.begin_write()?;
            transaction.open_table(POSITIONS)?.insert(key, cursor.position.as_slice())?;
            if snapshot {
                transaction.open_table(SNAPSHOTS)?.insert(key, cursor.snapshot.as_slice())?;
            }
            Ok(transaction.commit()?)
        })
    }
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
        // Other triggers have their own cursors; trigger `b` is the next one in the database's order.
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
        assert!(error.to_string().contains("not a database"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), br#"{"connector": "c"}"#);
    }
}
