//! What a cursor knows of a queue: which records were told, and which were read and are still to be told.
//!
//! The hub keeps no position for a reader, only whether a message is done. So the cursor says which records the engine is
//! done with, and the next poll tells the hub. What a page had no room for is in the cursor as well: the hub gives a
//! message so many times and no more, however few records an engine takes at once.

use std::collections::{HashSet, VecDeque};

use serde_json::Value;

use super::record::{Hash, Record};
use crate::bindings::workflow::connector::types::Cursor;
use crate::error::{Error, ErrorCode, Result};
use crate::json;

/// The form; a new form gets a new number. The first numbers are those of the other triggers' cursors.
const FORMAT: u8 = 0x61;
/// Told records that are remembered: several pages of them, while a message is done one poll after it was told.
const MOST_TOLD: usize = 1_024;

/// All that a poll goes on from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Position {
    /// A hash of what is read, and where.
    pub scope: [u8; 8],
    /// Records from before are not told: milliseconds since the Unix epoch.
    pub since: i64,
    /// Records that were told, the newest last.
    told: VecDeque<Hash>,
    /// Records that were read and not told.
    pub pending: Vec<Record>,
}

impl Position {
    /// Nothing told yet.
    pub fn new(scope: [u8; 8], since: i64) -> Self {
        Self { scope, since, ..Self::default() }
    }

    /// Notes that a record was told.
    pub fn tell(&mut self, hash: Hash) {
        if self.told.len() >= MOST_TOLD {
            self.told.pop_front();
        }
        self.told.push_back(hash);
    }

    /// The records that are the cursor's: the engine is done with them, or has them in its cursor.
    pub fn committed(&self) -> HashSet<Hash> {
        self.told.iter().copied().chain(self.pending.iter().map(Record::hash)).collect()
    }

    /// As a cursor after which nothing was told.
    pub fn cursor(&self) -> Cursor {
        let mut snapshot = vec![FORMAT];
        let told = u16::try_from(self.told.len()).unwrap_or(u16::MAX);
        snapshot.extend(told.to_le_bytes());
        self.told.iter().take(usize::from(told)).for_each(|hash| snapshot.extend(hash));
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
        let mut rest = cursor.position.as_slice();
        format(&mut rest)?;
        let mut position = Self::new(take(&mut rest)?, i64::from_le_bytes(take(&mut rest)?));
        if !cursor.snapshot.is_empty() {
            position.read_snapshot(&cursor.snapshot)?;
        }
        let (told, rest) = rest.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(broken());
        }
        let done: HashSet<Hash> = told.iter().copied().collect();
        position.pending.retain(|record| !done.contains(&record.hash()));
        told.iter().for_each(|hash| position.tell(*hash));
        Ok(position)
    }

    fn read_snapshot(&mut self, mut rest: &[u8]) -> Result<()> {
        format(&mut rest)?;
        let count = u16::from_le_bytes(take(&mut rest)?);
        for _ in 0..count {
            self.tell(take(&mut rest)?);
        }
        let Ok(Value::Array(pending)) = json::parse(rest) else { return Err(broken()) };
        self.pending = pending.into_iter().map(Record::new).collect();
        Ok(())
    }
}

fn format(rest: &mut &[u8]) -> Result<()> {
    match take::<1>(rest)? {
        [FORMAT] => Ok(()),
        [newer] if newer > FORMAT => {
            Err(Error::new(ErrorCode::Unsupported, "The cursor was written by a newer version of this connector."))
        }
        _ => Err(broken()),
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or_else(broken)?;
    *rest = left;
    Ok(*taken)
}

fn broken() -> Error {
    Error::new(ErrorCode::InvalidInput, "The cursor is not one of this trigger's, or it was cut or changed.")
        .with_detail("cursor of a queue: not readable")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn position() -> Position {
        let mut position = Position::new([3; 8], 1_700_000_000_000);
        (0..5).for_each(|n| position.tell([n; 8]));
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
    fn what_was_told_after_the_snapshot_is_pending_no_more() {
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
        (0..3_000_u64).for_each(|n| position.tell(n.to_le_bytes()));
        let committed = Position::read(&position.cursor()).expect("readable").committed();
        assert_eq!(committed.len(), MOST_TOLD);
        assert!(committed.contains(&2_999_u64.to_le_bytes()) && !committed.contains(&0_u64.to_le_bytes()));
    }
}
