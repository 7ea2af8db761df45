//! What a cursor knows of a queue: which records were dealt with, and which were read and are still to be delivered.
//!
//! The hub keeps no position for a reader, only whether a message is done. So the cursor says which records the engine is
//! done with, and the next poll accepts the message at the hub. What a page had no room for is in the cursor as well: the hub gives a
//! message so many times and no more, however few records an engine takes at once.

use std::collections::{HashSet, VecDeque};

use serde_json::Value;

use super::record::{Hash, Record};
use crate::bindings::workflow::connector::types::Cursor;
use crate::error::Result;
use crate::json;
use crate::triggers::shared::cursor_bytes::CursorReader;

/// The form; a new form gets a new number. The first numbers are those of the other triggers' cursors.
const FORMAT: u8 = 0x61;
/// Named in the detail of errors.
const WHAT: &str = "cursor of a queue";
/// Records dealt with that are remembered: several pages of them, while a message is done one poll after its records.
const MOST_DEALT_WITH: usize = 1_024;

/// All that a poll goes on from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Position {
    /// A hash of what is read, and where.
    pub scope: [u8; 8],
    /// Records from before are passed over: milliseconds since the Unix epoch.
    pub since: i64,
    /// Records that were delivered, held back or passed over, the newest last.
    dealt_with: VecDeque<Hash>,
    /// Records that were read and not delivered yet.
    pub pending: Vec<Record>,
}

impl Position {
    /// Nothing dealt with yet.
    pub fn new(scope: [u8; 8], since: i64) -> Self {
        Self { scope, since, ..Self::default() }
    }

    /// Notes that a record was dealt with.
    pub fn note(&mut self, hash: Hash) {
        if self.dealt_with.len() >= MOST_DEALT_WITH {
            self.dealt_with.pop_front();
        }
        self.dealt_with.push_back(hash);
    }

    /// The records that are the cursor's: the engine is done with them, or has them in its cursor.
    pub fn committed(&self) -> HashSet<Hash> {
        self.dealt_with.iter().copied().chain(self.pending.iter().map(Record::hash)).collect()
    }

    /// As a cursor after which nothing was delivered.
    pub fn cursor(&self) -> Cursor {
        let mut snapshot = vec![FORMAT];
        let count = u16::try_from(self.dealt_with.len()).unwrap_or(u16::MAX);
        snapshot.extend(count.to_le_bytes());
        self.dealt_with.iter().take(usize::from(count)).for_each(|hash| snapshot.extend(hash));
        let pending: Vec<&Value> = self.pending.iter().map(Record::value).collect();
        snapshot.extend(Value::from_iter(pending.into_iter().cloned()).to_string().into_bytes());
        Cursor { snapshot, position: self.head() }
    }

    /// What begins the position of an event: what the snapshot may be lacking.
    pub fn head(&self) -> Vec<u8> {
        let mut position = vec![FORMAT];
        position.extend(self.scope);
        position.extend(self.since.to_le_bytes());
        position
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// `invalid-input` where it is none of these triggers', `unsupported` where it is of a newer form.
    pub fn read(cursor: &Cursor) -> Result<Self> {
        let mut reader = CursorReader::new(&cursor.position, WHAT);
        reader.format(&(FORMAT..=FORMAT))?;
        let mut position = Self::new(reader.array()?, i64::from_le_bytes(reader.array()?));
        if !cursor.snapshot.is_empty() {
            position.read_snapshot(&cursor.snapshot)?;
        }
        let (delivered, rest) = reader.rest().as_chunks::<8>();
        if !rest.is_empty() {
            return Err(reader.broken());
        }
        let done: HashSet<Hash> = delivered.iter().copied().collect();
        position.pending.retain(|record| !done.contains(&record.hash()));
        delivered.iter().for_each(|hash| position.note(*hash));
        Ok(position)
    }

    fn read_snapshot(&mut self, snapshot: &[u8]) -> Result<()> {
        let mut reader = CursorReader::new(snapshot, WHAT);
        reader.format(&(FORMAT..=FORMAT))?;
        let count = u16::from_le_bytes(reader.array()?);
        for _ in 0..count {
            self.note(reader.array()?);
        }
        let Ok(Value::Array(pending)) = json::parse(reader.rest()) else { return Err(reader.broken()) };
        self.pending = pending.into_iter().map(Record::new).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorCode;

    fn position() -> Position {
        let mut position = Position::new([3; 8], 1_700_000_000_000);
        (0..5).for_each(|n| position.note([n; 8]));
        position.pending = vec![Record::new(json!({ "deviceId": "ä" })), Record::new(json!({ "deviceId": "b" }))];
        position
    }

    #[test]
    fn survives_and_refuses() {
        let position = position();
        let cursor = position.cursor();
        assert_eq!(Position::read(&cursor), Ok(position));
        let read = |snapshot: &[u8], position: &[u8]| {
            Position::read(&Cursor { snapshot: snapshot.to_vec(), position: position.to_vec() })
        };
        for cut in 1..cursor.snapshot.len() {
            assert!(read(&cursor.snapshot[..cut], &cursor.position).is_err(), "{cut}");
        }
        for cut in 0..cursor.position.len() {
            assert!(read(&cursor.snapshot, &cursor.position[..cut]).is_err(), "{cut}");
        }
        assert!(read(&[], &[&cursor.position[..], &[1, 2, 3]].concat()).is_err(), "half a hash");
        assert_eq!(read(&[], &[0x62; 40]).expect_err("newer").code(), ErrorCode::Unsupported);
        assert_eq!(read(&[], &[0x41; 40]).expect_err("another trigger's").code(), ErrorCode::InvalidInput);
    }

    #[test]
    fn what_was_delivered_after_the_snapshot_is_pending_no_more() {
        let before = position();
        let first = before.pending[0].hash();
        let mut cursor = before.cursor();
        cursor.position.extend(first);
        let after = Position::read(&cursor).expect("readable");
        assert_eq!(after.pending, before.pending[1..]);
        assert!(after.committed().contains(&first));
        assert_eq!(after.committed().len(), 7);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut position = Position::new([0; 8], 0);
        (0..3_000_u64).for_each(|n| position.note(n.to_le_bytes()));
        let committed = Position::read(&position.cursor()).expect("readable").committed();
        assert_eq!(committed.len(), MOST_DEALT_WITH);
        assert!(committed.contains(&2_999_u64.to_le_bytes()) && !committed.contains(&0_u64.to_le_bytes()));
    }
}
