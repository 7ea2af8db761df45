//! Bytes to values. All input may be hostile: memory is reserved only for bytes that have arrived, and depth and memory
//! are bounded. The bound counts memory instead of bytes, because the elements of an array can take up no bytes: a few
//! hundred bytes can announce tens of thousands of elements.

use std::fmt;

use super::Value;

/// What decoding one input may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How deep values may be nested.
    pub depth: u8,
    /// How much memory the values may take up, in bytes, including nested values. It is counted by [`VALUE`],
    /// [`MEMBERS`] and the length of the texts.
    pub memory: u32,
}

impl Limits {
    /// For a performative: its fields with their maps and filters.
    pub const PERFORMATIVE: Self = Self { depth: 12, memory: 512 << 10 };
    /// For a message. Messages of the services themselves need some kilobytes; 256 KB of the smallest properties that
    /// IoT Hub accepts hold fewer than 65,536 values.
    pub const MESSAGE: Self = Self { depth: 32, memory: 65_536 * VALUE + (256 << 10) };
    /// For one annotation: the services themselves write numbers and short texts.
    const ANNOTATION: Self = Self { depth: 12, memory: 1 << 20 };
    /// The part of a message's memory that is reserved for the service's annotations, in bytes.
    const RESERVE: u32 = 64 << 10;
}

/// How much a value counts, in bytes: 32 for the value, about as many for its JSON form, and the allocator's overhead
/// for its text.
pub const VALUE: u32 = 96;
/// How much a map, or a value with its descriptor, counts in addition, in bytes: the first member of a JSON object
/// allocates room for eleven, which takes 632 bytes on 64-bit systems.
pub const MEMBERS: u32 = 640;

/// Why bytes are not a valid value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end in the middle of a value.
    Truncated,
    /// AMQP has no type with this format code.
    UnknownFormat(u8),
    /// Values are nested deeper than allowed.
    TooDeep,
    /// The values take up more memory than allowed.
    Memory,
    /// The stated size of a list, map or array differs from the size of its contents.
    Size,
    /// A map has a key without a value.
    OddMap,
    /// A map has a compound key that itself contains a compound key. In JSON a compound key becomes text, a key within
    /// it becomes text within that text, and each level doubles the backslashes of the levels inside it.
    Key,
    /// A text is not UTF-8.
    Utf8,
    /// A number is not a Unicode character.
    Char,
    /// A boolean's byte is neither 0 nor 1.
    Boolean,
    /// The value is not a composite of the standard, or not one that is allowed at this place.
    Composite,
    /// This field has a wrong type, or it is mandatory and missing.
    Field(&'static str),
    /// The body has sections of several kinds, or no section.
    Body,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("it ends in the middle of a value"),
            Self::UnknownFormat(code) => write!(f, "there is no type with the format code {code:#04x}"),
            Self::TooDeep => f.write_str("its values are nested too deep"),
            Self::Memory => f.write_str("its values take up too much memory"),
            Self::Size => f.write_str("the stated size of a list, map or array differs from the size of its contents"),
            Self::OddMap => f.write_str("a map has a key without a value"),
            Self::Key => f.write_str("a map's key has itself a key of several values"),
            Self::Utf8 => f.write_str("a text is not UTF-8"),
            Self::Char => f.write_str("a number is not a Unicode character"),
            Self::Boolean => f.write_str("a boolean is neither true nor false"),
            Self::Composite => f.write_str("a value is not a composite that is allowed at its place"),
            Self::Field(name) => write!(f, "the field `{name}` is missing or has a wrong type"),
            Self::Body => f.write_str("the body is missing or has sections of several kinds"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// The pairs of a map.
type Pairs = Vec<(Value, Value)>;

type Result<T> = std::result::Result<T, DecodeError>;

/// A value without parts. Texts and binaries are those of the input, and are not copied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// No value.
    Null,
    /// True or false.
    Boolean(bool),
    /// An unsigned integer of 32 bits.
    Uint(u32),
    /// An unsigned integer of 64 bits.
    Ulong(u64),
    /// Any other integer.
    Integer(i64),
    /// A binary floating-point number of either size.
    Double(f64),
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
    /// Bytes.
    Binary(&'a [u8]),
    /// Text.
    String(&'a str),
    /// A name from a constrained domain.
    Symbol(&'a str),
}

impl<'a> Scalar<'a> {
    /// The text of a string or a symbol.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            Self::String(text) | Self::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// The value of any integer type, if it fits into 64 bits with sign.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Self::Uint(n) => Some(n.into()),
            Self::Ulong(n) => i64::try_from(n).ok(),
            Self::Integer(n) | Self::Timestamp(n) => Some(n),
            _ => None,
        }
    }
}

/// Decodes the only value in `bytes`.
///
/// # Errors
/// [`DecodeError`]; `Size` where bytes follow the value.
pub fn decode_one(bytes: &[u8], limits: Limits) -> Result<Value> {
    let mut decoder = Decoder::new(bytes, limits);
    let value = decoder.value()?;
    if decoder.is_empty() { Ok(value) } else { Err(DecodeError::Size) }
}

/// Reads values one after the other.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    depth_left: u8,
    memory_left: u32,
    memory: u32,
    /// How many compound keys enclose the value that is being read.
    keys: u8,
}

impl<'a> Decoder<'a> {
    /// A decoder of `bytes`.
    pub fn new(bytes: &'a [u8], limits: Limits) -> Self {
        Self { rest: bytes, depth_left: limits.depth, memory_left: limits.memory, memory: limits.memory, keys: 0 }
    }

    /// How much memory the values read so far take up, in bytes, as [`Limits::memory`] counts it.
    pub fn memory(&self) -> usize {
        usize::try_from(self.memory.saturating_sub(self.memory_left)).unwrap_or(usize::MAX)
    }

    /// Whether all bytes were read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes that were not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next value.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn value(&mut self) -> Result<Value> {
        let code = self.byte()?;
        if code != 0 {
            return self.body(code);
        }
        self.take_memory(VALUE + MEMBERS)?;
        self.nested(|decoder| {
            let descriptor = decoder.value()?;
            Ok(Value::Described(Box::new((descriptor, decoder.value()?))))
        })
    }

    /// The descriptor of the next value, which must be a described one. The value itself is still to be read.
    ///
    /// # Errors
    /// [`DecodeError`]; `Composite` where the next value is not described.
    pub fn descriptor(&mut self) -> Result<Value> {
        if self.byte()? != 0 {
            return Err(DecodeError::Composite);
        }
        // The standard's descriptors are numbers and symbols; any other value is refused.
        let value = self.value()?;
        if matches!(value, Value::Ulong(_) | Value::Symbol(_)) { Ok(value) } else { Err(DecodeError::Composite) }
    }

    /// The bytes of the next value, which must be a binary. The bytes are not copied.
    ///
    /// # Errors
    /// [`DecodeError`]; `Composite` where the next value is not a binary.
    pub fn binary(&mut self) -> Result<&'a [u8]> {
        let code = self.byte()?;
        self.take_memory(VALUE)?;
        match code {
            0xa0 | 0xb0 => self.text_bytes(code),
            _ => Err(DecodeError::Composite),
        }
    }

    /// The next value, without a copy of its text.
    ///
    /// # Errors
    /// [`DecodeError`]; `Composite` where the value is of a type that [`Scalar`] does not have.
    pub fn scalar(&mut self) -> Result<Scalar<'a>> {
        let code = self.byte()?;
        self.take_memory(VALUE)?;
        Ok(match code {
            0x40 => Scalar::Null,
            0x41 => Scalar::Boolean(true),
            0x42 => Scalar::Boolean(false),
            0x56 => match self.byte()? {
                0 => Scalar::Boolean(false),
                1 => Scalar::Boolean(true),
                _ => return Err(DecodeError::Boolean),
            },
            0x50 => Scalar::Integer(self.byte()?.into()),
            0x60 => Scalar::Integer(u16::from_be_bytes(self.array()?).into()),
            0x70 => Scalar::Uint(u32::from_be_bytes(self.array()?)),
            0x52 => Scalar::Uint(self.byte()?.into()),
            0x43 => Scalar::Uint(0),
            0x80 => Scalar::Ulong(u64::from_be_bytes(self.array()?)),
            0x53 => Scalar::Ulong(self.byte()?.into()),
            0x44 => Scalar::Ulong(0),
            0x51 | 0x54 | 0x55 => Scalar::Integer(i8::from_be_bytes(self.array()?).into()),
            0x61 => Scalar::Integer(i16::from_be_bytes(self.array()?).into()),
            0x71 => Scalar::Integer(i32::from_be_bytes(self.array()?).into()),
            0x81 => Scalar::Integer(i64::from_be_bytes(self.array()?)),
            0x72 => Scalar::Double(f32::from_be_bytes(self.array()?).into()),
            0x82 => Scalar::Double(f64::from_be_bytes(self.array()?)),
            0x83 => Scalar::Timestamp(i64::from_be_bytes(self.array()?)),
            0xa0 | 0xb0 => Scalar::Binary(self.text_bytes(code)?),
            0xa1 | 0xb1 => Scalar::String(self.borrowed_text(code)?),
            0xa3 | 0xb3 => Scalar::Symbol(self.borrowed_text(code)?),
            _ => return Err(DecodeError::Composite),
        })
    }

    /// Reads the next value, a list, item by item: `read` gets the index and the value of each.
    ///
    /// # Errors
    /// [`DecodeError`], those of [`Decoder::scalar`] among them, and those of `read`.
    pub fn scalars(&mut self, mut read: impl FnMut(u32, Scalar<'a>) -> Result<()>) -> Result<()> {
        let code = self.byte()?;
        self.take_memory(VALUE)?;
        match code {
            0x45 => Ok(()),
            0xc0 | 0xd0 => self.compound(code, |inner, count| {
                (0..count).try_for_each(|index| inner.scalar().and_then(|value| read(index, value)))
            }),
            _ => Err(DecodeError::Composite),
        }
    }

    /// Reads the next value, a map, pair by pair. Annotations and properties count differently, see
    /// [`Decoder::annotations`]: `memory` is what the map itself counts.
    ///
    /// # Errors
    /// [`DecodeError`], those of [`Decoder::scalar`] among them, and those of `read`.
    pub fn scalar_pairs(
        &mut self,
        memory: u32,
        mut read: impl FnMut(Scalar<'a>, Scalar<'a>) -> Result<()>,
    ) -> Result<()> {
        let code = self.byte()?;
        self.take_memory(memory)?;
        if !matches!(code, 0xc1 | 0xd1) {
            return Err(DecodeError::Composite);
        }
        self.compound(code, |inner, count| {
            if !count.is_multiple_of(2) {
                return Err(DecodeError::OddMap);
            }
            (0..count / 2).try_for_each(|_| {
                let name = inner.scalar()?;
                let value = inner.scalar()?;
                read(name, value)
            })
        })
    }

    /// Reads the next value, a map of annotations. Returns the pairs and, if some pairs had to be left out, the reason.
    /// The service writes an event's position beside annotations of other senders, and the position must be found even
    /// if the other annotations are invalid. The names of the service's own annotations begin with one of `reserved`.
    ///
    /// # Errors
    /// [`DecodeError`] where the map itself cannot be read.
    pub fn annotations(&mut self, reserved: &[&str]) -> Result<(Pairs, Option<DecodeError>)> {
        let code = self.byte()?;
        if !matches!(code, 0xc1 | 0xd1) {
            return Err(DecodeError::Composite);
        }
        self.compound(code, |inner, count| {
            let (mut pairs, mut left_out) = (Vec::new(), None);
            for _ in 0..count / 2 {
                // Each annotation has its own limits, so that one cannot use up what the next one needs.
                let mut own = Self::new(inner.rest, Limits::ANNOTATION);
                let pair = own.key().and_then(|key| Ok((key, own.value()?)));
                let pair = pair.and_then(|(key, value)| {
                    let is_reserved = key.as_str().is_some_and(|key| reserved.iter().any(|own| key.starts_with(own)));
                    let memory = own.memory - own.memory_left;
                    let kept = if is_reserved { 0 } else { Limits::RESERVE };
                    inner.memory_left.checked_sub(memory.saturating_add(kept)).ok_or(DecodeError::Memory)?;
                    inner.take_memory(memory)?;
                    Ok((key, value))
                });
                match pair {
                    Ok(pair) => {
                        inner.rest = own.rest;
                        pairs.push(pair);
                    }
                    Err(error) => {
                        left_out = Some(error);
                        inner.skip()?;
                        inner.skip()?;
                    }
                }
            }
            if count.is_multiple_of(2) { Ok((pairs, left_out)) } else { Err(DecodeError::OddMap) }
        })
    }

    /// Passes over the next value without looking into it.
    fn skip(&mut self) -> Result<()> {
        // Each descriptor is followed by one more value. Only the end of the input bounds how many descriptors follow
        // each other.
        let mut values = 1_u32;
        while values > 0 {
            values -= 1;
            let code = self.byte()?;
            match code >> 4 {
                0x0 if code == 0 => values = values.checked_add(2).ok_or(DecodeError::TooDeep)?,
                0x4 => {}
                0x5 => drop(self.take(1)?),
                0x6 => drop(self.take(2)?),
                0x7 => drop(self.take(4)?),
                0x8 => drop(self.take(8)?),
                0x9 => drop(self.take(16)?),
                0xa..=0xf => drop(self.sized(code)?),
                _ => return Err(DecodeError::UnknownFormat(code)),
            }
        }
        Ok(())
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth_left = self.depth_left.checked_sub(1).ok_or(DecodeError::TooDeep)?;
        let result = read(self);
        self.depth_left += 1;
        result
    }

    fn take_memory(&mut self, bytes: u32) -> Result<()> {
        self.memory_left = self.memory_left.checked_sub(bytes).ok_or(DecodeError::Memory)?;
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// A length or count: one byte if the first hexadecimal digit of the format code is a, c or e, otherwise four
    /// bytes.
    fn length(&mut self, code: u8) -> Result<u32> {
        if matches!(code >> 4, 0xa | 0xc | 0xe) {
            Ok(self.byte()?.into())
        } else {
            Ok(u32::from_be_bytes(self.array()?))
        }
    }

    fn sized(&mut self, code: u8) -> Result<&'a [u8]> {
        let length = self.length(code)?;
        self.take(usize::try_from(length).map_err(|_| DecodeError::Truncated)?)
    }

    /// The bytes of a text or a binary. The caller will copy them, so they are counted as memory.
    fn text_bytes(&mut self, code: u8) -> Result<&'a [u8]> {
        let bytes = self.sized(code)?;
        self.take_memory(u32::try_from(bytes.len()).unwrap_or(u32::MAX))?;
        Ok(bytes)
    }

    fn borrowed_text(&mut self, code: u8) -> Result<&'a str> {
        std::str::from_utf8(self.text_bytes(code)?).map_err(|_| DecodeError::Utf8)
    }

    fn text(&mut self, code: u8) -> Result<String> {
        self.borrowed_text(code).map(str::to_owned)
    }

    fn body(&mut self, code: u8) -> Result<Value> {
        self.take_memory(VALUE)?;
        Ok(match code {
            0x40 => Value::Null,
            0x41 => Value::Boolean(true),
            0x42 => Value::Boolean(false),
            0x56 => match self.byte()? {
                0 => Value::Boolean(false),
                1 => Value::Boolean(true),
                _ => return Err(DecodeError::Boolean),
            },
            0x50 => Value::Ubyte(self.byte()?),
            0x60 => Value::Ushort(u16::from_be_bytes(self.array()?)),
            0x70 => Value::Uint(u32::from_be_bytes(self.array()?)),
            0x52 => Value::Uint(self.byte()?.into()),
            0x43 => Value::Uint(0),
            0x80 => Value::Ulong(u64::from_be_bytes(self.array()?)),
            0x53 => Value::Ulong(self.byte()?.into()),
            0x44 => Value::Ulong(0),
            0x51 => Value::Byte(i8::from_be_bytes(self.array()?)),
            0x61 => Value::Short(i16::from_be_bytes(self.array()?)),
            0x71 => Value::Int(i32::from_be_bytes(self.array()?)),
            0x54 => Value::Int(i8::from_be_bytes(self.array()?).into()),
            0x81 => Value::Long(i64::from_be_bytes(self.array()?)),
            0x55 => Value::Long(i8::from_be_bytes(self.array()?).into()),
            0x72 => Value::Float(f32::from_be_bytes(self.array()?)),
            0x82 => Value::Double(f64::from_be_bytes(self.array()?)),
            0x74 => Value::Decimal32(self.array()?),
            0x84 => Value::Decimal64(self.array()?),
            0x94 => Value::Decimal128(self.array()?),
            0x73 => Value::Char(char::from_u32(u32::from_be_bytes(self.array()?)).ok_or(DecodeError::Char)?),
            0x83 => Value::Timestamp(i64::from_be_bytes(self.array()?)),
            0x98 => Value::Uuid(self.array()?),
            0xa0 | 0xb0 => Value::Binary(self.text_bytes(code)?.to_vec()),
            0xa1 | 0xb1 => Value::String(self.text(code)?),
            0xa3 | 0xb3 => Value::Symbol(self.text(code)?),
            // The empty list counts as one level like any other list, in each of its encodings.
            0x45 => self.nested(|_| Ok(Value::List(Vec::new())))?,
            0xc0 | 0xd0 => Value::List(self.compound(code, |inner, count| inner.items(count))?),
            0xc1 | 0xd1 => Value::Map(self.compound(code, Self::pairs)?),
            0xe0 | 0xf0 => Value::Array(self.compound(code, Self::elements)?),
            _ => return Err(DecodeError::UnknownFormat(code)),
        })
    }

    /// Reads a compound value within its stated size, which its contents must fill exactly.
    fn compound<T>(&mut self, code: u8, read: impl FnOnce(&mut Self, u32) -> Result<T>) -> Result<T> {
        let within = self.sized(code)?;
        let after = std::mem::replace(&mut self.rest, within);
        let result = self.nested(|inner| {
            let count = inner.length(code).map_err(|_| DecodeError::Size)?;
            let result = read(inner, count)?;
            if inner.is_empty() { Ok(result) } else { Err(DecodeError::Size) }
        });
        self.rest = after;
        result
    }

    /// Checks an announced number of values before memory is reserved for them: each value takes up at least one byte.
    fn announced(&self, count: u32) -> Result<usize> {
        if count.saturating_mul(VALUE) > self.memory_left {
            return Err(DecodeError::Memory);
        }
        usize::try_from(count).ok().filter(|count| *count <= self.rest.len()).ok_or(DecodeError::Size)
    }

    fn items(&mut self, count: u32) -> Result<Vec<Value>> {
        let mut items = Vec::with_capacity(self.announced(count)?);
        for _ in 0..count {
            items.push(self.value()?);
        }
        Ok(items)
    }

    fn pairs(&mut self, count: u32) -> Result<Pairs> {
        if !count.is_multiple_of(2) {
            return Err(DecodeError::OddMap);
        }
        let mut pairs = Vec::with_capacity(self.announced(count)? / 2);
        self.take_memory(MEMBERS)?;
        for _ in 0..count / 2 {
            let key = self.key()?;
            pairs.push((key, self.value()?));
        }
        Ok(pairs)
    }

    /// Reads a key of a map. In JSON a compound key becomes a text, and a compound key within it a text within that
    /// text.
    fn key(&mut self) -> Result<Value> {
        // Compound keys are lists, maps, arrays and described values.
        let is_compound = self.rest.first().is_some_and(|code| matches!(code >> 4, 0x0 | 0xc..=0xf));
        if !is_compound {
            return self.value();
        }
        if self.keys > 0 {
            return Err(DecodeError::Key);
        }
        self.keys += 1;
        let key = self.value();
        self.keys -= 1;
        key
    }

    fn elements(&mut self, count: u32) -> Result<Vec<Value>> {
        let mut descriptors = Vec::new();
        let mut code = self.byte()?;
        while code == 0 {
            // A described element type, stated once for all elements. The depth limit bounds how many descriptors
            // follow each other.
            if descriptors.len() >= self.depth_left.into() {
                return Err(DecodeError::TooDeep);
            }
            descriptors.push(self.value()?);
            code = self.byte()?;
        }
        // Elements without width (such as nulls) take up no bytes, so only the memory limit bounds their number.
        let described = u32::try_from(descriptors.len()).unwrap_or(u32::MAX).saturating_mul(VALUE + MEMBERS);
        if count.saturating_mul(VALUE.saturating_add(described)) > self.memory_left {
            return Err(DecodeError::Memory);
        }
        let within = self.depth_left;
        // Each descriptor counts as one level, as it does for a single value.
        self.depth_left = u8::try_from(descriptors.len())
            .ok()
            .and_then(|levels| within.checked_sub(levels))
            .ok_or(DecodeError::TooDeep)?;
        let mut elements = Vec::new();
        for _ in 0..count {
            let mut element = self.body(code)?;
            for descriptor in descriptors.iter().rev() {
                let copy = copy_of_descriptor(descriptor)?;
                let text = u32::try_from(copy.as_str().map_or(0, str::len)).unwrap_or(u32::MAX);
                self.take_memory((2 * VALUE + MEMBERS).saturating_add(text))?;
                element = Value::Described(Box::new((copy, element)));
            }
            elements.push(element);
        }
        self.depth_left = within;
        Ok(elements)
    }
}

/// Copies a descriptor for one more element. Large descriptors are refused: they would take up memory for which no
/// bytes were sent.
fn copy_of_descriptor(descriptor: &Value) -> Result<Value> {
    match descriptor {
        Value::Ulong(code) => Ok(Value::Ulong(*code)),
        Value::Symbol(name) if name.len() <= 128 => Ok(Value::Symbol(name.clone())),
        _ => Err(DecodeError::Composite),
    }
}
