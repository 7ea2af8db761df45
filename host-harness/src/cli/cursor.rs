//! The database that keeps the cursors of triggers, one for each partition.
//!
//! A commit is on disk before it returns, and a crash leaves either the cursor before it or the one after it. The large
//! part of a cursor, its snapshot, changes once a page and is written only then.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use connector_host::interface::metadata::{Stored, StoredCursor};
use connector_host::interface::types::Cursor;
use connector_host::{Connector, Tenant};
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, TableDefinition, TableError};

use super::{Done, Exit, schema, usage};

/// Connector, trigger and partition.
type Key = (&'static str, &'static str, &'static str);

const POSITIONS: TableDefinition<Key, &[u8]> = TableDefinition::new("positions");
const SNAPSHOTS: TableDefinition<Key, &[u8]> = TableDefinition::new("snapshots");

/// By connector and trigger: the connector's version and the trigger's revision that wrote the cursors, so that a newer
/// connector can read them.
const WRITERS: TableDefinition<(&str, &str), (&str, u32)> = TableDefinition::new("writers");

/// The cursors of one trigger, kept in a database or, without one, in memory. One database can keep those of many
/// triggers; one process at a time uses it.
pub(crate) struct Cursors {
    database: Option<Database>,
    connector: String,
    trigger: String,
    partitions: BTreeMap<String, Cursor>,
}

impl Cursors {
    /// Reads the database where it exists, and has cursors of an older version of the connector migrated.
    pub(crate) async fn open(path: Option<&Path>, connector: &Connector, tenant: &Tenant, trigger: &str) -> Done<Self> {
        let descriptor = connector.descriptor();
        let operation =
            schema::operation(descriptor, trigger).ok_or_else(|| usage(anyhow!("there is no trigger `{trigger}`")))?;
        let mut cursors = Self {
            database: path.map(database).transpose().map_err(usage)?,
            connector: descriptor.id.clone(),
            trigger: trigger.to_owned(),
            partitions: BTreeMap::new(),
        };
        let stored = cursors.read().map_err(Exit::Failed)?;
        let writer = (descriptor.version.as_str(), operation.revision);
        match stored.writer {
            Some((version, revision)) if (version.as_str(), revision) != writer => {
                for (partition, value) in stored.partitions {
                    let item = StoredCursor { trigger: trigger.to_owned(), revision, value };
                    let migrated = match connector.migrate(tenant, &version, Stored::Cursor(item)).await? {
                        Stored::Cursor(migrated) => migrated.value,
                        _ => return Err(Exit::Failed(anyhow!("the connector migrated a cursor to something else"))),
                    };
                    cursors.partitions.insert(partition, migrated);
                }
            }
            _ => cursors.partitions = stored.partitions,
        }
        cursors.write_all(writer).map_err(Exit::Failed)?;
        Ok(cursors)
    }

    /// Where the partition goes on.
    pub(crate) fn get(&self, partition: &str) -> Option<&Cursor> {
        self.partitions.get(partition)
    }

    /// Remembers where the partition goes on, on disk before it returns.
    pub(crate) fn commit(&mut self, partition: &str, cursor: Cursor) -> Done {
        let before = self.partitions.get(partition);
        if before == Some(&cursor) {
            return Ok(());
        }
        let snapshot = before.is_none_or(|before| before.snapshot != cursor.snapshot);
        if let Some(database) = &self.database {
            let key = (self.connector.as_str(), self.trigger.as_str(), partition);
            let write = || -> Result<(), redb::Error> {
                let transaction = database.begin_write()?;
                transaction.open_table(POSITIONS)?.insert(key, cursor.position.as_slice())?;
                if snapshot {
                    transaction.open_table(SNAPSHOTS)?.insert(key, cursor.snapshot.as_slice())?;
                }
                Ok(transaction.commit()?)
            };
            write().context("the cursor cannot be written").map_err(Exit::Failed)?;
        }
        self.partitions.insert(partition.to_owned(), cursor);
        Ok(())
    }

    fn read(&self) -> anyhow::Result<Content> {
        let Some(database) = &self.database else { return Ok(Content::default()) };
        let read = || -> Result<Content, redb::Error> {
            let transaction = database.begin_read()?;
            let mut content = Content::default();
            let (connector, trigger) = (self.connector.as_str(), self.trigger.as_str());
            let writers = match transaction.open_table(WRITERS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(content),
                writers => writers?,
            };
            let positions = transaction.open_table(POSITIONS)?;
            let snapshots = transaction.open_table(SNAPSHOTS)?;
            content.writer = writers.get((connector, trigger))?.map(|writer| {
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
                content.partitions.insert(partition.to_owned(), cursor);
            }
            Ok(content)
        };
        read().context("the cursors cannot be read")
    }

    fn write_all(&self, writer: (&str, u32)) -> anyhow::Result<()> {
        let Some(database) = &self.database else { return Ok(()) };
        let write = || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            {
                transaction.open_table(WRITERS)?.insert((self.connector.as_str(), self.trigger.as_str()), writer)?;
                let mut positions = transaction.open_table(POSITIONS)?;
                let mut snapshots = transaction.open_table(SNAPSHOTS)?;
                for (partition, cursor) in &self.partitions {
                    let key = (self.connector.as_str(), self.trigger.as_str(), partition.as_str());
                    positions.insert(key, cursor.position.as_slice())?;
                    snapshots.insert(key, cursor.snapshot.as_slice())?;
                }
            }
            Ok(transaction.commit()?)
        };
        write().context("the cursors cannot be written")
    }
}

/// What a database holds about one trigger.
#[derive(Default)]
struct Content {
    writer: Option<(String, u32)>,
    partitions: BTreeMap<String, Cursor>,
}

/// Opens or makes a database that its owner alone can read.
fn database(path: &Path) -> anyhow::Result<Database> {
    let shown = path.display();
    let mut file = open(path).with_context(|| format!("{shown} cannot be opened"))?;
    // What is something else must not be taken for a damaged database, and repaired.
    let mut magic = Vec::new();
    (&mut file).take(4).read_to_end(&mut magic).with_context(|| format!("{shown} cannot be read"))?;
    if !magic.is_empty() && magic != b"redb" {
        bail!("{shown} is no database of cursors; name another file, or delete it to begin anew");
    }
    file.rewind()?;
    match FileBackend::new(file).and_then(|file| Builder::new().create_with_backend(file)) {
        Err(DatabaseError::DatabaseAlreadyOpen) => bail!("{shown} is in use by another process"),
        opened => opened.with_context(|| format!("{shown} cannot be used")),
    }
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
    use super::*;

    fn cursors(path: &Path, trigger: &str) -> Cursors {
        let mut cursors = Cursors {
            database: Some(database(path).unwrap()),
            connector: "c".to_owned(),
            trigger: trigger.to_owned(),
            partitions: BTreeMap::new(),
        };
        cursors.partitions = cursors.read().unwrap().partitions;
        cursors.write_all(("1.0.0", 1)).unwrap();
        cursors
    }

    fn cursor(snapshot: &str, position: &str) -> Cursor {
        Cursor { snapshot: snapshot.as_bytes().to_vec(), position: position.as_bytes().to_vec() }
    }

    #[test]
    fn what_was_committed_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursors");
        let mut first = cursors(&path, "a");
        first.commit("0", cursor("s", "1")).unwrap();
        first.commit("0", cursor("s", "2")).unwrap();
        first.commit("1", cursor("t", "3")).unwrap();
        drop(first);
        // Other triggers, the next one in order among them, have cursors of their own.
        let mut other = cursors(&path, "b");
        assert!(other.partitions.is_empty());
        other.commit("0", cursor("", "9")).unwrap();
        drop(other);
        let again = cursors(&path, "a");
        assert_eq!(again.get("0"), Some(&cursor("s", "2")));
        assert_eq!(again.get("1"), Some(&cursor("t", "3")));
        assert_eq!(again.partitions.len(), 2);
        assert_eq!(again.read().unwrap().writer, Some(("1.0.0".to_owned(), 1)));
    }

    #[test]
    fn one_process_at_a_time_and_no_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursors");
        let _held = cursors(&path, "a");
        let error = database(&path).unwrap_err();
        assert!(error.to_string().contains("in use"), "{error}");
        let path = folder.path().join("other");
        std::fs::write(&path, r#"{"connector": "c"}"#).unwrap();
        let error = database(&path).unwrap_err();
        assert!(error.to_string().contains("no database"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), br#"{"connector": "c"}"#);
    }
}
