//! Checks JSON in one walk over its bytes, without memory of its own.
//!
//! `serde_json` can check a text without building a value, too. But it copies each number into a text of its own where
//! numbers keep their digits, or it overlooks half of a surrogate pair (`IgnoredAny`), and it does not tell whether
//! there are line breaks. This walk accepts the same texts; `super::tests` compares the two.

use super::{DEEPEST, Document};

/// The brackets that are open are one bit each.
type Open = u128;

const _: () = assert!(DEEPEST < Open::BITS as usize, "each level has a bit");

/// The document that a text is. None where the text is not JSON, has half of a surrogate pair, or has more than `most`
/// levels.
pub(super) fn walk(text: &str, most: usize) -> Option<Document<'_>> {
    let mut walk = Walk { bytes: text.as_bytes(), at: 0, has_line_breaks: false };
    walk.blanks();
    let start = walk.at;
    walk.value(most.min(DEEPEST))?;
    let value = text.get(start..walk.at)?;
    walk.blanks();
    walk.peek().is_none().then_some(Document { value, has_line_breaks: walk.has_line_breaks })
}

struct Walk<'t> {
    bytes: &'t [u8],
    at: usize,
    has_line_breaks: bool,
}

impl<'t> Walk<'t> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn rest(&self) -> &'t [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn blanks(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => {}
                b'\n' | b'\r' => self.has_line_breaks = true,
                _ => return,
            }
            self.at += 1;
        }
    }

    /// Passes over a value. A loop instead of recursion, so that the text decides about no stack.
    fn value(&mut self, most: usize) -> Option<()> {
        // The lowest bit stands for the innermost bracket: 1 for an object, 0 for an array.
        let mut objects: Open = 0;
        let mut depth = 0_usize;
        'value: loop {
            match self.peek()? {
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                bracket @ (b'{' | b'[') => {
                    if depth >= most {
                        return None;
                    }
                    self.at += 1;
                    self.blanks();
                    // In ASCII, each closing bracket comes two after its opening one.
                    if self.peek()? == bracket + 2 {
                        self.at += 1;
                    } else {
                        depth += 1;
                        objects = objects << 1 | Open::from(bracket == b'{');
                        if bracket == b'{' {
                            self.name()?;
                        }
                        continue 'value;
                    }
                }
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                _ => return None,
            }
            // After a value: the next one, or the ends of the brackets around it.
            while depth > 0 {
                self.blanks();
                let is_object = objects & 1 == 1;
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        self.blanks();
                        if is_object {
                            self.name()?;
                        }
                        continue 'value;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return None,
                }
                self.at += 1;
                depth -= 1;
                objects >>= 1;
            }
            return Some(());
        }
    }

    /// Passes over a member's name and the colon.
    fn name(&mut self) -> Option<()> {
        self.string()?;
        self.blanks();
        self.take(b':')?;
        self.blanks();
        Some(())
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        let is_it = self.peek()? == byte;
        self.at += 1;
        is_it.then_some(())
    }

    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            while let Some(chunk) = self.rest().first_chunk::<8>() {
                let ends = ends_a_run(u64::from_le_bytes(*chunk));
                if ends != 0 {
                    self.at += ends.trailing_zeros() as usize / 8;
                    break;
                }
                self.at += 8;
            }
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.escape()?,
                0..b' ' => return None,
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let &[_, kind] = self.rest().first_chunk::<2>()?;
        self.at += 2;
        match kind {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.unit()? {
                0xd800..=0xdbff => {
                    self.take(b'\\')?;
                    self.take(b'u')?;
                    matches!(self.unit()?, 0xdc00..=0xdfff).then_some(())
                }
                0xdc00..=0xdfff => None,
                _ => Some(()),
            },
            _ => None,
        }
    }

    /// The four hexadecimal digits of a UTF-16 unit.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.rest().first_chunk::<4>()?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    }

    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let first = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > first).then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let is_it = self.rest().starts_with(word);
        self.at += word.len();
        is_it.then_some(())
    }
}

/// Marks the bytes of a chunk that end a run of plain characters in a string: quotes, backslashes and control
/// characters. The lowest mark is exact; a mark above another one may be wrong.
fn ends_a_run(chunk: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    const TOPS: u64 = ONES << 7;
    // The highest bit of a byte becomes 1 where the byte is less than `than`, as long as no byte below it does.
    let less = |bytes: u64, than: u8| bytes.wrapping_sub(ONES * u64::from(than)) & !bytes;
    let equal = |byte: u8| less(chunk ^ (ONES * u64::from(byte)), 1);
    (equal(b'"') | equal(b'\\') | less(chunk, b' ')) & TOPS
}
