//! The bytes of cursors: writes and reads numbers and texts, and reports bytes that cannot be read.

use std::ops::RangeInclusive;

use crate::error::{Error, ErrorCode, Result};

/// Writes a number in groups of seven bits, one in each byte, the lowest group first.
pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Writes a number that may be negative. Small numbers take few bytes.
pub fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Writes the number of the bytes, then the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The unread bytes of a cursor.
#[derive(Clone, Copy)]
pub struct CursorReader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> CursorReader<'a> {
    /// A reader of these bytes. `what` names the cursor in the detail of an error.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    /// Reads the number of the form, which comes first.
    ///
    /// # Errors
    /// `unsupported` where the number is larger than the known ones; `invalid-input` where it is smaller or missing.
    pub fn format(&mut self, known: &RangeInclusive<u8>) -> Result<u8> {
        match self.byte()? {
            format if known.contains(&format) => Ok(format),
            newer if newer > *known.end() => {
                Err(Error::new(ErrorCode::Unsupported, "The cursor was written by a newer version of this connector."))
            }
            _ => Err(self.broken()),
        }
    }

    /// Reads this many bytes.
    ///
    /// # Errors
    /// `invalid-input` where there are fewer bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.broken())?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// See [`CursorReader::take`].
    pub fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Reads as many bytes as the array has.
    ///
    /// # Errors
    /// See [`CursorReader::take`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.broken())?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Reads a number that [`put_number`] wrote, as the type of the caller.
    ///
    /// # Errors
    /// See [`CursorReader::take`]; `invalid-input` also where the number is too large for the type.
    pub fn number<N: TryFrom<u64>>(&mut self) -> Result<N> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return N::try_from(number).map_err(|_| self.broken());
            }
        }
        Err(self.broken())
    }

    /// Reads a number that [`put_signed`] wrote.
    ///
    /// # Errors
    /// See [`CursorReader::number`].
    pub fn signed(&mut self) -> Result<i64> {
        let number: u64 = self.number()?;
        Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }

    /// Reads bytes that [`put_bytes`] wrote.
    ///
    /// # Errors
    /// See [`CursorReader::take`].
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let count = self.number()?;
        self.take(count)
    }

    /// Reads a text whose bytes [`put_bytes`] wrote.
    ///
    /// # Errors
    /// See [`CursorReader::take`]; `invalid-input` also where the bytes are not UTF-8.
    pub fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.broken())
    }

    /// All unread bytes.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Whether all bytes were read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The error for bytes that are not a cursor of this kind.
    pub fn broken(&self) -> Error {
        Error::new(ErrorCode::InvalidInput, "The cursor does not belong to this trigger, or was cut or changed.")
            .with_detail(format!("{}: not readable", self.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_come_back_as_they_were() {
        let mut bytes = vec![3];
        for number in [0, 0x7f, 0x80, u64::MAX] {
            put_number(&mut bytes, number);
        }
        for number in [0, -1, i64::MIN, i64::MAX] {
            put_signed(&mut bytes, number);
        }
        put_bytes(&mut bytes, "größer".as_bytes());
        let mut reader = CursorReader::new(&bytes, "a cursor");
        assert_eq!(reader.format(&(1..=3)), Ok(3));
        for number in [0, 0x7f, 0x80, u64::MAX] {
            assert_eq!(reader.number(), Ok(number));
        }
        for number in [0, -1, i64::MIN, i64::MAX] {
            assert_eq!(reader.signed(), Ok(number));
        }
        assert_eq!(reader.text(), Ok("größer"));
        assert!(reader.is_empty());
        assert_eq!(reader.byte(), Err(reader.broken()));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let read = |bytes: &[u8]| CursorReader::new(bytes, "a cursor").format(&(2..=3)).map_err(|error| error.code());
        assert_eq!(read(&[4]), Err(ErrorCode::Unsupported));
        assert_eq!((read(&[1]), read(&[])), (Err(ErrorCode::InvalidInput), Err(ErrorCode::InvalidInput)));
        for bytes in [&[0xff; 10][..], &[0x80]] {
            assert!(CursorReader::new(bytes, "a cursor").number::<u64>().is_err(), "{bytes:?}");
        }
        assert!(CursorReader::new(&[0x80, 0x02], "a cursor").number::<u8>().is_err(), "256 is no byte");
        assert!(CursorReader::new(&[2, b'x'], "a cursor").bytes().is_err(), "one byte is missing");
    }
}
