//! What an engine keeps on disk: the cursor of each partition, and the events that were parked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use connector_host::interface::types::Cursor;
use connector_host::{Connector, CursorStore};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::super::DemoError;
use super::rule::TRIGGER;

/// The dead letters as JSON, by event id.
const DEAD_LETTERS: TableDefinition<&str, &[u8]> = TableDefinition::new("dead-letters");

/// An event with an action that kept failing. It is put aside for a person, so that its partition can continue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The event's id.
    pub event: String,
    /// The device that the event is about.
    pub device_id: String,
    /// The temperature that the event states, in degrees Celsius.
    pub temperature: f64,
    /// The action that failed.
    pub action: String,
    /// How often the action was tried.
    pub tries: u32,
    /// The code of the last error.
    pub code: String,
    /// The last error, for a person.
    pub message: String,
}

/// The store of one trigger. Writes wait for the disk, on a thread for blocking work. Cheap to clone.
#[derive(Clone)]
pub(super) struct Store {
    cursors: Arc<CursorStore>,
    dead_letters: Arc<Database>,
    connector: String,
}

impl Store {
    /// Opens the two databases in a folder, or creates them.
    pub(super) fn open(folder: &Path, connector: &Connector) -> Result<Self, DemoError> {
        let descriptor = connector.descriptor();
        let cursors = CursorStore::open(&folder.join("cursors.redb"))?;
        let revision = descriptor.triggers.iter().find(|trigger| trigger.operation.id == TRIGGER);
        let writer = (descriptor.version.as_str(), revision.map_or(0, |trigger| trigger.operation.revision));
        cursors.begin(&descriptor.id, TRIGGER, writer, &BTreeMap::new())?;
        let dead_letters = Database::create(folder.join("dead-letters.redb")).map_err(unusable)?;
        Ok(Self { cursors: Arc::new(cursors), dead_letters: Arc::new(dead_letters), connector: descriptor.id.clone() })
    }

    /// The committed cursor of a partition.
    pub(super) async fn cursor(&self, partition: &str) -> Result<Option<Cursor>, DemoError> {
        let (store, partition) = (self.clone(), partition.to_owned());
        blocking(move || Ok(store.cursors.read(&store.connector, TRIGGER)?.partitions.remove(&partition))).await
    }

    /// Stores the cursor at which a partition continues.
    pub(super) async fn commit(
        &self,
        partition: &str,
        cursor: Cursor,
        before: Option<Cursor>,
    ) -> Result<(), DemoError> {
        let (store, partition) = (self.clone(), partition.to_owned());
        blocking(move || Ok(store.cursors.commit(&store.connector, TRIGGER, &partition, &cursor, before.as_ref())?))
            .await
    }

    /// Puts an event aside. After that, the cursor behind the event may be committed. Putting the same event aside
    /// again replaces its entry.
    pub(super) async fn park(&self, letter: DeadLetter) -> Result<(), DemoError> {
        let database = self.dead_letters.clone();
        blocking(move || {
            let text = serde_json::to_vec(&letter).map_err(unusable)?;
            let transaction = database.begin_write().map_err(unusable)?;
            {
                let mut table = transaction.open_table(DEAD_LETTERS).map_err(unusable)?;
                table.insert(letter.event.as_str(), text.as_slice()).map_err(unusable)?;
            }
            transaction.commit().map_err(unusable)
        })
        .await
    }

    /// All events that were put aside.
    pub(super) async fn dead_letters(&self) -> Result<Vec<DeadLetter>, DemoError> {
        let database = self.dead_letters.clone();
        blocking(move || {
            let table = match database.begin_read().map_err(unusable)?.open_table(DEAD_LETTERS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table.map_err(unusable)?,
            };
            let entries = table.iter().map_err(unusable)?;
            let letter = |entry: Result<(_, redb::AccessGuard<'_, &[u8]>), _>| {
                let (_, text) = entry.map_err(unusable)?;
                serde_json::from_slice(text.value()).map_err(unusable)
            };
            entries.map(letter).collect()
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DemoError> + Send + 'static,
) -> Result<T, DemoError> {
    spawn_blocking(work).await.map_err(unusable)?
}

fn unusable(error: impl ToString) -> DemoError {
    DemoError::Store(error.to_string())
}
