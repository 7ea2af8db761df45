//! A queue's cursor: which records were dealt with, and which were read and must still be delivered.
//!
//! The hub keeps no position for a reader, only whether a message was accepted. So the cursor says which records the
//! engine is done with, and the next poll accepts the message. The cursor also holds the records that had no room in
//! the page: the hub delivers a message only a limited number of times, even if an engine takes few records at once.

use std::collections::{HashSet, VecDeque};

use serde_json::Value;

use super::record::{Hash, Record};
use crate::bindings::workflow::connector::types::Cursor;
use crate::error::Result;
use crate::json;
use crate::triggers::shared::cursor_bytes::CursorReader;

/// The number of the cursor's form. A new form gets a new number. The first number differs from those of the other
/// triggers' cursors.
const FORMAT: u8 = 0x61;
/// Names this cursor in the detail of errors.
const WHAT: &str = "cursor of a queue";
/// The largest number of remembered records: several pages, because a message is accepted one poll after its records
/// were delivered.
const MOST_DEALT_WITH: usize = 1_024;

/// All that a poll needs to continue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Position {
    /// A hash of the queue, the hub and the trigger.
    pub scope: [u8; 8],
    /// Records before this time are passed over, in milliseconds since the Unix epoch.
    pub since: i64,
    /// Hashes of the records that were delivered, held back or passed over, the newest last.
    dealt_with: VecDeque<Hash>,
    /// Records that were read and are not delivered yet.
    pub pending: Vec<Record>,
}

impl Position {
    /// A position with no record dealt with.
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

    /// The hashes of the records that the engine is done with or has in its cursor.
    pub fn committed(&self) -> HashSet<Hash> {
        self.dealt_with.iter().copied().chain(self.pending.iter().map(Record::hash)).collect()
    }

    /// A cursor for this position, with no event after it.
    pub fn cursor(&self) -> Cursor {
        let mut snapshot = vec![FORMAT];
        let count = u16::try_from(self.dealt_with.len()).unwrap_or(u16::MAX);
        snapshot.extend(count.to_le_bytes());
        self.dealt_with.iter().take(usize::from(count)).for_each(|hash| snapshot.extend(hash));
        let pending: Vec<&Value> = self.pending.iter().map(Record::value).collect();
        snapshot.extend(Value::from_iter(pending.into_iter().cloned()).to_string().into_bytes());
        Cursor { snapshot, position: self.head() }
    }

    /// The beginning of an event's position: the values that the engine's stored snapshot may lack.
    pub fn head(&self) -> Vec<u8> {
        let mut position = vec![FORMAT];
        position.extend(self.scope);
        position.extend(self.since.to_le_bytes());
        position
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// `invalid-input` where these bytes are not a cursor of a queue trigger; `unsupported` where their form is newer
    /// than this version.
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
