//! The AMQP that the service sends, split into units. A unit is held back, altered, or made from the table.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_amqp::Value;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use serde_amqp::primitives::{Array, OrderedMap, Symbol, Timestamp};

use super::table::Bytes;

/// Bytes of a frame's header: size, data offset, type and channel.
const FRAME_HEADER: usize = 8;
/// The type of SASL frames.
const SASL: u8 = 1;
/// The code of the message section with the annotations.
const ANNOTATIONS: u64 = 0x72;
/// When made-up events were enqueued, in milliseconds since the Unix epoch.
const ENQUEUED: i64 = 1_780_000_000_000;

/// A unit of what the service sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A protocol header. The first header is that of SASL, the second that of AMQP.
    Header,
    /// An empty frame.
    Empty,
    /// `sasl-mechanisms`.
    Mechanisms,
    /// `sasl-challenge`.
    Challenge,
    /// `sasl-outcome`.
    Outcome,
    /// `open`.
    Open,
    /// `begin`.
    Begin,
    /// `attach`.
    Attach,
    /// `flow`.
    Flow,
    /// `transfer`.
    Transfer,
    /// `disposition`.
    Disposition,
    /// `detach`.
    Detach,
    /// `end`.
    End,
    /// `close`.
    Close,
    /// A performative that the standard does not have.
    Unknown,
}

impl Unit {
    fn code(self) -> u64 {
        match self {
            Self::Mechanisms => 0x40,
            Self::Challenge => 0x42,
            Self::Outcome => 0x44,
            Self::Open => 0x10,
            Self::Begin => 0x11,
            Self::Attach => 0x12,
            Self::Flow => 0x13,
            Self::Transfer => 0x14,
            Self::Disposition => 0x15,
            Self::Detach => 0x16,
            Self::End => 0x17,
            Self::Close => 0x18,
            Self::Header | Self::Empty | Self::Unknown => 0x7f,
        }
    }

    fn of(code: u64) -> Self {
        use Unit::{
            Attach, Begin, Challenge, Close, Detach, Disposition, End, Flow, Mechanisms, Open, Outcome, Transfer,
        };
        let all =
            [Mechanisms, Challenge, Outcome, Open, Begin, Attach, Flow, Transfer, Disposition, Detach, End, Close];
        all.into_iter().find(|unit| unit.code() == code).unwrap_or(Self::Unknown)
    }

    fn is_sasl(self) -> bool {
        matches!(self, Self::Mechanisms | Self::Challenge | Self::Outcome)
    }

    /// The index of the field that holds the link's handle.
    fn handle_at(self) -> usize {
        match self {
            Self::Attach => 1,
            Self::Flow => 4,
            _ => 0,
        }
    }
}

/// A unit that the service has sent.
#[derive(Clone, Debug)]
pub struct Said {
    /// The kind of the unit.
    pub unit: Unit,
    /// All bytes of the unit.
    pub bytes: Vec<u8>,
}

/// Takes the next unit out of the buffer, if the buffer holds all of its bytes.
pub fn next_unit(buffer: &mut Vec<u8>) -> Option<Said> {
    let first = buffer.first_chunk::<4>()?;
    if first == b"AMQP" {
        return (buffer.len() >= 8).then(|| Said { unit: Unit::Header, bytes: buffer.drain(..8).collect() });
    }
    let size = usize::try_from(u32::from_be_bytes(*first)).ok()?.max(FRAME_HEADER);
    if buffer.len() < size {
        return None;
    }
    let bytes: Vec<u8> = buffer.drain(..size).collect();
    let unit = match bytes.get(FRAME_HEADER..) {
        Some([0, 0x53, code, ..]) => Unit::of((*code).into()),
        Some([]) => Unit::Empty,
        _ => Unit::Unknown,
    };
    Some(Said { unit, bytes })
}

/// An AMQP value, or a reference to a part of the unit that is held back.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// The null value.
    Null,
    /// True.
    True,
    /// False.
    False,
    /// The link's handle in the unit that is held back.
    Handle,
    /// The delivery number in the unit that is held back.
    DeliveryId,
    /// The signature of the client's last token, as text.
    Token,
    /// The payload of the unit that is held back: all sections of its message.
    Payload,
    /// An unsigned number of 8 bits.
    Ubyte(u8),
    /// An unsigned number of 16 bits.
    Ushort(u16),
    /// An unsigned number of 32 bits.
    Uint(u32),
    /// An unsigned number of 64 bits.
    Ulong(u64),
    /// A signed number of 32 bits.
    Int(i32),
    /// A signed number of 64 bits.
    Long(i64),
    /// A time, in milliseconds since the Unix epoch.
    Timestamp(i64),
    /// A text.
    String(Bytes),
    /// A symbol.
    Symbol(Bytes),
    /// Bytes.
    Binary(Bytes),
    /// An array of symbols.
    Symbols(Vec<String>),
    /// A list.
    List(Vec<Field>),
    /// A map.
    Map(Vec<(Field, Field)>),
    /// A list with this many copies of one value.
    Many(usize, Box<Field>),
    /// Lists within each other, to this many levels.
    Nested(usize),
    /// A described value with this descriptor.
    Described(u64, Box<Field>),
    /// The annotations of an event: this sequence number, the same number as offset, and a time.
    Event(i64),
    /// Bytes that are written unchanged in place of a value.
    Raw(Bytes),
}

/// The parts of the held-back unit that the table can refer to.
#[derive(Clone, Debug, Default)]
struct Held {
    channel: u16,
    fields: Vec<Value>,
    handle: Value,
    delivery_id: Value,
    payload: Vec<u8>,
    code: u64,
    token: String,
}

impl Held {
    fn read(said: &Said, token: Option<&str>) -> Result<Self> {
        let body = said.bytes.get(FRAME_HEADER..).context("a frame without a body is held back")?;
        let channel = said.bytes.get(6..8).and_then(|two| Some(u16::from_be_bytes(*two.first_chunk()?)));
        let mut rest = body;
        let value: Value = serde_amqp::from_reader(&mut rest)?;
        let Value::Described(described) = value else { bail!("no performative is held back") };
        let (Descriptor::Code(code), Value::List(fields)) = (described.descriptor, described.value) else {
            bail!("no performative is held back")
        };
        let at = |index: usize| fields.get(index).cloned().unwrap_or_default();
        Ok(Self {
            channel: channel.unwrap_or_default(),
            handle: at(said.unit.handle_at()),
            delivery_id: at(1),
            payload: rest.to_vec(),
            code,
            fields,
            token: token.unwrap_or_default().to_owned(),
        })
    }
}

impl Field {
    fn to_value(&self, held: &Held) -> Result<Value> {
        let values = |fields: &[Self]| fields.iter().map(|field| field.to_value(held)).collect::<Result<Vec<_>>>();
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).context("a text is not UTF-8");
        Ok(match self {
            Self::Null => Value::Null,
            Self::True => Value::Bool(true),
            Self::False => Value::Bool(false),
            Self::Handle => held.handle.clone(),
            Self::DeliveryId => held.delivery_id.clone(),
            Self::Token => Value::String(format!("SharedAccessSignature sig={}&se=1", held.token)),
            Self::Ubyte(number) => Value::Ubyte(*number),
            Self::Ushort(number) => Value::Ushort(*number),
            Self::Uint(number) => Value::Uint(*number),
            Self::Ulong(number) => Value::Ulong(*number),
            Self::Int(number) => Value::Int(*number),
            Self::Long(number) => Value::Long(*number),
            Self::Timestamp(number) => Value::Timestamp(Timestamp::from_milliseconds(*number)),
            Self::String(bytes) => Value::String(text(bytes)?),
            Self::Symbol(bytes) => Value::Symbol(Symbol(text(bytes)?)),
            Self::Binary(bytes) => Value::Binary(bytes.to_vec().into()),
            Self::Symbols(texts) => {
                Value::Array(Array(texts.iter().map(|text| Value::Symbol(Symbol(text.clone()))).collect()))
            }
            Self::List(fields) => Value::List(values(fields)?),
            Self::Map(pairs) => {
                let mut map = OrderedMap::new();
                for (key, value) in pairs {
                    map.insert(key.to_value(held)?, value.to_value(held)?);
                }
                Value::Map(map)
            }
            Self::Many(times, field) => Value::List(vec![field.to_value(held)?; *times]),
            Self::Nested(levels) => (0..*levels).fold(Value::Null, |inner, _| Value::List(vec![inner])),
            Self::Described(code, field) => described(*code, field.to_value(held)?),
            Self::Event(number) => {
                let symbol = |name: &str| Value::Symbol(Symbol(name.to_owned()));
                let mut map = OrderedMap::new();
                map.insert(symbol("x-opt-sequence-number"), Value::Long(*number));
                map.insert(symbol("x-opt-offset"), Value::String(number.to_string()));
                map.insert(symbol("x-opt-enqueued-time"), Value::Timestamp(Timestamp::from_milliseconds(ENQUEUED)));
                described(ANNOTATIONS, Value::Map(map))
            }
            Self::Payload | Self::Raw(_) => bail!("{self:?} stands for no value, only for bytes of a payload"),
        })
    }

    fn put(&self, out: &mut Vec<u8>, held: &Held) -> Result<()> {
        match self {
            Self::Raw(bytes) => out.extend(bytes.to_vec()),
            Self::Payload => out.extend(&held.payload),
            _ => out.extend(serde_amqp::to_vec(&self.to_value(held)?)?),
        }
        Ok(())
    }
}

fn described(code: u64, value: Value) -> Value {
    Value::Described(Box::new(Described { descriptor: Descriptor::Code(code), value }))
}

/// Changes to the unit that is held back.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Edit {
    /// New fields, each with its index.
    #[serde(default)]
    set: Vec<(usize, Field)>,
    /// The new payload, section by section.
    payload: Option<Vec<Field>>,
    /// The new channel.
    channel: Option<u16>,
}

impl Edit {
    /// The held-back unit with these changes, as bytes.
    ///
    /// # Errors
    /// Where the unit has no fields.
    pub fn apply(&self, said: &Said, token: Option<&str>) -> Result<Vec<u8>> {
        let held = Held::read(said, token)?;
        let mut fields = held.fields.clone();
        for (place, field) in &self.set {
            if fields.len() <= *place {
                fields.resize(place + 1, Value::Null);
            }
            fields[*place] = field.to_value(&held)?;
        }
        let body = serde_amqp::to_vec(&described(held.code, Value::List(fields)))?;
        let mut payload = Vec::new();
        match &self.payload {
            Some(sections) => sections.iter().try_for_each(|section| section.put(&mut payload, &held))?,
            None => payload.clone_from(&held.payload),
        }
        let kind = said.bytes.get(5).copied().unwrap_or_default();
        Ok(frame(kind, self.channel.unwrap_or(held.channel), &body, &payload, None))
    }
}

/// A frame as the table describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Composite {
    /// The kind of the frame.
    unit: Unit,
    /// The frame's fields.
    #[serde(default)]
    fields: Vec<Field>,
    /// The bytes of the frame's body, instead of the fields.
    body: Option<Bytes>,
    /// The payload, section by section.
    #[serde(default)]
    payload: Vec<Field>,
    /// The channel. Without it, the channel of the held-back unit.
    channel: Option<u16>,
    /// The size in the frame's header, where it must differ from the true size.
    size: Option<u32>,
}

impl Composite {
    /// The frame's bytes.
    ///
    /// # Errors
    /// Where the table refers to a held-back unit and there is none.
    pub fn to_vec(&self, said: Option<&Said>, token: Option<&str>) -> Result<Vec<u8>> {
        let said = said.filter(|said| !matches!(said.unit, Unit::Header | Unit::Empty));
        let held = said.map(|said| Held::read(said, token)).transpose()?.unwrap_or_default();
        let body = match &self.body {
            Some(body) => body.to_vec(),
            None if self.unit == Unit::Empty => Vec::new(),
            None => {
                let fields = self.fields.iter().map(|field| field.to_value(&held)).collect::<Result<_>>()?;
                serde_amqp::to_vec(&described(self.unit.code(), Value::List(fields)))?
            }
        };
        let mut payload = Vec::new();
        self.payload.iter().try_for_each(|section| section.put(&mut payload, &held))?;
        let kind = if self.unit.is_sasl() { SASL } else { 0 };
        Ok(frame(kind, self.channel.unwrap_or(held.channel), &body, &payload, self.size))
    }
}

fn frame(kind: u8, channel: u16, body: &[u8], payload: &[u8], size: Option<u32>) -> Vec<u8> {
    let true_size = u32::try_from(FRAME_HEADER + body.len() + payload.len()).unwrap_or(u32::MAX);
    let mut bytes = size.unwrap_or(true_size).to_be_bytes().to_vec();
    bytes.extend([2, kind]);
    bytes.extend(channel.to_be_bytes());
    bytes.extend(body);
    bytes.extend(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_is_altered_and_nothing_else() {
        let made: Composite = toml::from_str(
            r#"unit = "transfer"
               channel = 2
               fields = [{ uint = 7 }, { uint = 9 }, { binary = "t" }]
               payload = [{ described = [0x75, { binary = "body" }] }]"#,
        )
        .expect("a frame");
        let mut bytes = made.to_vec(None, None).expect("bytes");
        bytes.extend(b"AMQP\x00\x01\x00\x00\x00\x00\x00\x08\x02\x00\x00\x00");
        let said = next_unit(&mut bytes).expect("a transfer");
        assert_eq!(said.unit, Unit::Transfer);
        let edit: Edit = toml::from_str(r#"set = [[1, { uint = 8 }], [4, "true"]]"#).expect("an edit");
        let altered = Said { unit: Unit::Transfer, bytes: edit.apply(&said, None).expect("altered") };
        let held = Held::read(&altered, None).expect("read");
        assert_eq!((held.handle, held.delivery_id, held.channel), (Value::Uint(7), Value::Uint(8), 2));
        assert_eq!(held.payload, b"\x00\x53\x75\xa0\x04body");
        assert_eq!(next_unit(&mut bytes).map(|said| said.unit), Some(Unit::Header));
        assert_eq!(next_unit(&mut bytes).map(|said| said.unit), Some(Unit::Empty));
        assert!(next_unit(&mut bytes).is_none());
    }
}
