//! The cursors of the trigger that a command polls.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::anyhow;
use connector_host::interface::metadata::{Stored, StoredCursor};
use connector_host::interface::types::Cursor;
use connector_host::{Connector, CursorStore, CursorStoreError, StoredCursors, Tenant};

use super::{Done, Exit, schema, usage};

/// The cursors of one trigger, kept in a [`CursorStore`] or, without one, in memory.
pub(crate) struct Cursors {
    store: Option<CursorStore>,
    connector: String,
    trigger: String,
    partitions: BTreeMap<String, Cursor>,
}

impl Cursors {
    /// Opens the database if a path is given. The connector migrates cursors that another version of it, or another
    /// revision of the trigger, has written.
    pub(crate) async fn open(path: Option<&Path>, connector: &Connector, tenant: &Tenant, trigger: &str) -> Done<Self> {
        let descriptor = connector.descriptor();
        let operation =
            schema::operation(descriptor, trigger).ok_or_else(|| usage(anyhow!("there is no trigger `{trigger}`")))?;
        let store = path.map(CursorStore::open).transpose().map_err(usage)?;
        let StoredCursors { writer: stored, mut partitions, .. } = match &store {
            Some(store) => store.read(&descriptor.id, trigger)?,
            None => StoredCursors::default(),
        };
        let writer = (descriptor.version.as_str(), operation.revision);
        if let Some((version, revision)) = stored
            && (version.as_str(), revision) != writer
        {
            for value in partitions.values_mut() {
                let item = StoredCursor { trigger: trigger.to_owned(), revision, value: value.clone() };
                *value = match connector.migrate(tenant, &version, Stored::Cursor(item)).await? {
                    Stored::Cursor(migrated) => migrated.value,
                    _ => return Err(Exit::Failed(anyhow!("the connector migrated a cursor, but returned no cursor"))),
                };
            }
        }
        if let Some(store) = &store {
            store.begin(&descriptor.id, trigger, writer, &partitions)?;
        }
        Ok(Self { store, connector: descriptor.id.clone(), trigger: trigger.to_owned(), partitions })
    }

    /// The cursor at which the partition continues.
    pub(crate) fn get(&self, partition: &str) -> Option<&Cursor> {
        self.partitions.get(partition)
    }

    /// Remembers the cursor at which the partition continues. With a database, the cursor is on disk before this
    /// returns.
    pub(crate) fn commit(&mut self, partition: &str, cursor: Cursor) -> Done {
        let before = self.partitions.get(partition);
        if before == Some(&cursor) {
            return Ok(());
        }
        if let Some(store) = &self.store {
            store.commit(&self.connector, &self.trigger, partition, &cursor, before)?;
        }
        self.partitions.insert(partition.to_owned(), cursor);
        Ok(())
    }
}

impl From<CursorStoreError> for Exit {
    fn from(error: CursorStoreError) -> Self {
        Self::Failed(error.into())
    }
}
