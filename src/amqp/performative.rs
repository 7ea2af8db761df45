//! The bodies of frames (part 2 of the standard, 2.7; part 5, 5.3.3), in both directions.
//!
//! All fields are always written, including nulls at the end. The standard allows leaving them out, but Azure's
//! services never do, and Microsoft's own Python client reads fields by position.

use super::codec::{DecodeError, Decoder, Limits, Scalar, Value, encode};
use super::composite::{Fields, composite, composite_code, error_value, map, must, symbols};
use super::error::RemoteError;

/// The properties in an open or attach frame.
pub type Properties = Vec<(Value, Value)>;
type Result<T> = std::result::Result<T, DecodeError>;

/// The kinds of frame bodies.
#[derive(Clone, Debug, PartialEq)]
pub enum Performative {
    /// Opens the connection.
    Open(Open),
    /// Begins a session.
    Begin(Begin),
    /// Attaches a link. It is boxed because it is the largest variant and rare.
    Attach(Box<Attach>),
    /// Grants credit, and announces the session's windows.
    Flow(Flow),
    /// Carries a message or a part of a message; the payload follows in the same frame.
    Transfer(Transfer),
    /// States the outcome of deliveries.
    Disposition(Disposition),
    /// Detaches a link.
    Detach(Detach),
    /// Ends the session.
    End(Option<RemoteError>),
    /// Closes the connection.
    Close(Option<RemoteError>),
    /// The mechanisms that the server accepts for authentication.
    SaslMechanisms(Vec<String>),
    /// The mechanism that the client chose.
    SaslInit(SaslInit),
    /// A question from the server.
    SaslChallenge(Vec<u8>),
    /// The client's answer to a challenge.
    SaslResponse(Vec<u8>),
    /// The result of the authentication; 0 is success.
    SaslOutcome(u8),
}

/// Opens the connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Open {
    /// The name of the sender of this frame.
    pub container_id: String,
    /// The host name that the client wants to reach.
    pub hostname: Option<String>,
    /// The largest frame that the sender accepts, in bytes.
    pub max_frame_size: Option<u32>,
    /// The highest channel number that the sender accepts.
    pub channel_max: Option<u16>,
    /// After how many milliseconds without a frame the sender gives the peer up.
    pub idle_time_out: Option<u32>,
    /// The capabilities that the sender asks for.
    pub desired_capabilities: Vec<String>,
    /// More about the sender.
    pub properties: Properties,
}

/// Begins a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Begin {
    /// The channel of the begin that this frame answers.
    pub remote_channel: Option<u16>,
    /// The number of the first transfer that the sender will send.
    pub next_outgoing_id: u32,
    /// How many transfers the sender accepts.
    pub incoming_window: u32,
    /// How many transfers the sender may send.
    pub outgoing_window: u32,
    /// The highest handle that the sender accepts.
    pub handle_max: Option<u32>,
}

/// The end of a link: its sender or its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that sends messages.
    Sender,
    /// The end that receives messages.
    Receiver,
}

/// Attaches a link.
#[derive(Clone, Debug, PartialEq)]
pub struct Attach {
    /// The link's name, the same on both sides.
    pub name: String,
    /// The link's handle on the side that sends this frame.
    pub handle: u32,
    /// The end of the link that the side sending this frame has.
    pub role: Role,
    /// How the link's sender settles: 0 unsettled, 1 settled, 2 mixed.
    pub snd_settle_mode: Option<u8>,
    /// How the link's receiver settles: 0 first, 1 second.
    pub rcv_settle_mode: Option<u8>,
    /// Where messages come from.
    pub source: Option<Source>,
    /// Where messages go to.
    pub target: Option<Target>,
    /// The delivery count at which the link's sender begins.
    pub initial_delivery_count: Option<u32>,
    /// The largest message that the side sending this frame accepts, in bytes; 0 and none both mean no limit.
    pub max_message_size: Option<u64>,
    /// The capabilities that the side sending this frame asks for.
    pub desired_capabilities: Vec<String>,
    /// More about the link.
    pub properties: Properties,
}

/// Where messages come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// The address.
    pub address: Option<String>,
    /// A filter that selects some of the source's messages.
    pub filter: Properties,
}

/// Where messages go to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// The address.
    pub address: Option<String>,
}

/// Grants credit, and announces the session's windows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// The number of the next transfer that the sender of this frame expects.
    pub next_incoming_id: Option<u32>,
    /// How many transfers the sender of this frame accepts.
    pub incoming_window: u32,
    /// The number of the next transfer that the sender of this frame will send.
    pub next_outgoing_id: u32,
    /// How many transfers the sender of this frame may send.
    pub outgoing_window: u32,
    /// The link's handle, if the frame concerns a link.
    pub handle: Option<u32>,
    /// The link's delivery count.
    pub delivery_count: Option<u32>,
    /// How many messages may be sent, counted from that delivery count.
    pub link_credit: Option<u32>,
    /// How many messages wait at the link's sender.
    pub available: Option<u32>,
    /// Whether the link's sender must use up or return the credit now.
    pub drain: bool,
    /// Whether the peer must answer with a flow of its own.
    pub echo: bool,
}

/// Carries a message or a part of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transfer {
    /// The link's handle.
    pub handle: u32,
    /// The delivery's id; mandatory in the delivery's first transfer.
    pub delivery_id: Option<u32>,
    /// The tag with which the sender identifies the delivery.
    pub delivery_tag: Option<Vec<u8>>,
    /// The message format; 0 for AMQP messages.
    pub message_format: Option<u32>,
    /// Whether the sender has already settled the delivery.
    pub settled: Option<bool>,
    /// Whether more of the message follows.
    pub more: bool,
    /// Whether the sender cancels the message.
    pub aborted: bool,
}

/// The outcome of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The message was accepted.
    Accepted,
    /// The message was refused, and the reason.
    Rejected(Option<RemoteError>),
    /// The message was not processed.
    Released,
    /// The message was not processed, and was changed.
    Modified,
    /// A state that is not one of the standard's terminal outcomes.
    Other,
}

/// States the outcome of deliveries.
#[derive(Clone, Debug, PartialEq)]
pub struct Disposition {
    /// The end of the link that the side sending this frame has.
    pub role: Role,
    /// The id of the first delivery.
    pub first: u32,
    /// The id of the last delivery; none means that `first` is the only one.
    pub last: Option<u32>,
    /// Whether the side sending this frame has settled the deliveries.
    pub settled: bool,
    /// The outcome of the deliveries.
    pub state: Option<Outcome>,
}

/// Detaches a link.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detach {
    /// The link's handle.
    pub handle: u32,
    /// Whether the link is closed for good.
    pub closed: bool,
    /// The reason.
    pub error: Option<RemoteError>,
}

/// The client's choice of a mechanism.
#[derive(Clone, PartialEq)]
pub struct SaslInit {
    /// The mechanism's name.
    pub mechanism: String,
    /// The mechanism's first response. With PLAIN it contains the password, so `Debug` is not derived.
    pub initial_response: Vec<u8>,
    /// The host name that the client wants to reach.
    pub hostname: Option<String>,
}

impl std::fmt::Debug for SaslInit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SaslInit").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

impl Performative {
    /// Appends the frame body's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (code, fields) = self.fields();
        encode(&Value::described(code, Value::List(fields)), out);
    }

    /// Reads the performative at the start of `body`. Returns it with the remaining bytes, which are a transfer's
    /// payload.
    ///
    /// # Errors
    /// [`DecodeError`]; `Composite` where the value is not a performative of the standard.
    pub fn decode(body: &[u8]) -> Result<(Self, &[u8])> {
        // Nearly all frames are transfers, and nearly all of them are plain.
        match Transfer::decode_plain(body) {
            Some((transfer, payload)) => Ok((Self::Transfer(transfer), payload)),
            None => Self::decode_any(body),
        }
    }

    /// Reads any performative. [`Transfer::decode_plain`] must read the same one, or none.
    pub(super) fn decode_any(body: &[u8]) -> Result<(Self, &[u8])> {
        let mut decoder = Decoder::new(body, Limits::PERFORMATIVE);
        let code = composite_code(&decoder.descriptor()?).ok_or(DecodeError::Composite)?;
        let Value::List(items) = decoder.value()? else { return Err(DecodeError::Composite) };
        Ok((Self::from_fields(code, Fields::new(items))?, decoder.rest()))
    }

    fn fields(&self) -> (u64, Vec<Value>) {
        match self {
            Self::Open(open) => (0x10, open.fields()),
            Self::Begin(begin) => (0x11, begin.fields()),
            Self::Attach(attach) => (0x12, attach.fields()),
            Self::Flow(flow) => (0x13, flow.fields()),
            Self::Transfer(transfer) => (0x14, transfer.fields()),
            Self::Disposition(disposition) => (0x15, disposition.fields()),
            Self::Detach(detach) => {
                (0x16, vec![detach.handle.into(), detach.closed.into(), error_value(&detach.error)])
            }
            Self::End(error) => (0x17, vec![error_value(error)]),
            Self::Close(error) => (0x18, vec![error_value(error)]),
            Self::SaslMechanisms(names) => (0x40, vec![symbols(names)]),
            Self::SaslInit(init) => (
                0x41,
                vec![
                    Value::symbol(&init.mechanism),
                    Value::Binary(init.initial_response.clone()),
                    init.hostname.as_deref().into(),
                ],
            ),
            Self::SaslChallenge(bytes) => (0x42, vec![Value::Binary(bytes.clone())]),
            Self::SaslResponse(bytes) => (0x43, vec![Value::Binary(bytes.clone())]),
            Self::SaslOutcome(code) => (0x44, vec![(*code).into(), Value::Null]),
        }
    }

    fn from_fields(code: u64, mut fields: Fields) -> Result<Self> {
        Ok(match code {
            0x10 => Self::Open(Open::read(&mut fields)?),
            0x11 => Self::Begin(Begin::read(&mut fields)?),
            0x12 => Self::Attach(Box::new(Attach::read(&mut fields)?)),
            0x13 => Self::Flow(Flow::read(&mut fields)?),
            0x14 => Self::Transfer(Transfer::read(&mut fields)?),
            0x15 => Self::Disposition(Disposition::read(&mut fields)?),
            0x16 => Self::Detach(Detach {
                handle: must(fields.uint("handle")?, "handle")?,
                closed: fields.boolean("closed")?.unwrap_or(false),
                error: fields.error()?,
            }),
            0x17 => Self::End(fields.error()?),
            0x18 => Self::Close(fields.error()?),
            0x40 => Self::SaslMechanisms(fields.symbols("sasl-server-mechanisms")?),
            0x41 => Self::SaslInit(SaslInit {
                mechanism: must(fields.symbol("mechanism")?, "mechanism")?,
                initial_response: fields.binary("initial-response")?.unwrap_or_default(),
                hostname: fields.string("hostname")?,
            }),
            0x42 => Self::SaslChallenge(fields.binary("challenge")?.unwrap_or_default()),
            0x43 => Self::SaslResponse(fields.binary("response")?.unwrap_or_default()),
            0x44 => Self::SaslOutcome(must(fields.ubyte("code")?, "code")?),
            _ => return Err(DecodeError::Composite),
        })
    }
}

impl Open {
    fn fields(&self) -> Vec<Value> {
        vec![
            self.container_id.as_str().into(),
            self.hostname.as_deref().into(),
            self.max_frame_size.into(),
            self.channel_max.into(),
            self.idle_time_out.into(),
            Value::Null, // outgoing-locales
            Value::Null, // incoming-locales
            Value::Null, // offered-capabilities
            symbols(&self.desired_capabilities),
            map(&self.properties),
        ]
    }

    fn read(fields: &mut Fields) -> Result<Self> {
        let mut open = Self {
            container_id: must(fields.string("container-id")?, "container-id")?,
            hostname: fields.string("hostname")?,
            max_frame_size: fields.uint("max-frame-size")?,
            channel_max: fields.ushort("channel-max")?,
            idle_time_out: fields.uint("idle-time-out")?,
            ..Self::default()
        };
        fields.skip(3);
        open.desired_capabilities = fields.symbols("desired-capabilities")?;
        open.properties = fields.map("properties")?;
        Ok(open)
    }
}

impl Begin {
    fn fields(&self) -> Vec<Value> {
        vec![
            self.remote_channel.into(),
            self.next_outgoing_id.into(),
            self.incoming_window.into(),
            self.outgoing_window.into(),
            self.handle_max.into(),
            Value::Null, // offered-capabilities
            Value::Null, // desired-capabilities
            Value::Null, // properties
        ]
    }

    fn read(fields: &mut Fields) -> Result<Self> {
        Ok(Self {
            remote_channel: fields.ushort("remote-channel")?,
            next_outgoing_id: must(fields.uint("next-outgoing-id")?, "next-outgoing-id")?,
            incoming_window: must(fields.uint("incoming-window")?, "incoming-window")?,
            outgoing_window: must(fields.uint("outgoing-window")?, "outgoing-window")?,
            handle_max: fields.uint("handle-max")?,
        })
    }
}

impl Attach {
    fn fields(&self) -> Vec<Value> {
        vec![
            self.name.as_str().into(),
            self.handle.into(),
            self.role.value(),
            self.snd_settle_mode.into(),
            self.rcv_settle_mode.into(),
            self.source.as_ref().map(Source::value).into(),
            self.target.as_ref().map(Target::value).into(),
            Value::Null, // unsettled
            Value::Null, // incomplete-unsettled
            self.initial_delivery_count.into(),
            self.max_message_size.into(),
            Value::Null, // offered-capabilities
            symbols(&self.desired_capabilities),
            map(&self.properties),
        ]
    }

    fn read(fields: &mut Fields) -> Result<Self> {
        let name = must(fields.string("name")?, "name")?;
        let handle = must(fields.uint("handle")?, "handle")?;
        let role = fields.role()?;
        let snd_settle_mode = fields.ubyte("snd-settle-mode")?;
        let rcv_settle_mode = fields.ubyte("rcv-settle-mode")?;
        let source = Source::read(fields.next())?;
        let target = Target::read(fields.next())?;
        fields.skip(2);
        let initial_delivery_count = fields.uint("initial-delivery-count")?;
        let max_message_size = fields.ulong("max-message-size")?;
        fields.skip(1);
        let desired_capabilities = fields.symbols("desired-capabilities")?;
        let properties = fields.map("properties")?;
        Ok(Self {
            name,
            handle,
            role,
            snd_settle_mode,
            rcv_settle_mode,
            source,
            target,
            initial_delivery_count,
            max_message_size,
            desired_capabilities,
            properties,
        })
    }
}

impl Source {
    fn value(&self) -> Value {
        let fields = vec![
            self.address.as_deref().into(),
            Value::Uint(0), // durable: none
            Value::Null,    // expiry-policy
            Value::Null,    // timeout
            Value::Null,    // dynamic
            Value::Null,    // dynamic-node-properties
            Value::Null,    // distribution-mode
            map(&self.filter),
            Value::Null, // default-outcome
            Value::Null, // outcomes
            Value::Null, // capabilities
        ];
        Value::described(0x28, Value::List(fields))
    }

    fn read(value: Value) -> Result<Option<Self>> {
        let Some(mut fields) = composite(value, 0x28, "source")? else { return Ok(None) };
        let address = fields.next().as_str().map(str::to_owned);
        fields.skip(6);
        Ok(Some(Self { address, filter: fields.map("filter")? }))
    }
}

impl Target {
    fn value(&self) -> Value {
        let fields = vec![
            self.address.as_deref().into(),
            Value::Uint(0), // durable: none
            Value::Null,    // expiry-policy
            Value::Null,    // timeout
            Value::Null,    // dynamic
            Value::Null,    // dynamic-node-properties
            Value::Null,    // capabilities
        ];
        Value::described(0x29, Value::List(fields))
    }

    fn read(value: Value) -> Result<Option<Self>> {
        let fields = composite(value, 0x29, "target");
        // The target can also be a coordinator of transactions, which the connector does not use.
        Ok(fields?.map(|mut fields| Self { address: fields.next().as_str().map(str::to_owned) }))
    }
}

impl Flow {
    fn fields(&self) -> Vec<Value> {
        vec![
            self.next_incoming_id.into(),
            self.incoming_window.into(),
            self.next_outgoing_id.into(),
            self.outgoing_window.into(),
            self.handle.into(),
            self.delivery_count.into(),
            self.link_credit.into(),
            self.available.into(),
            self.drain.into(),
            self.echo.into(),
            Value::Null, // properties
        ]
    }

    fn read(fields: &mut Fields) -> Result<Self> {
        Ok(Self {
            next_incoming_id: fields.uint("next-incoming-id")?,
            incoming_window: must(fields.uint("incoming-window")?, "incoming-window")?,
            next_outgoing_id: must(fields.uint("next-outgoing-id")?, "next-outgoing-id")?,
            outgoing_window: must(fields.uint("outgoing-window")?, "outgoing-window")?,
            handle: fields.uint("handle")?,
            delivery_count: fields.uint("delivery-count")?,
            link_credit: fields.uint("link-credit")?,
            available: fields.uint("available")?,
            drain: fields.boolean("drain")?.unwrap_or(false),
            echo: fields.boolean("echo")?.unwrap_or(false),
        })
    }
}

impl Transfer {
    fn fields(&self) -> Vec<Value> {
        vec![
            self.handle.into(),
            self.delivery_id.into(),
            self.delivery_tag.clone().map(Value::Binary).into(),
            self.message_format.into(),
            self.settled.into(),
            self.more.into(),
            Value::Null, // rcv-settle-mode
            Value::Null, // state
            Value::Null, // resume
            self.aborted.into(),
            Value::Null, // batchable
        ]
    }

    fn read(fields: &mut Fields) -> Result<Self> {
        let mut transfer = Self {
            handle: must(fields.uint("handle")?, "handle")?,
            delivery_id: fields.uint("delivery-id")?,
            delivery_tag: fields.binary("delivery-tag")?,
            message_format: fields.uint("message-format")?,
            settled: fields.boolean("settled")?,
            more: fields.boolean("more")?.unwrap_or(false),
            aborted: false,
        };
        fields.skip(3);
        transfer.aborted = fields.boolean("aborted")?.unwrap_or(false);
        Ok(transfer)
    }
}

impl Transfer {
    /// Reads a transfer whose fields have no parts, without a value in between for each. None for anything else.
    pub(super) fn decode_plain(body: &[u8]) -> Option<(Self, &[u8])> {
        let fields = body.strip_prefix(&[0x00, 0x53, 0x14])?;
        let mut decoder = Decoder::new(fields, PLAIN);
        let mut transfer = Self::default();
        let mut has_handle = false;
        let read = decoder.scalars(|index, value| {
            match (index, value) {
                (0, Scalar::Uint(handle)) => (transfer.handle, has_handle) = (handle, true),
                (0..=5 | 9, Scalar::Null) => {}
                (1, Scalar::Uint(id)) => transfer.delivery_id = Some(id),
                (2, Scalar::Binary(tag)) => transfer.delivery_tag = Some(tag.to_vec()),
                (3, Scalar::Uint(format)) => transfer.message_format = Some(format),
                (4, Scalar::Boolean(settled)) => transfer.settled = Some(settled),
                (5, Scalar::Boolean(more)) => transfer.more = more,
                (9, Scalar::Boolean(aborted)) => transfer.aborted = aborted,
                (6..=8 | 10.., _) => {}
                _ => return Err(DecodeError::Composite),
            }
            Ok(())
        });
        read.ok().filter(|()| has_handle).map(|()| (transfer, decoder.rest()))
    }
}

/// Less than any performative may use.
const PLAIN: Limits = Limits { depth: 1, memory: 16 << 10 };

impl Disposition {
    fn fields(&self) -> Vec<Value> {
        vec![
            self.role.value(),
            self.first.into(),
            self.last.into(),
            self.settled.into(),
            self.state.as_ref().map(Outcome::value).into(),
            Value::Null, // batchable
        ]
    }

    fn read(fields: &mut Fields) -> Result<Self> {
        Ok(Self {
            role: fields.role()?,
            first: must(fields.uint("first")?, "first")?,
            last: fields.uint("last")?,
            settled: fields.boolean("settled")?.unwrap_or(false),
            state: Outcome::read(fields.next())?,
        })
    }
}

impl Outcome {
    fn value(&self) -> Value {
        let (code, fields) = match self {
            Self::Accepted => (0x24, vec![]),
            Self::Rejected(error) => (0x25, vec![error_value(error)]),
            Self::Released => (0x26, vec![]),
            Self::Modified => (0x27, vec![Value::Null, Value::Null, Value::Null]),
            // The standard's only state that is not terminal: received, up to this section and offset.
            Self::Other => (0x23, vec![Value::Uint(0), Value::Ulong(0)]),
        };
        Value::described(code, Value::List(fields))
    }

    fn read(value: Value) -> Result<Option<Self>> {
        let both = match value {
            Value::Null => return Ok(None),
            Value::Described(both) => *both,
            _ => return Err(DecodeError::Field("state")),
        };
        Ok(Some(match (composite_code(&both.0), both.1) {
            (Some(0x24), _) => Self::Accepted,
            (Some(0x25), Value::List(items)) => Self::Rejected(Fields::new(items).error()?),
            (Some(0x26), _) => Self::Released,
            (Some(0x27), _) => Self::Modified,
            _ => Self::Other,
        }))
    }
}

impl Role {
    fn value(self) -> Value {
        Value::Boolean(self == Self::Receiver)
    }
}
