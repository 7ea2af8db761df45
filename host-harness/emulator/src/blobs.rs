//! The storage account in which devices of the hub put files, and the uploads that are under way.
//!
//! The hub gives a device the right to write one blob, as a shared access signature. Here the signature is a random text
//! of the upload.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use time::{Duration, OffsetDateTime};

use crate::random;
use crate::sync::lock;

/// The container that the hub is linked to.
pub(crate) const CONTAINER: &str = "device-files";
/// How long a device may write its blob; the hub's default.
const LIFETIME: Duration = Duration::hours(1);
/// How many uploads of a device may be under way ("Upload files with IoT Hub").
const MOST_UPLOADS: usize = 10;

/// All blobs, each by its name, `{device}/{name}`.
#[derive(Default)]
pub(crate) struct Blobs {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    uploads: HashMap<String, Upload>,
    blobs: HashMap<String, Blob>,
}

/// The right to write a blob.
#[derive(Clone)]
pub(crate) struct Upload {
    /// The id by which the device tells the hub that it is done.
    pub(crate) correlation: String,
    pub(crate) device: String,
    /// The blob's name in the container.
    pub(crate) blob: String,
    /// The host that the device was told to write to.
    pub(crate) host: String,
    pub(crate) signature: String,
    pub(crate) expires: OffsetDateTime,
}

/// A blob, and the blocks that no list has put into it yet.
#[derive(Clone, Default)]
struct Blob {
    content: Option<Bytes>,
    blocks: HashMap<String, Bytes>,
}

impl Blobs {
    /// Begins an upload; `None` when too many are under way.
    pub(crate) fn begin(&self, device: &str, name: &str, host: &str, now: OffsetDateTime) -> Option<Upload> {
        let mut state = lock(&self.state);
        state.uploads.retain(|_, upload| upload.expires > now);
        if state.uploads.values().filter(|upload| upload.device == device).count() >= MOST_UPLOADS {
            return None;
        }
        let upload = Upload {
            correlation: random::uuid(),
            device: device.to_owned(),
            blob: format!("{device}/{name}"),
            host: host.to_owned(),
            signature: random::key(32),
            expires: now + LIFETIME,
        };
        state.uploads.insert(upload.correlation.clone(), upload.clone());
        Some(upload)
    }

    /// Ends an upload of the device. Returns it with the size of the blob, if there is one.
    pub(crate) fn end(&self, device: &str, correlation: &str) -> Option<(Upload, Option<u64>)> {
        let mut state = lock(&self.state);
        if state.uploads.get(correlation).is_none_or(|upload| upload.device != device) {
            return None;
        }
        let upload = state.uploads.remove(correlation)?;
        let content = state.blobs.get(&upload.blob).and_then(|blob| blob.content.as_ref());
        let size = content.map(|content| content.len() as u64);
        Some((upload, size))
    }

    /// Whether a signature gives the right to the blob.
    pub(crate) fn permits(&self, blob: &str, signature: &str, now: OffsetDateTime) -> bool {
        let state = lock(&self.state);
        state.uploads.values().any(|it| it.blob == blob && it.signature == signature && it.expires > now)
    }

    /// Writes a whole blob.
    pub(crate) fn write(&self, blob: &str, content: Bytes) {
        lock(&self.state).blobs.entry(blob.to_owned()).or_default().content = Some(content);
    }

    /// Keeps a block for a list of blocks.
    pub(crate) fn add_block(&self, blob: &str, id: &str, content: Bytes) {
        lock(&self.state).blobs.entry(blob.to_owned()).or_default().blocks.insert(id.to_owned(), content);
    }

    /// Makes the blob of its blocks. Returns false when a block is missing.
    pub(crate) fn join_blocks(&self, blob: &str, ids: &[String]) -> bool {
        let mut state = lock(&self.state);
        let blob = state.blobs.entry(blob.to_owned()).or_default();
        let blocks: Option<Vec<Bytes>> = ids.iter().map(|id| blob.blocks.get(id).cloned()).collect();
        let Some(blocks) = blocks else { return false };
        blob.content = Some(blocks.concat().into());
        blob.blocks.clear();
        true
    }

    /// The content of a blob.
    pub(crate) fn read(&self, blob: &str) -> Option<Bytes> {
        lock(&self.state).blobs.get(blob)?.content.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_a_blob() {
        let (blobs, now) = (Blobs::default(), OffsetDateTime::UNIX_EPOCH);
        let upload = blobs.begin("d", "a/b", "h", now).expect("an upload");
        assert!(blobs.permits("d/a/b", &upload.signature, now));
        assert!(!blobs.permits("d/c", &upload.signature, now) && !blobs.permits("d/a/b", "x", now));
        assert!(!blobs.permits("d/a/b", &upload.signature, upload.expires));
        blobs.add_block("d/a/b", "2", "two".into());
        blobs.add_block("d/a/b", "1", "one".into());
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        assert!(!blobs.join_blocks("d/a/b", &ids(&["1", "3"])));
        assert!(blobs.join_blocks("d/a/b", &ids(&["1", "2"])));
        assert_eq!(blobs.read("d/a/b"), Some("onetwo".into()));
        assert!(blobs.end("e", &upload.correlation).is_none());
        assert_eq!(blobs.end("d", &upload.correlation).and_then(|(_, size)| size), Some(6));
        assert!(blobs.end("d", &upload.correlation).is_none());
        for _ in 0..MOST_UPLOADS {
            assert!(blobs.begin("d", "x", "h", now).is_some());
        }
        assert!(blobs.begin("d", "x", "h", now).is_none());
    }
}
