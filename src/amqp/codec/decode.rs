//! Bytes to values. Everything here is hostile input: nothing is reserved before the bytes for it are known to be there,
//! and depth and memory are bounded. Memory is counted, and not bytes: an array's elements can take up none, and a few
//! hundred bytes say that there are tens of thousands of them.

use std::fmt;

use super::Value;

/// What one decoding may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How deep values may be nested.
    pub depth: u8,
    /// How much memory the values may take up, in bytes, nested ones counted: by [`VALUE`], [`MEMBERS`] and the length of
    /// their texts.
    pub memory: u32,
}

impl Limits {
    /// For a performative: its fields, their maps and filters.
    pub const PERFORMATIVE: Self = Self { depth: 12, memory: 512 << 10 };
    /// For a message. The services' own need some kilobytes; 256 KB of the smallest properties that IoT Hub takes have
    /// fewer than 65,536 values.
    pub const MESSAGE: Self = Self { depth: 32, memory: 65_536 * VALUE + (256 << 10) };
    /// For one annotation: the services' own are numbers and short texts.
    const ANNOTATION: Self = Self { depth: 12, memory: 1 << 20 };
    /// Of a message's memory, what is kept for the annotations of the service.
    const RESERVE: u32 = 64 << 10;
}

/// What a value counts for, in bytes: 32 as it is, as many as JSON, and what allocating its text may waste.
pub const VALUE: u32 = 96;
/// What a map, or a value with its descriptor, counts for besides: the first member of a JSON object allocates room for
/// eleven, 632 bytes on 64 bits.
pub const MEMBERS: u32 = 640;

/// Why bytes are not a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// They end in the middle of one.
    Truncated,
    /// There is no type with this format code.
    UnknownFormat(u8),
    /// Nested deeper than allowed.
    TooDeep,
    /// Its values take up more memory than allowed.
    Memory,
    /// A compound's own size does not fit what is in it.
    Size,
    /// A map with a key and no value.
    OddMap,
    /// A map whose key is a compound with such a key in it. As JSON such keys are texts within texts, and each level doubles
    /// the backslashes of those within.
    Key,
    /// Text that is not UTF-8.
    Utf8,
    /// A number that is no character.
    Char,
    /// A boolean byte that is neither 0 nor 1.
    Boolean,
    /// Not a composite of the standard, or not one that may stand here.
    Composite,
    /// A field that is of another type, or a mandatory one that is missing; its name.
    Field(&'static str),
    /// The body's sections are of several kinds, or there is none.
    Body,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("it ends in the middle of a value"),
            Self::UnknownFormat(code) => write!(f, "there is no type with the format code {code:#04x}"),
            Self::TooDeep => f.write_str("its values are nested too deep"),
            Self::Memory => f.write_str("its values take up too much memory"),
            Self::Size => f.write_str("a compound's size does not fit what is in it"),
            Self::OddMap => f.write_str("a map has a key without a value"),
            Self::Key => f.write_str("a map's key has itself a key of several values"),
            Self::Utf8 => f.write_str("a text is not UTF-8"),
            Self::Char => f.write_str("a character is none"),
            Self::Boolean => f.write_str("a boolean is neither true nor false"),
            Self::Composite => f.write_str("a composite is not one that may stand there"),
            Self::Field(name) => write!(f, "the field `{name}` is missing or of another type"),
            Self::Body => f.write_str("the body is missing or of several kinds"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// The pairs of a map.
type Pairs = Vec<(Value, Value)>;

type Result<T> = std::result::Result<T, DecodeError>;

/// Decodes the one value that `bytes` hold.
///
/// # Errors
/// [`DecodeError`]; `Size` where bytes are left over.
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
    /// Compound keys around what is read.
    keys: u8,
}

impl<'a> Decoder<'a> {
    /// A decoder of `bytes`.
    pub fn new(bytes: &'a [u8], limits: Limits) -> Self {
        Self { rest: bytes, depth_left: limits.depth, memory_left: limits.memory, memory: limits.memory, keys: 0 }
    }

    /// How much memory what was read takes up, in bytes, as [`Limits::memory`] counts it.
    pub fn memory(&self) -> usize {
        usize::try_from(self.memory.saturating_sub(self.memory_left)).unwrap_or(usize::MAX)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
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

    /// The descriptor of the described value that must come next; what it describes is left to read.
    ///
    /// # Errors
    /// [`DecodeError`]; `Composite` where it is not described.
    pub fn descriptor(&mut self) -> Result<Value> {
        if self.byte()? != 0 {
            return Err(DecodeError::Composite);
        }
        // A descriptor that is itself deep or long is no descriptor of the standard.
        let value = self.value()?;
        if matches!(value, Value::Ulong(_) | Value::Symbol(_)) { Ok(value) } else { Err(DecodeError::Composite) }
    }

    /// The bytes of the binary that must come next, not copied.
    ///
    /// # Errors
    /// [`DecodeError`]; `Composite` where it is of another type.
    pub fn binary(&mut self) -> Result<&'a [u8]> {
        let code = self.byte()?;
        self.take_memory(VALUE)?;
        match code {
            0xa0 | 0xb0 => self.text_bytes(code),
            _ => Err(DecodeError::Composite),
        }
    }

    /// The pairs of the map of annotations that must come next, and why some are left out, where some are. The service writes
    /// where an event is beside what others have written: that must be found, whatever the others are. `reserved` is what
    /// the names of the service's own begin with.
    ///
    /// # Errors
    /// [`DecodeError`] of the map itself.
    pub fn annotations(&mut self, reserved: &[&str]) -> Result<(Pairs, Option<DecodeError>)> {
        let code = self.byte()?;
        if !matches!(code, 0xc1 | 0xd1) {
            return Err(DecodeError::Composite);
        }
        self.compound(code, |inner, count| {
            let (mut pairs, mut left_out) = (Vec::new(), None);
            for _ in 0..count / 2 {
                // Each has limits of its own, so that none uses up what the next one needs.
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
        // Each descriptor is followed by one more value; there is no end to them but that of the bytes.
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

    /// A length or count: one byte where bit 4 of the high nibble's width says so, four otherwise.
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

    /// The bytes of a text or a binary, which will be copied.
    fn text_bytes(&mut self, code: u8) -> Result<&'a [u8]> {
        let bytes = self.sized(code)?;
        self.take_memory(u32::try_from(bytes.len()).unwrap_or(u32::MAX))?;
        Ok(bytes)
    }

    fn text(&mut self, code: u8) -> Result<String> {
        let bytes = self.text_bytes(code)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::Utf8)
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
            // A level like any other list, in whatever form it is written.
            0x45 => self.nested(|_| Ok(Value::List(Vec::new())))?,
            0xc0 | 0xd0 => Value::List(self.compound(code, |inner, count| inner.items(count))?),
            0xc1 | 0xd1 => Value::Map(self.compound(code, Self::pairs)?),
            0xe0 | 0xf0 => Value::Array(self.compound(code, Self::elements)?),
            _ => return Err(DecodeError::UnknownFormat(code)),
        })
    }

    /// Reads a compound within its own size, which must be used up.
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

    /// How many values can be reserved for: each takes up a byte at the least.
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

    /// A key. One of several values becomes a text of JSON, and one within it a text in that text.
    fn key(&mut self) -> Result<Value> {
        // Lists, maps and arrays, and what has a descriptor.
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
            // A described element type, once for all elements; descriptors of descriptors are bounded by the depth.
            if descriptors.len() >= self.depth_left.into() {
                return Err(DecodeError::TooDeep);
            }
            descriptors.push(self.value()?);
            code = self.byte()?;
        }
        // Elements of no width (nulls, say) have no bytes that would bound them: only their memory does.
        let described = u32::try_from(descriptors.len()).unwrap_or(u32::MAX).saturating_mul(VALUE + MEMBERS);
        if count.saturating_mul(VALUE.saturating_add(described)) > self.memory_left {
            return Err(DecodeError::Memory);
        }
        let within = self.depth_left;
        // Each descriptor is a level, as it is for a single value.
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

/// A large descriptor, repeated for each element, would be memory for no bytes.
fn copy_of_descriptor(descriptor: &Value) -> Result<Value> {
    match descriptor {
        Value::Ulong(code) => Ok(Value::Ulong(*code)),
        Value::Symbol(name) if name.len() <= 128 => Ok(Value::Symbol(name.clone())),
        _ => Err(DecodeError::Composite),
    }
}
