//! The position of a reader in the hub's log: a place in each partition that is read.
//!
//! A place keeps both the offset and the sequence number of an event. Reading continues at the offset, which is opaque;
//! the sequence number shows how many events were lost. The position also keeps the log's identity: a hub that was
//! created again, or has another number of partitions, uses the same numbers for other events.

use crate::bindings::workflow::connector::types::Cursor;
use crate::error::Result;
use crate::triggers::shared::cursor_bytes::{CursorReader, put_bytes, put_number, put_signed};

/// The number of the position's form. A new form gets a new number. The first number differs from those of collection
/// cursors.
const FORMAT: u8 = 0x41;
/// Names this cursor in the detail of errors.
const WHAT: &str = "cursor of a log";
const LONGEST_OFFSET: usize = 256;
/// The largest number of places. It is more than any hub has (32; dedicated Event Hubs clusters: 1024).
const MOST_PLACES: u64 = 4_096;

/// Identifies the log that a position belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A hash of the hub, the trigger and the partition.
    pub scope: [u8; 8],
    /// When the log was created, in milliseconds since the Unix epoch. 0 where the time is not known.
    pub created: i64,
    /// How many partitions the log has.
    pub partitions: u16,
}

/// Where a reader is in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before the oldest event: the partition was empty when the reader began, or the reader wants all events.
    Beginning,
    /// Before the first event that was enqueued at this time or later, in milliseconds since the Unix epoch.
    Since(i64),
    /// After the event with this sequence number. Its offset is not known.
    AfterNumber(i64),
    After {
        /// The event's sequence number.
        sequence: i64,
        /// The event's offset, which is opaque.
        offset: String,
    },
}

/// The position of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The log that the position belongs to.
    pub identity: Identity,
    /// The place in each partition, in the order of the partitions.
    pub places: Vec<Place>,
    /// The index of the partition that is read first in the next poll, so that every partition has its turn even with
    /// small pages.
    pub turn: usize,
}

/// The numbers for the kinds of places in a cursor. IoT Hub's offsets are plain numbers, which take only a few bytes.
mod kind {
    pub const BEGINNING: u8 = 0;
    pub const SINCE: u8 = 1;
    pub const AFTER_NUMBER: u8 = 2;
    pub const AFTER_NUMERIC: u8 = 3;
    pub const AFTER_TEXT: u8 = 4;
}

impl Position {
    /// The position as bytes.
    pub fn write(&self) -> Vec<u8> {
        write(&self.identity, &self.places, self.turn)
    }

    /// The position as a cursor. A log's cursor has no snapshot.
    pub fn cursor(&self) -> Cursor {
        Cursor { snapshot: Vec::new(), position: self.write() }
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// `invalid-input` where these bytes are not a cursor of a log trigger; `unsupported` where their form is newer
    /// than this version.
    pub fn read(cursor: &Cursor) -> Result<Self> {
        let mut reader = CursorReader::new(&cursor.position, WHAT);
        reader.format(&(FORMAT..=FORMAT))?;
        let scope = reader.array()?;
        let created = reader.signed()?;
        let partitions = reader.number()?;
        let turn: usize = reader.number()?;
        let count = Some(reader.number()?).filter(|count| (1..=MOST_PLACES).contains(count));
        let count = count.ok_or_else(|| reader.broken())?;
        let places = (0..count).map(|_| Place::read(&mut reader)).collect::<Result<Vec<_>>>()?;
        // A log's cursor has no snapshot.
        if !reader.is_empty() || turn >= places.len() || !cursor.snapshot.is_empty() {
            return Err(reader.broken());
        }
        Ok(Self { identity: Identity { scope, created, partitions }, places, turn })
    }
}

/// The bytes of the position with these parts. A page writes one position for each of its events.
pub fn write(identity: &Identity, places: &[Place], turn: usize) -> Vec<u8> {
    // Enough for one place with a numeric offset, which nearly all positions are.
    let mut out = Vec::with_capacity(48);
    out.push(FORMAT);
    out.extend(identity.scope);
    put_signed(&mut out, identity.created);
    put_number(&mut out, identity.partitions.into());
    put_number(&mut out, turn as u64);
    put_number(&mut out, places.len() as u64);
    for place in places {
        place.write(&mut out);
    }
    out
}

impl Place {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Beginning => out.push(kind::BEGINNING),
            Self::Since(ms) => {
                out.push(kind::SINCE);
                put_signed(out, *ms);
            }
            Self::AfterNumber(sequence) => {
                out.push(kind::AFTER_NUMBER);
                put_signed(out, *sequence);
            }
            Self::After { sequence, offset } => match plain_number(offset) {
                Some(offset) => {
                    out.push(kind::AFTER_NUMERIC);
                    put_signed(out, *sequence);
                    put_number(out, offset);
                }
                None => {
                    out.push(kind::AFTER_TEXT);
                    put_signed(out, *sequence);
                    put_bytes(out, offset.as_bytes());
                }
            },
        }
    }

    fn read(reader: &mut CursorReader) -> Result<Self> {
        match reader.byte()? {
            kind::BEGINNING => Ok(Self::Beginning),
            kind::SINCE => reader.signed().map(Self::Since),
            kind::AFTER_NUMBER => reader.signed().map(Self::AfterNumber),
            kind::AFTER_NUMERIC => {
                let sequence = reader.signed()?;
                Ok(Self::After { sequence, offset: reader.number::<u64>()?.to_string() })
            }
            kind::AFTER_TEXT => {
                let sequence = reader.signed()?;
                let offset = reader.text()?;
                let fine = |b: u8| (0x20..0x7f).contains(&b) && b != b'\'';
                if !(1..=LONGEST_OFFSET).contains(&offset.len()) || !offset.bytes().all(fine) {
                    return Err(reader.broken());
                }
                Ok(Self::After { sequence, offset: offset.to_owned() })
            }
            _ => Err(reader.broken()),
        }
    }
}

/// The number that an offset is. None where writing the number would give another text than the offset.
fn plain_number(offset: &str) -> Option<u64> {
    // A sign and leading zeros can be read, but would not be written.
    let is_plain = offset == "0" || offset.bytes().next().is_some_and(|first| matches!(first, b'1'..=b'9'));
    if is_plain { offset.parse().ok() } else { None }
}

/// The error for bytes that are not a cursor of a log trigger.
pub fn broken() -> crate::error::Error {
    CursorReader::new(&[], WHAT).broken()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    fn after(sequence: i64, offset: &str) -> Place {
        Place::After { sequence, offset: offset.into() }
    }

    fn position(places: Vec<Place>) -> Position {
        let identity = Identity { scope: [1; 8], created: 1_700_000_000_000, partitions: 4 };
        Position { identity, turn: places.len() - 1, places }
    }

    #[test]
    fn survives_and_refuses() {
        let places = [
            Place::Beginning,
            Place::Since(-1),
            Place::Since(i64::MAX),
            Place::AfterNumber(i64::MIN),
            after(7, "3:1024:7"),
            after(7, "007"),
            after(7, "+7"),
            after(7, "0"),
            after(7, "00"),
            after(7, "1x"),
            after(7, "30064771072"),
            after(i64::MAX, &u64::MAX.to_string()),
            after(0, &"9".repeat(LONGEST_OFFSET)),
        ];
        for place in &places {
            let position = position(vec![place.clone()]);
            assert_eq!(Position::read(&position.cursor()), Ok(position));
        }
        let all = position(places.to_vec());
        let cursor = all.cursor();
        assert_eq!(Position::read(&cursor), Ok(all));
        let refused = |position: &[u8]| {
            let read = Position::read(&Cursor { snapshot: vec![], position: position.to_vec() });
            read.expect_err("refused").code()
        };
        for cut in 0..cursor.position.len() {
            assert_eq!(refused(&cursor.position[..cut]), ErrorCode::InvalidInput, "{cut}");
        }
        assert_eq!(refused(&[&cursor.position[..], &[0]].concat()), ErrorCode::InvalidInput);
        assert_eq!(refused(&[FORMAT + 1]), ErrorCode::Unsupported);
        let head = [&[FORMAT][..], &[0; 8], &[0, 4]].concat();
        for tail in [
            &[0, 0][..],
            &[1, 1, kind::BEGINNING],
            &[0, 1, 9],
            &[0, 1, kind::AFTER_TEXT, 2, 3, b'a', b'\'', b'b'],
            &[0, 1, kind::AFTER_TEXT, 2, 0],
            &[0, 1, kind::AFTER_NUMBER, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0, 0xff, 0xff, 0x7f, kind::BEGINNING],
        ] {
            assert_eq!(refused(&[&head[..], tail].concat()), ErrorCode::InvalidInput, "{tail:?}");
        }
        let with_snapshot = Cursor { snapshot: vec![1], position: cursor.position };
        assert!(Position::read(&with_snapshot).is_err());
    }

    #[test]
    fn is_small_for_as_many_partitions_as_a_hub_has() {
        let places = |count| (0..count).map(|_| after(1_000_000_000, "429496729600000")).collect();
        for (count, most) in [(1, 32), (4, 80), (32, 480)] {
            let size = position(places(count)).write().len();
            assert!(size <= most, "{size} bytes for {count} partitions");
        }
    }
}
