//! Composites (part 1 of the standard, 1.4): described lists whose items are fields in a fixed order.

use super::codec::{DecodeError, Value};
use super::error::RemoteError;
use super::performative::{Properties, Role};

type Result<T> = std::result::Result<T, DecodeError>;

/// One method for each type that a field can have. It returns none for null, and an error for any other type.
macro_rules! typed_fields {
    ($($method:ident $type:ty = $variant:ident,)*) => {
        impl Fields {
            $(pub fn $method(&mut self, name: &'static str) -> Result<Option<$type>> {
                self.take(name, |value| if let Value::$variant(inner) = value { Some(inner) } else { None })
            })*
        }
    };
}

typed_fields! {
    boolean bool = Boolean,
    ubyte u8 = Ubyte,
    ushort u16 = Ushort,
    uint u32 = Uint,
    ulong u64 = Ulong,
    string String = String,
    symbol String = Symbol,
    binary Vec<u8> = Binary,
    pairs Properties = Map,
}

/// The fields of a composite in their order. Fields that were left out at the end are null.
pub(super) struct Fields(std::vec::IntoIter<Value>);

impl Fields {
    pub fn new(items: Vec<Value>) -> Self {
        Self(items.into_iter())
    }

    pub fn next(&mut self) -> Value {
        self.0.next().unwrap_or(Value::Null)
    }

    pub fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.next();
        }
    }

    fn take<T>(&mut self, name: &'static str, read: impl FnOnce(Value) -> Option<T>) -> Result<Option<T>> {
        match self.next() {
            Value::Null => Ok(None),
            value => read(value).map(Some).ok_or(DecodeError::Field(name)),
        }
    }

    pub fn map(&mut self, name: &'static str) -> Result<Properties> {
        Ok(self.pairs(name)?.unwrap_or_default())
    }

    /// A field that may be one symbol or an array of symbols.
    pub fn symbols(&mut self, name: &'static str) -> Result<Vec<String>> {
        let symbol = |value| if let Value::Symbol(text) = value { Some(text) } else { None };
        let several = self.take(name, |value| match value {
            Value::Array(items) => items.into_iter().map(symbol).collect(),
            one => symbol(one).map(|one| vec![one]),
        });
        Ok(several?.unwrap_or_default())
    }

    pub fn role(&mut self) -> Result<Role> {
        Ok(if must(self.boolean("role")?, "role")? { Role::Receiver } else { Role::Sender })
    }

    pub fn error(&mut self) -> Result<Option<RemoteError>> {
        let Some(mut fields) = composite(self.next(), 0x1d, "error")? else { return Ok(None) };
        Ok(Some(RemoteError {
            condition: must(fields.symbol("condition")?, "condition")?,
            description: fields.string("description")?,
            info: fields.map("info")?,
        }))
    }
}

pub(super) fn must<T>(value: Option<T>, name: &'static str) -> Result<T> {
    value.ok_or(DecodeError::Field(name))
}

pub(super) fn composite(value: Value, code: u64, name: &'static str) -> Result<Option<Fields>> {
    match value {
        Value::Null => Ok(None),
        Value::Described(both) => match *both {
            (descriptor, Value::List(items)) if composite_code(&descriptor) == Some(code) => {
                Ok(Some(Fields::new(items)))
            }
            _ => Err(DecodeError::Field(name)),
        },
        _ => Err(DecodeError::Field(name)),
    }
}

pub(super) fn symbols(names: &[String]) -> Value {
    if names.is_empty() { Value::Null } else { Value::Array(names.iter().map(Value::symbol).collect()) }
}

pub(super) fn map(pairs: &Properties) -> Value {
    if pairs.is_empty() { Value::Null } else { Value::Map(pairs.clone()) }
}

pub(super) fn error_value(error: &Option<RemoteError>) -> Value {
    let value = |error: &RemoteError| {
        let fields = vec![Value::symbol(&error.condition), error.description.as_deref().into(), map(&error.info)];
        Value::described(0x1d, Value::List(fields))
    };
    error.as_ref().map(value).into()
}

/// The numeric code of a descriptor, also where the descriptor is a symbol.
pub(crate) fn composite_code(descriptor: &Value) -> Option<u64> {
    match descriptor {
        Value::Ulong(code) => Some(*code),
        Value::Symbol(name) => NAMES.iter().find(|(known, _)| known == name).map(|(_, code)| *code),
        _ => None,
    }
}

/// The symbolic descriptors of the standard's composites.
const NAMES: [(&str, u64); 31] = [
    ("amqp:open:list", 0x10),
    ("amqp:begin:list", 0x11),
    ("amqp:attach:list", 0x12),
    ("amqp:flow:list", 0x13),
    ("amqp:transfer:list", 0x14),
    ("amqp:disposition:list", 0x15),
    ("amqp:detach:list", 0x16),
    ("amqp:end:list", 0x17),
    ("amqp:close:list", 0x18),
    ("amqp:error:list", 0x1d),
    ("amqp:received:list", 0x23),
    ("amqp:accepted:list", 0x24),
    ("amqp:rejected:list", 0x25),
    ("amqp:released:list", 0x26),
    ("amqp:modified:list", 0x27),
    ("amqp:source:list", 0x28),
    ("amqp:target:list", 0x29),
    ("amqp:sasl-mechanisms:list", 0x40),
    ("amqp:sasl-init:list", 0x41),
    ("amqp:sasl-challenge:list", 0x42),
    ("amqp:sasl-response:list", 0x43),
    ("amqp:sasl-outcome:list", 0x44),
    ("amqp:header:list", 0x70),
    ("amqp:delivery-annotations:map", 0x71),
    ("amqp:message-annotations:map", 0x72),
    ("amqp:properties:list", 0x73),
    ("amqp:application-properties:map", 0x74),
    ("amqp:data:binary", 0x75),
    ("amqp:amqp-sequence:list", 0x76),
    ("amqp:amqp-value:*", 0x77),
    ("amqp:footer:map", 0x78),
];
