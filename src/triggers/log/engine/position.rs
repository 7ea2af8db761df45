//! Where a reader is in the hub's log: a place in each partition that it reads.
//!
//! Offset and sequence number are both kept: the offset is what a reader goes on from and is opaque, the sequence number
//! shows what was lost. The log's own identity is kept, too: a hub that was made again, or one with another number of
//! partitions, has other events under the same numbers.

use crate::bindings::workflow::connector::types::Cursor;
use crate::error::Result;
use crate::triggers::shared::cursor_bytes::{CursorReader, put_bytes, put_number, put_signed};

/// The form; a new form gets a new number. The first number is that of the collections' cursors.
const FORMAT: u8 = 0x41;
/// Named in the detail of errors.
const WHAT: &str = "cursor of a log";
const LONGEST_OFFSET: usize = 256;
/// More than any hub has (32; dedicated Event Hubs clusters: 1024).
const MOST_PLACES: u64 = 4_096;

/// The log that a position is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A hash of what the trigger reads, and of where.
    pub scope: [u8; 8],
    /// When the log was made, milliseconds since the Unix epoch; 0 where that is not known.
    pub created: i64,
    /// How many partitions it has.
    pub partitions: u16,
}

/// After which event of a partition a reader is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before the first one there is: the partition was empty when the reader began, or all of it is wanted.
    Beginning,
    /// Before the first one of this moment or later, in milliseconds since the Unix epoch.
    Since(i64),
    /// After the one with this number, wherever that is.
    AfterNumber(i64),
    After {
        /// Its sequence number.
        sequence: i64,
        /// Its offset, opaque.
        offset: String,
    },
}

/// A position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// In which log.
    pub identity: Identity,
    /// Where in each partition, in the order of the partitions.
    pub places: Vec<Place>,
    /// Which of the places comes first the next time, so that all of them have their turn however small the pages are.
    pub turn: usize,
}

/// Kinds of places, as they are written. An offset that is a plain number, as IoT Hub's are, takes a few bytes.
mod kind {
    pub const BEGINNING: u8 = 0;
    pub const SINCE: u8 = 1;
    pub const AFTER_NUMBER: u8 = 2;
    pub const AFTER_NUMERIC: u8 = 3;
    pub const AFTER_TEXT: u8 = 4;
}

impl Position {
    /// As bytes.
    pub fn write(&self) -> Vec<u8> {
        write(&self.identity, &self.places, self.turn)
    }

    /// As a cursor. A log needs no snapshot.
    pub fn cursor(&self) -> Cursor {
        Cursor { snapshot: Vec::new(), position: self.write() }
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// `invalid-input` where it is none of a streaming trigger's, `unsupported` where it is of a newer form.
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
        // A log needs no snapshot.
        if !reader.is_empty() || turn >= places.len() || !cursor.snapshot.is_empty() {
            return Err(reader.broken());
        }
        Ok(Self { identity: Identity { scope, created, partitions }, places, turn })
    }
}

/// A position as bytes, of its parts: a page writes one for each of its events.
pub fn write(identity: &Identity, places: &[Place], turn: usize) -> Vec<u8> {
    let mut out = vec![FORMAT];
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

/// An offset that is written as a number exactly as it stands there.
fn plain_number(offset: &str) -> Option<u64> {
    offset.parse().ok().filter(|number: &u64| number.to_string() == offset)
}

/// The error of a cursor that cannot be one.
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
