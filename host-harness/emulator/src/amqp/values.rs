//! Values of AMQP and their binary form.

use serde_amqp::Value;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use serde_amqp::primitives::{Array, OrderedMap, Symbol, Timestamp};
use serde_bytes::ByteBuf;

/// A value in its binary form. Values that this crate builds can always be written.
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    serde_amqp::to_vec(value).unwrap_or_else(|error| {
        tracing::error!(%error, "an AMQP value could not be encoded");
        Vec::new()
    })
}

/// A described list: a performative, a delivery state, a terminus.
pub(crate) fn composite(code: u64, fields: Vec<Value>) -> Value {
    described(code, Value::List(fields))
}

/// A value under a numeric descriptor: a section of a message.
pub(crate) fn described(code: u64, value: Value) -> Value {
    Value::Described(Box::new(Described { descriptor: Descriptor::Code(code), value }))
}

pub(crate) fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

pub(crate) fn symbol(text: impl Into<String>) -> Value {
    Value::Symbol(Symbol(text.into()))
}

pub(crate) fn timestamp(milliseconds: i64) -> Value {
    Value::Timestamp(Timestamp::from_milliseconds(milliseconds))
}

pub(crate) fn binary(bytes: impl Into<Vec<u8>>) -> Value {
    Value::Binary(ByteBuf::from(bytes.into()))
}

pub(crate) fn map(entries: impl IntoIterator<Item = (Value, Value)>) -> Value {
    let mut map = OrderedMap::new();
    for (key, value) in entries {
        map.insert(key, value);
    }
    Value::Map(map)
}

pub(super) fn symbols(items: &[&str]) -> Value {
    Value::Array(Array(items.iter().map(|item| symbol(*item)).collect()))
}

pub(super) fn optional(value: Option<Value>) -> Value {
    value.unwrap_or(Value::Null)
}

/// The text of a string or a symbol.
pub(super) fn string_of(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Symbol(symbol) => Some(symbol.as_str()),
        _ => None,
    }
}
