//! Frames: what comes in becomes typed performatives, what goes out is written with **every** field.
//!
//! The standard lets a peer leave out trailing null fields, and the `fe2o3-amqp-types` structures do so when they are
//! serialized. The services do not, and `azure-eventhub` for Python relies on it: it reads by position. So outgoing
//! performatives are built as lists of values, nulls included.

use std::io::Read as _;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use fe2o3_amqp_types::definitions::{ReceiverSettleMode, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::{Body, DeliveryState, FilterSet, Message, message::__private::Deserializable};
use fe2o3_amqp_types::performatives::Performative;
use fe2o3_amqp_types::sasl::SaslInit;
use serde_amqp::Value;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use serde_amqp::primitives::{Array, OrderedMap, Symbol, Timestamp};
use serde_bytes::ByteBuf;

/// The protocol header of AMQP itself.
pub(super) const AMQP_HEADER: &[u8; 8] = b"AMQP\x00\x01\x00\x00";
/// The protocol header of the SASL layer.
pub(super) const SASL_HEADER: &[u8; 8] = b"AMQP\x03\x01\x00\x00";
/// How deep values may be nested. An attach with a filter has six levels.
const MAX_DEPTH: usize = 32;
/// Size, data offset, type and channel.
pub(super) const FRAME_HEADER: usize = 8;

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of {0} bytes is shorter than its header or longer than was agreed")]
    Size(usize),
    #[error("frame type {0} is unknown")]
    Type(u8),
    #[error("a frame could not be decoded: {0}")]
    Decode(#[from] serde_amqp::Error),
    #[error("a frame is cut short, or nested too deeply")]
    Shape,
}

/// A frame that came in.
#[derive(Debug)]
pub(super) enum Frame {
    /// A heartbeat.
    Empty,
    /// A performative on a channel; the payload is a transfer's.
    Amqp { channel: u16, performative: Box<Performative>, payload: Bytes },
    /// The only SASL frame that a client of ours sends.
    SaslInit(SaslInit),
}

/// Takes the next frame out of the buffer, once all of it is there.
pub(super) fn next_frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<Frame>, FrameError> {
    let Some(size) = buffer.first_chunk::<4>() else { return Ok(None) };
    let size = u32::from_be_bytes(*size) as usize;
    if !(FRAME_HEADER..=limit).contains(&size) {
        return Err(FrameError::Size(size));
    }
    if buffer.len() < size {
        return Ok(None);
    }
    let mut frame = buffer.split_to(size).freeze();
    frame.advance(4);
    let offset = usize::from(frame.get_u8()) * 4;
    let kind = frame.get_u8();
    let channel = frame.get_u16();
    let extended = offset.checked_sub(FRAME_HEADER).filter(|extended| *extended <= frame.len());
    frame.advance(extended.ok_or(FrameError::Size(offset))?);
    match kind {
        0 if frame.is_empty() => Ok(Some(Frame::Empty)),
        0 | 1 if skip(&frame, MAX_DEPTH).is_none() => Err(FrameError::Shape),
        0 => {
            let mut rest: &[u8] = &frame;
            let performative = Box::new(serde_amqp::from_reader(rest.by_ref())?);
            let payload = frame.slice(frame.len() - rest.len()..);
            Ok(Some(Frame::Amqp { channel, performative, payload }))
        }
        1 => Ok(Some(Frame::SaslInit(serde_amqp::from_slice(&frame)?))),
        other => Err(FrameError::Type(other)),
    }
}

/// Appends a frame: an AMQP one of type 0, a SASL one of type 1.
pub(super) fn put_frame(out: &mut BytesMut, kind: u8, channel: u16, body: &[u8], payload: &[u8]) {
    let size = FRAME_HEADER + body.len() + payload.len();
    out.reserve(size);
    out.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
    out.put_u8(2);
    out.put_u8(kind);
    out.put_u16(channel);
    out.put_slice(body);
    out.put_slice(payload);
}

/// A value in its binary form. Values that this crate builds can always be written.
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    serde_amqp::to_vec(value).unwrap_or_else(|error| {
        tracing::error!(%error, "a value could not be written");
        Vec::new()
    })
}

/// How long the value at the beginning of the bytes is; none when it is cut short or nested too deeply. The codec
/// recurses into whatever it is given: a frame of a few kilobytes could use up the stack.
fn skip(bytes: &[u8], depth: usize) -> Option<usize> {
    let depth = depth.checked_sub(1)?;
    let code = *bytes.first()?;
    if code == 0 {
        let descriptor = skip(bytes.get(1..)?, depth)?;
        return Some(1 + descriptor + skip(bytes.get(1 + descriptor..)?, depth)?);
    }
    let short = || bytes.get(1).map(|size| (usize::from(*size) + 2, 2));
    let long = || {
        let size = bytes.get(1..)?.first_chunk::<4>()?;
        Some((usize::try_from(u32::from_be_bytes(*size)).ok()?.checked_add(5)?, 5))
    };
    let (length, header) = match code >> 4 {
        0x4 => (1, 1),
        width @ 0x5..=0x9 => (1 + (1 << (width - 5)), 1),
        0xa | 0xc | 0xe => short()?,
        0xb | 0xd | 0xf => long()?,
        _ => return None,
    };
    let content = bytes.get(header..length)?;
    let counter = if header == 2 { 1 } else { 4 };
    match code >> 4 {
        0xc | 0xd => {
            let mut rest = content.get(counter..)?;
            while !rest.is_empty() {
                rest = rest.get(skip(rest, depth)?..)?;
            }
        }
        // The elements of an array are symbols or the like; nothing that clients send has arrays of lists.
        0xe | 0xf if !content.is_empty() => {
            let element = *content.get(counter)?;
            if element == 0 || element >> 4 > 0xb {
                return None;
            }
        }
        _ => {}
    }
    Some(length)
}

/// A message, taken apart. `None` when the bytes are no message.
pub(super) fn decode_message(bytes: &[u8]) -> Option<Message<Body<Value>>> {
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = rest.get(skip(rest, MAX_DEPTH)?..)?;
    }
    match serde_amqp::from_slice::<Deserializable<Message<Body<Value>>>>(bytes) {
        Ok(message) => Some(message.0),
        Err(error) => {
            tracing::debug!(%error, "a message could not be decoded");
            None
        }
    }
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

fn symbols(items: &[&str]) -> Value {
    Value::Array(Array(items.iter().map(|item| symbol(*item)).collect()))
}

fn optional(value: Option<Value>) -> Value {
    value.unwrap_or(Value::Null)
}

/// An error as a peer sees it: a condition, a sentence and, for a redirect, where to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AmqpError {
    pub(crate) condition: String,
    pub(crate) description: String,
    pub(crate) info: Vec<(&'static str, Value)>,
}

impl AmqpError {
    pub(crate) fn new(condition: impl Into<String>, description: impl Into<String>) -> Self {
        Self { condition: condition.into(), description: description.into(), info: Vec::new() }
    }

    /// As a fault rule words it: a condition, after it perhaps a slash and IoT Hub's six digits.
    pub(crate) fn of_rule(condition: &str) -> Self {
        const WORDS: &str = "A fault rule wants it so.";
        let split =
            condition.rsplit_once('/').and_then(|(condition, code)| Some((condition, code.parse::<i32>().ok()?)));
        match split {
            Some((condition, code)) => {
                Self { info: vec![("com.microsoft:error-code", Value::Int(code))], ..Self::new(condition, WORDS) }
            }
            None => Self::new(condition, WORDS),
        }
    }

    fn to_value(&self) -> Value {
        let info = self.info.iter().map(|(name, value)| (symbol(*name), value.clone()));
        let info = if self.info.is_empty() { Value::Null } else { map(info) };
        composite(0x1d, vec![symbol(self.condition.as_str()), text(self.description.as_str()), info])
    }
}

/// `sasl-mechanisms`.
pub(super) fn sasl_mechanisms(mechanisms: &[&str]) -> Vec<u8> {
    encode(&composite(0x40, vec![symbols(mechanisms)]))
}

/// `sasl-outcome`: 0 is success, 1 a wrong credential.
pub(super) fn sasl_outcome(code: u8) -> Vec<u8> {
    encode(&composite(0x44, vec![Value::Ubyte(code), Value::Null]))
}

/// `open`, its ten fields.
pub(super) fn open(container: &str, max_frame_size: u32, channel_max: u16, idle_time_out: Option<u32>) -> Vec<u8> {
    let mut fields = vec![
        text(container),
        Value::Null,
        Value::Uint(max_frame_size),
        Value::Ushort(channel_max),
        optional(idle_time_out.map(Value::Uint)),
    ];
    fields.resize(9, Value::Null);
    fields.push(map([(symbol("product"), text("azure-iot-emulator"))]));
    encode(&composite(0x10, fields))
}

/// `begin`, its eight fields.
pub(super) fn begin(remote_channel: u16, next_outgoing_id: u32, window: u32, handle_max: u32) -> Vec<u8> {
    let mut fields = vec![
        Value::Ushort(remote_channel),
        Value::Uint(next_outgoing_id),
        Value::Uint(window),
        Value::Uint(window),
        Value::Uint(handle_max),
    ];
    fields.resize(8, Value::Null);
    encode(&composite(0x11, fields))
}

/// The terms of a link, as the emulator answers them.
pub(super) struct AttachAnswer<'a> {
    pub(super) name: &'a str,
    pub(super) handle: u32,
    /// The emulator's own role.
    pub(super) role: Role,
    pub(super) snd_settle_mode: SenderSettleMode,
    pub(super) rcv_settle_mode: ReceiverSettleMode,
    pub(super) source: Option<&'a str>,
    pub(super) filter: Option<&'a FilterSet>,
    pub(super) target: Option<&'a str>,
    pub(super) max_message_size: u64,
    pub(super) capabilities: Vec<&'a str>,
    pub(super) tracking_id: &'a str,
}

/// `attach`, its fourteen fields, with both a source and a target on every link: also on one that is about to be
/// refused by a `detach`, as the services do it.
pub(super) fn attach(answer: &AttachAnswer<'_>) -> Vec<u8> {
    let is_sender = answer.role == Role::Sender;
    let filter = answer
        .filter
        .map(|filter| map(filter.iter().map(|(name, value)| (Value::Symbol(name.clone()), value.clone()))));
    let address = |address: Option<&str>| optional(address.map(text));
    let source = vec![
        address(answer.source),
        Value::Uint(0),
        symbol("session-end"),
        Value::Uint(0),
        Value::Bool(false),
        Value::Null,
        Value::Null,
        optional(filter),
        Value::Null,
        Value::Null,
        Value::Null,
    ];
    let target = vec![
        address(answer.target),
        Value::Uint(0),
        symbol("session-end"),
        Value::Uint(0),
        Value::Bool(false),
        Value::Null,
        Value::Null,
    ];
    let capabilities = if answer.capabilities.is_empty() { Value::Null } else { symbols(&answer.capabilities) };
    encode(&composite(
        0x12,
        vec![
            text(answer.name),
            Value::Uint(answer.handle),
            Value::Bool(answer.role == Role::Receiver),
            Value::Ubyte(u8::from(answer.snd_settle_mode.clone())),
            Value::Ubyte(u8::from(answer.rcv_settle_mode.clone())),
            composite(0x28, source),
            composite(0x29, target),
            Value::Null,
            Value::Bool(false),
            optional(is_sender.then_some(Value::Uint(0))),
            Value::Ulong(answer.max_message_size),
            capabilities,
            Value::Null,
            map([(symbol("com.microsoft:tracking-id"), text(answer.tracking_id))]),
        ],
    ))
}

/// The state of a link in a `flow`.
pub(super) struct LinkFlow {
    pub(super) handle: u32,
    pub(super) delivery_count: u32,
    pub(super) credit: u32,
    pub(super) drain: bool,
}

/// `flow`, its eleven fields.
pub(super) fn flow(
    next_incoming_id: u32,
    incoming_window: u32,
    next_outgoing_id: u32,
    outgoing_window: u32,
    link: Option<LinkFlow>,
) -> Vec<u8> {
    let mut fields = vec![
        Value::Uint(next_incoming_id),
        Value::Uint(incoming_window),
        Value::Uint(next_outgoing_id),
        Value::Uint(outgoing_window),
    ];
    let mut drain = false;
    match link {
        Some(link) => {
            fields.extend([
                Value::Uint(link.handle),
                Value::Uint(link.delivery_count),
                Value::Uint(link.credit),
                Value::Uint(0),
            ]);
            drain = link.drain;
        }
        None => fields.resize(8, Value::Null),
    }
    fields.extend([Value::Bool(drain), Value::Bool(false), Value::Null]);
    encode(&composite(0x13, fields))
}

/// `transfer`, its eleven fields.
pub(super) fn transfer(handle: u32, delivery_id: u32, tag: &[u8], settled: bool, more: bool) -> Vec<u8> {
    encode(&composite(
        0x14,
        vec![
            Value::Uint(handle),
            Value::Uint(delivery_id),
            binary(tag),
            Value::Uint(0),
            Value::Bool(settled),
            Value::Bool(more),
            Value::Null,
            Value::Null,
            Value::Bool(false),
            Value::Bool(false),
            Value::Bool(true),
        ],
    ))
}

/// What became of a delivery.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Accepted,
    Rejected(AmqpError),
    Released,
}

/// `disposition`, its six fields, for one delivery, settled.
pub(super) fn disposition(role: Role, delivery_id: u32, outcome: &Outcome) -> Vec<u8> {
    let state = match outcome {
        Outcome::Accepted => composite(0x24, Vec::new()),
        Outcome::Rejected(error) => composite(0x25, vec![error.to_value()]),
        Outcome::Released => composite(0x26, Vec::new()),
    };
    encode(&composite(
        0x15,
        vec![
            Value::Bool(role == Role::Receiver),
            Value::Uint(delivery_id),
            Value::Uint(delivery_id),
            Value::Bool(true),
            state,
            Value::Bool(false),
        ],
    ))
}

/// The outcome in a delivery state that is final.
pub(super) fn outcome(state: &DeliveryState) -> Option<Outcome> {
    match state {
        DeliveryState::Accepted(_) => Some(Outcome::Accepted),
        DeliveryState::Rejected(_) => Some(Outcome::Rejected(AmqpError::new("amqp:internal-error", ""))),
        DeliveryState::Released(_) | DeliveryState::Modified(_) => Some(Outcome::Released),
        DeliveryState::Received(_) => None,
    }
}

/// `detach`, its three fields; always closing.
pub(super) fn detach(handle: u32, error: Option<&AmqpError>) -> Vec<u8> {
    let error = optional(error.map(AmqpError::to_value));
    encode(&composite(0x16, vec![Value::Uint(handle), Value::Bool(true), error]))
}

/// `end`.
pub(super) fn end(error: Option<&AmqpError>) -> Vec<u8> {
    encode(&composite(0x17, vec![optional(error.map(AmqpError::to_value))]))
}

/// `close`.
pub(super) fn close(error: Option<&AmqpError>) -> Vec<u8> {
    encode(&composite(0x18, vec![optional(error.map(AmqpError::to_value))]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> (u64, usize) {
        match serde_amqp::from_slice::<Value>(bytes).expect("value") {
            Value::Described(described) => match (&described.descriptor, &described.value) {
                (Descriptor::Code(code), Value::List(fields)) => (*code, fields.len()),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn performatives_have_all_their_fields() {
        let answer = AttachAnswer {
            name: "l",
            handle: 0,
            role: Role::Sender,
            snd_settle_mode: SenderSettleMode::Settled,
            rcv_settle_mode: ReceiverSettleMode::First,
            source: None,
            filter: None,
            target: None,
            max_message_size: 1,
            capabilities: vec!["a", "b"],
            tracking_id: "t",
        };
        assert_eq!(fields(&open("c", 1, 2, None)), (0x10, 10));
        assert_eq!(fields(&begin(0, 1, 2, 3)), (0x11, 8));
        assert_eq!(fields(&attach(&answer)), (0x12, 14));
        assert_eq!(fields(&flow(0, 1, 2, 3, None)), (0x13, 11));
        assert_eq!(fields(&transfer(0, 1, b"t", true, false)), (0x14, 11));
        assert_eq!(fields(&disposition(Role::Receiver, 0, &Outcome::Accepted)), (0x15, 6));
        assert_eq!(fields(&detach(0, None)), (0x16, 3));
    }

    #[test]
    fn a_frame_comes_out_whole_or_not_at_all() {
        let mut wire = BytesMut::new();
        put_frame(&mut wire, 0, 7, &transfer(3, 1, b"t", true, false), b"payload");
        let whole = wire.clone();
        for length in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..length]);
            assert!(next_frame(&mut part, 1000).expect("no error").is_none(), "{length}");
        }
        match next_frame(&mut wire, 1000).expect("frame").expect("whole") {
            Frame::Amqp { channel: 7, performative, payload } => {
                assert!(matches!(*performative, Performative::Transfer(transfer) if transfer.handle.0 == 3));
                assert_eq!(&payload[..], b"payload");
            }
            other => panic!("{other:?}"),
        }
        assert!(wire.is_empty());
    }

    #[test]
    fn values_nested_without_end_are_refused() {
        let mut value = Value::Null;
        for _ in 0..20 {
            value = Value::List(vec![value]);
        }
        assert_eq!(skip(&encode(&value), MAX_DEPTH), Some(encode(&value).len()));
        let levels = 8000_u16;
        let mut deep = vec![0x40];
        for _ in 0..levels {
            let size = u32::try_from(deep.len() + 4).expect("short");
            deep.splice(0..0, [&[0xd0][..], &size.to_be_bytes(), &1_u32.to_be_bytes()].concat());
        }
        assert_eq!(skip(&deep, MAX_DEPTH), None);
        let described = [vec![0; 9000], vec![0x40]].concat();
        assert_eq!(skip(&described, MAX_DEPTH), None);
        let mut wire = BytesMut::new();
        put_frame(&mut wire, 0, 0, &[&[0, 0x53, 0x10][..], &deep].concat(), &[]);
        assert!(matches!(next_frame(&mut wire, 1 << 20), Err(FrameError::Shape)));
        assert!(decode_message(&[&[0, 0x53, 0x77][..], &deep].concat()).is_none());
    }

    #[test]
    fn sizes_out_of_bounds_are_refused() {
        for size in [0u32, 7, 1001, u32::MAX] {
            let mut wire = BytesMut::from(&size.to_be_bytes()[..]);
            assert!(matches!(next_frame(&mut wire, 1000), Err(FrameError::Size(_))));
        }
        let mut wire = BytesMut::from(&b"\x00\x00\x00\x08\xff\x00\x00\x00"[..]);
        assert!(next_frame(&mut wire, 1000).is_err());
    }
}
