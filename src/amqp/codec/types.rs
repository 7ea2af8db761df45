//! A value of any AMQP type.

/// A value of AMQP's type system. What it was encoded as (one byte or four, say) is not kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Boolean(bool),
    /// 8 bits without sign.
    Ubyte(u8),
    /// 16 bits without sign.
    Ushort(u16),
    /// 32 bits without sign.
    Uint(u32),
    /// 64 bits without sign.
    Ulong(u64),
    /// 8 bits.
    Byte(i8),
    /// 16 bits.
    Short(i16),
    /// 32 bits.
    Int(i32),
    /// 64 bits.
    Long(i64),
    /// IEEE 754 binary32.
    Float(f32),
    /// IEEE 754 binary64.
    Double(f64),
    /// IEEE 754 decimal32, its bytes as they came.
    Decimal32([u8; 4]),
    /// IEEE 754 decimal64, its bytes as they came.
    Decimal64([u8; 8]),
    /// IEEE 754 decimal128, its bytes as they came.
    Decimal128([u8; 16]),
    /// One Unicode character.
    Char(char),
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
    /// A UUID of RFC 4122.
    Uuid([u8; 16]),
    /// Bytes.
    Binary(Vec<u8>),
    /// Text.
    String(String),
    /// A name from a constrained domain.
    Symbol(String),
    /// Values of any types.
    List(Vec<Value>),
    /// Pairs in the order that they came in.
    Map(Vec<(Value, Value)>),
    /// Values of one type. Where they are of several, it is written as a list.
    Array(Vec<Value>),
    /// A descriptor and the value that it describes.
    Described(Box<(Value, Value)>),
}

impl Value {
    /// A string.
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// A symbol.
    pub fn symbol(text: impl Into<String>) -> Self {
        Self::Symbol(text.into())
    }

    /// A value described by a numeric descriptor.
    pub fn described(code: u64, value: Self) -> Self {
        Self::Described(Box::new((Self::Ulong(code), value)))
    }

    /// The text of a string or a symbol.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// The number of any integer type, where it fits.
    pub fn as_i64(&self) -> Option<i64> {
        Some(match *self {
            Self::Ubyte(n) => n.into(),
            Self::Ushort(n) => n.into(),
            Self::Uint(n) => n.into(),
            Self::Ulong(n) => i64::try_from(n).ok()?,
            Self::Byte(n) => n.into(),
            Self::Short(n) => n.into(),
            Self::Int(n) => n.into(),
            Self::Long(n) | Self::Timestamp(n) => n,
            _ => return None,
        })
    }

    /// The pairs of a map.
    pub fn as_map(&self) -> Option<&[(Self, Self)]> {
        match self {
            Self::Map(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The first member of a map with this string or symbol as its key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?.iter().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

/// Null for none.
impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The types of Rust that stand for just one of AMQP's.
macro_rules! from_rust {
    ($($type:ty => $variant:ident,)*) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value)
            }
        })*
    };
}

from_rust! {
    bool => Boolean,
    u8 => Ubyte,
    u16 => Ushort,
    u32 => Uint,
    u64 => Ulong,
}
