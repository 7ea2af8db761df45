//! Where a reader is in the hub's log: a place in each partition that it reads.
//!
//! Offset and sequence number are both kept: the offset is what a reader goes on from and is opaque, the sequence number
//! tells what was lost. The log's own identity is kept, too: a hub that was made anew, or one with another number of
//! partitions, has other events under the same numbers.

use crate::bindings::workflow::connector::types::Cursor;
use crate::error::{Error, ErrorCode, Result};

/// The form; a new form gets a new number. The first number is that of the collections' cursors.
const FORMAT: u8 = 0x41;
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
    /// After this one.
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
        let mut rest = cursor.position.as_slice();
        match bytes::<1>(&mut rest)? {
            [FORMAT] if cursor.snapshot.is_empty() => {}
            [newer] if newer > FORMAT => {
                return Err(Error::new(
                    ErrorCode::Unsupported,
                    "The cursor was written by a newer version of this connector.",
                ));
            }
            _ => return Err(broken()),
        }
        let scope = bytes(&mut rest)?;
        let created = signed(&mut rest)?;
        let partitions = u16::try_from(number(&mut rest)?).map_err(|_| broken())?;
        let turn = usize::try_from(number(&mut rest)?).map_err(|_| broken())?;
        let count = Some(number(&mut rest)?).filter(|count| (1..=MOST_PLACES).contains(count)).ok_or_else(broken)?;
        let places = (0..count).map(|_| Place::read(&mut rest)).collect::<Result<Vec<_>>>()?;
        if !rest.is_empty() || turn >= places.len() {
            return Err(broken());
        }
        Ok(Self { identity: Identity { scope, created, partitions }, places, turn })
    }
}

/// A position as bytes, of its parts: a page writes one for each of its events.
pub fn write(identity: &Identity, places: &[Place], turn: usize) -> Vec<u8> {
    let mut out = vec![FORMAT];
    out.extend(identity.scope);
    put_signed(&mut out, identity.created);
    put(&mut out, identity.partitions.into());
    put(&mut out, turn as u64);
    put(&mut out, places.len() as u64);
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
                    put(out, offset);
                }
                None => {
                    out.push(kind::AFTER_TEXT);
                    put_signed(out, *sequence);
                    put(out, offset.len() as u64);
                    out.extend(offset.as_bytes());
                }
            },
        }
    }

    fn read(rest: &mut &[u8]) -> Result<Self> {
        match bytes::<1>(rest)? {
            [kind::BEGINNING] => Ok(Self::Beginning),
            [kind::SINCE] => signed(rest).map(Self::Since),
            [kind::AFTER_NUMBER] => signed(rest).map(Self::AfterNumber),
            [kind::AFTER_NUMERIC] => Ok(Self::After { sequence: signed(rest)?, offset: number(rest)?.to_string() }),
            [kind::AFTER_TEXT] => {
                let sequence = signed(rest)?;
                let length = usize::try_from(number(rest)?).map_err(|_| broken())?;
                let (offset, left) = rest.split_at_checked(length).ok_or_else(broken)?;
                *rest = left;
                let fine = |b: &u8| (0x20..0x7f).contains(b) && *b != b'\'';
                let text = std::str::from_utf8(offset).ok().filter(|_| offset.iter().all(fine));
                let text = text.filter(|text| (1..=LONGEST_OFFSET).contains(&text.len()));
                Ok(Self::After { sequence, offset: text.ok_or_else(broken)?.to_owned() })
            }
            _ => Err(broken()),
        }
    }
}

/// An offset that is written as a number exactly as it stands there.
fn plain_number(offset: &str) -> Option<u64> {
    offset.parse().ok().filter(|number: &u64| number.to_string() == offset)
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Seven bits a byte, the lowest first.
fn number(rest: &mut &[u8]) -> Result<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = bytes(rest)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(broken())
}

fn signed(rest: &mut &[u8]) -> Result<i64> {
    let number = number(rest)?;
    Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
}

fn bytes<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or_else(broken)?;
    *rest = left;
    Ok(*taken)
}

/// The error of a cursor that cannot be one.
pub fn broken() -> Error {
    Error::new(ErrorCode::InvalidInput, "The cursor is not one of this trigger's, or it was cut or changed.")
        .with_detail("cursor of a log: not readable")
}

#[cfg(test)]
mod tests {
    use super::*;

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
