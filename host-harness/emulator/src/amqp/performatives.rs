//! Outgoing performatives, written with **every** field.
//!
//! The standard lets a peer leave out trailing null fields, and the `fe2o3-amqp-types` structures do so when they are
//! serialized. The services write every field, and `azure-eventhub` for Python relies on that, because it reads fields
//! by position. So outgoing performatives are built as lists of values, nulls included.

use fe2o3_amqp_types::definitions::{ReceiverSettleMode, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::{DeliveryState, FilterSet};
use serde_amqp::Value;

use super::error::AmqpError;
use super::values::{binary, composite, encode, map, optional, symbol, symbols, text};

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

/// The terms of a link that the emulator states in its `attach`.
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

/// `attach`, its fourteen fields. Every link gets both a source and a target, even a link that a `detach` is about to
/// refuse, because the services do the same.
pub(super) fn attach(answer: &AttachAnswer<'_>) -> Vec<u8> {
    let is_sender = answer.role == Role::Sender;
    let filter = answer
        .filter
        .map(|filter| map(filter.iter().map(|(name, value)| (Value::Symbol(name.clone()), value.clone()))));
    // Fields of a source and of a target: address, durability, expiry policy, time-out, dynamic, node properties.
    let terminus = |address: Option<&str>| {
        vec![
            optional(address.map(text)),
            Value::Uint(0),
            symbol("session-end"),
            Value::Uint(0),
            Value::Bool(false),
            Value::Null,
        ]
    };
    // Fields of a source only: distribution mode, filter, default outcome, outcomes, capabilities.
    let mut source = terminus(answer.source);
    source.extend([Value::Null, optional(filter), Value::Null, Value::Null, Value::Null]);
    // Field of a target only: capabilities.
    let mut target = terminus(answer.target);
    target.push(Value::Null);
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

/// The outcome of a delivery.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Accepted,
    Rejected(AmqpError),
    Released,
}

/// `disposition`, its six fields. It settles one delivery.
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

/// The outcome in a delivery state; `None` for a state that is not final.
pub(super) fn outcome(state: &DeliveryState) -> Option<Outcome> {
    match state {
        DeliveryState::Accepted(_) => Some(Outcome::Accepted),
        DeliveryState::Rejected(_) => Some(Outcome::Rejected(AmqpError::new("amqp:internal-error", ""))),
        DeliveryState::Released(_) | DeliveryState::Modified(_) => Some(Outcome::Released),
        DeliveryState::Received(_) => None,
    }
}

/// `detach`, its three fields. It always closes the link.
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
    use serde_amqp::descriptor::Descriptor;

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
}
