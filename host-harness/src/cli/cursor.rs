//! The file that keeps the cursors of a trigger, one for each partition.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use connector_host::interface::metadata::{Stored, StoredCursor};
use connector_host::interface::types::Cursor;
use connector_host::{Connector, Tenant};
use serde::{Deserialize, Serialize};

use super::{Done, Exit, files, schema, usage};

/// What is in the file. Connector version and revision let a newer connector read it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    connector: String,
    version: String,
    trigger: String,
    revision: u32,
    partitions: BTreeMap<String, Cursor>,
}

/// The cursors of one trigger, kept in a file or, without one, in memory.
pub(crate) struct CursorFile {
    path: Option<PathBuf>,
    content: Content,
}

impl CursorFile {
    /// Reads the file where it exists, and has cursors of an older version of the connector migrated.
    pub(crate) async fn open(path: Option<&Path>, connector: &Connector, tenant: &Tenant, trigger: &str) -> Done<Self> {
        let descriptor = connector.descriptor();
        let operation =
            schema::operation(descriptor, trigger).ok_or_else(|| usage(anyhow!("there is no trigger `{trigger}`")))?;
        let mut content = Content {
            connector: descriptor.id.clone(),
            version: descriptor.version.clone(),
            trigger: trigger.to_owned(),
            revision: operation.revision,
            partitions: BTreeMap::new(),
        };
        if let Some(path) = path.filter(|path| path.exists()) {
            let stored = read(path).map_err(usage)?;
            if (&stored.connector, &stored.trigger) != (&content.connector, &content.trigger) {
                return Err(usage(anyhow!(
                    "{} holds cursors of {} {}",
                    path.display(),
                    stored.connector,
                    stored.trigger
                )));
            }
            let current = stored.version == content.version && stored.revision == content.revision;
            for (partition, cursor) in stored.partitions {
                let cursor = if current {
                    cursor
                } else {
                    let item =
                        StoredCursor { trigger: stored.trigger.clone(), revision: stored.revision, value: cursor };
                    match connector.migrate(tenant, &stored.version, Stored::Cursor(item)).await? {
                        Stored::Cursor(migrated) => migrated.value,
                        _ => return Err(Exit::Failed(anyhow!("the connector migrated a cursor to something else"))),
                    }
                };
                content.partitions.insert(partition, cursor);
            }
        }
        Ok(Self { path: path.map(Path::to_owned), content })
    }

    /// Where the partition goes on.
    pub(crate) fn get(&self, partition: &str) -> Option<&Cursor> {
        self.content.partitions.get(partition)
    }

    /// Remembers where the partition goes on, on disk before it returns.
    pub(crate) fn commit(&mut self, partition: &str, cursor: Cursor) -> Done {
        self.content.partitions.insert(partition.to_owned(), cursor);
        let Some(path) = &self.path else { return Ok(()) };
        let text = serde_json::to_vec_pretty(&self.content).map_err(|error| Exit::Failed(error.into()))?;
        files::write_atomically(path, &text).map_err(Exit::Failed)
    }
}

fn read(path: &Path) -> anyhow::Result<Content> {
    let text = files::read_text(path)?;
    if text.trim().is_empty() {
        bail!("{} is empty; delete it to begin anew", path.display());
    }
    serde_json::from_str(&text).with_context(|| format!("{} is no cursor file", path.display()))
}
