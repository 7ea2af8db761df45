//! Where a reader is in one partition of the hub's log.
//!
//! Offset and sequence number are both kept: the offset is what a reader goes on from and is opaque, the sequence number
//! tells what was lost. The log's own identity is kept, too: a hub that was made anew, or one with another number of
//! partitions, has other events under the same numbers.

use crate::bindings::workflow::connector::types::Cursor;
use crate::error::{Error, ErrorCode, Result};

/// The form; a new form gets a new number. The first number is that of the collections' cursors.
const FORMAT: u8 = 0x41;
const LONGEST_OFFSET: usize = 256;

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

/// After which event a reader is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before the first one there is: the log was empty when the reader began.
    Beginning,
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
    /// Where in it.
    pub place: Place,
}

impl Position {
    /// As bytes.
    pub fn write(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend(self.identity.scope);
        out.extend(self.identity.created.to_le_bytes());
        out.extend(self.identity.partitions.to_le_bytes());
        if let Place::After { sequence, offset } = &self.place {
            out.extend(sequence.to_le_bytes());
            out.extend(offset.as_bytes());
        }
        out
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
        match take::<1>(&mut rest)? {
            [FORMAT] if cursor.snapshot.is_empty() => {}
            [newer] if newer > FORMAT => {
                return Err(Error::new(
                    ErrorCode::Unsupported,
                    "The cursor was written by a newer version of this connector.",
                ));
            }
            _ => return Err(broken()),
        }
        let identity = Identity {
            scope: take(&mut rest)?,
            created: i64::from_le_bytes(take(&mut rest)?),
            partitions: u16::from_le_bytes(take(&mut rest)?),
        };
        if rest.is_empty() {
            return Ok(Self { identity, place: Place::Beginning });
        }
        let sequence = i64::from_le_bytes(take(&mut rest)?);
        let offset = std::str::from_utf8(rest).map_err(|_| broken())?;
        let fine = (1..=LONGEST_OFFSET).contains(&offset.len())
            && offset.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'\'');
        if fine {
            Ok(Self { identity, place: Place::After { sequence, offset: offset.to_owned() } })
        } else {
            Err(broken())
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or_else(broken)?;
    *rest = left;
    Ok(*taken)
}

fn broken() -> Error {
    Error::new(ErrorCode::InvalidInput, "The cursor is not one of this trigger's, or it was cut or changed.")
        .with_detail("cursor of a log: not readable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_and_refuses() {
        let identity = Identity { scope: [1; 8], created: 1_700_000_000_000, partitions: 4 };
        for place in [Place::Beginning, Place::After { sequence: 7, offset: "3:1024:7".into() }] {
            let position = Position { identity, place };
            let cursor = position.cursor();
            assert_eq!(Position::read(&cursor), Ok(position));
            for cut in 0..cursor.position.len() {
                let _ = Position::read(&Cursor { snapshot: vec![], position: cursor.position[..cut].to_vec() });
            }
        }
        let bad = [
            vec![],
            vec![1],
            vec![FORMAT; 5],
            [&[FORMAT][..], &[0; 26], b"a'b"].concat(),
            [&[FORMAT][..], &[0; 26]].concat(),
        ];
        for position in bad {
            assert_eq!(
                Position::read(&Cursor { snapshot: vec![], position }).expect_err("refused").code(),
                ErrorCode::InvalidInput
            );
        }
    }
}
