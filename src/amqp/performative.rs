//! The bodies of frames (part 2 of the standard, 2.7; part 5, 5.3.3), both ways.
//!
//! All fields are always written, nulls at the end as well: the standard lets them be left out, but the service never
//! does, and Microsoft's own Python client reads them by position.

use super::codec::{DecodeError, Decoder, Limits, Value, encode};
use super::composite::{Fields, composite, composite_code, error_value, map, must, symbols};
use super::error::RemoteError;

/// An open's or attach's map of properties.
pub type Properties = Vec<(Value, Value)>;
type Result<T> = std::result::Result<T, DecodeError>;

/// What a frame can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Performative {
    /// Opens the connection.
    Open(Open),
    /// Begins a session.
    Begin(Begin),
    /// Attaches a link; boxed, since it is the largest and rare.
    Attach(Box<Attach>),
    /// Grants credit and window.
    Flow(Flow),
    /// Carries a message or a part of it; the payload follows it in the frame.
    Transfer(Transfer),
    /// States what became of deliveries.
    Disposition(Disposition),
    /// Detaches a link.
    Detach(Detach),
    /// Ends the session.
    End(Option<RemoteError>),
    /// Closes the connection.
    Close(Option<RemoteError>),
    /// What the server takes for authentication.
    SaslMechanisms(Vec<String>),
    /// What the client chose.
    SaslInit(SaslInit),
    /// A question of the server's.
    SaslChallenge(Vec<u8>),
    /// The answer to it.
    SaslResponse(Vec<u8>),
    /// How it came out; 0 is good.
    SaslOutcome(u8),
}

/// Opens the connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Open {
    /// The peer's name.
    pub container_id: String,
    /// The host that is meant.
    pub hostname: Option<String>,
    /// The largest frame that the sender takes, in bytes.
    pub max_frame_size: Option<u32>,
    /// The highest channel number.
    pub channel_max: Option<u16>,
    /// After how many milliseconds without a frame the sender gives up.
    pub idle_time_out: Option<u32>,
    /// What the sender would like.
    pub desired_capabilities: Vec<String>,
    /// More about it.
    pub properties: Properties,
}

/// Begins a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Begin {
    /// The channel that this answers.
    pub remote_channel: Option<u16>,
    /// The number of the first transfer.
    pub next_outgoing_id: u32,
    /// How many transfers it takes.
    pub incoming_window: u32,
    /// How many it may send.
    pub outgoing_window: u32,
    /// The highest handle.
    pub handle_max: Option<u32>,
}

/// Which end of a link somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Messages go out.
    Sender,
    /// Messages come in.
    Receiver,
}

/// Attaches a link.
#[derive(Clone, Debug, PartialEq)]
pub struct Attach {
    /// The link's name, the same on both sides.
    pub name: String,
    /// Its number on the sender's side.
    pub handle: u32,
    /// Which end the sender of this is.
    pub role: Role,
    /// 0 unsettled, 1 settled, 2 mixed.
    pub snd_settle_mode: Option<u8>,
    /// 0 first, 1 second.
    pub rcv_settle_mode: Option<u8>,
    /// Where messages come from.
    pub source: Option<Source>,
    /// Where they go to.
    pub target: Option<Target>,
    /// The sender's count at the beginning.
    pub initial_delivery_count: Option<u32>,
    /// The largest message that the sender of this takes; 0 and none are no limit.
    pub max_message_size: Option<u64>,
    /// What would be liked.
    pub desired_capabilities: Vec<String>,
    /// More about it.
    pub properties: Properties,
}

/// Where messages come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// Its address.
    pub address: Option<String>,
    /// Which of its messages.
    pub filter: Properties,
}

/// Where messages go to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// Its address.
    pub address: Option<String>,
}

/// Grants credit and window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// The number of the next transfer expected.
    pub next_incoming_id: Option<u32>,
    /// How many transfers are taken.
    pub incoming_window: u32,
    /// The number of the next transfer sent.
    pub next_outgoing_id: u32,
    /// How many may be sent.
    pub outgoing_window: u32,
    /// The link, where it is about one.
    pub handle: Option<u32>,
    /// The link's count.
    pub delivery_count: Option<u32>,
    /// Messages that may be sent from that count on.
    pub link_credit: Option<u32>,
    /// Messages waiting at the sender.
    pub available: Option<u32>,
    /// Use up the credit now.
    pub drain: bool,
    /// Please answer.
    pub echo: bool,
}

/// Carries a message or a part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transfer {
    /// The link.
    pub handle: u32,
    /// The delivery; must be there in its first transfer.
    pub delivery_id: Option<u32>,
    /// The sender's mark of the delivery.
    pub delivery_tag: Option<Vec<u8>>,
    /// 0 for AMQP messages.
    pub message_format: Option<u32>,
    /// Whether the sender has forgotten about it.
    pub settled: Option<bool>,
    /// Whether more of the message follows.
    pub more: bool,
    /// Whether it is to be forgotten.
    pub aborted: bool,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Taken.
    Accepted,
    /// Refused, and why.
    Rejected(Option<RemoteError>),
    /// Not taken.
    Released,
    /// Not taken, and changed.
    Modified,
    /// None of the standard's terminal ones.
    Other,
}

/// States what became of deliveries.
#[derive(Clone, Debug, PartialEq)]
pub struct Disposition {
    /// Which end the sender of this is.
    pub role: Role,
    /// The first delivery.
    pub first: u32,
    /// The last; the first where there is none.
    pub last: Option<u32>,
    /// Whether the sender has forgotten about them.
    pub settled: bool,
    /// What became of them.
    pub state: Option<Outcome>,
}

/// Detaches a link.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detach {
    /// The link.
    pub handle: u32,
    /// Whether it is gone for good.
    pub closed: bool,
    /// Why.
    pub error: Option<RemoteError>,
}

/// The client's choice of a mechanism.
#[derive(Clone, PartialEq)]
pub struct SaslInit {
    /// The mechanism.
    pub mechanism: String,
    /// Its first response: with PLAIN, the password. Hence no derived `Debug`.
    pub initial_response: Vec<u8>,
    /// The host that is meant.
    pub hostname: Option<String>,
}

impl std::fmt::Debug for SaslInit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SaslInit").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

impl Performative {
    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (code, fields) = self.fields();
        encode(&Value::described(code, Value::List(fields)), out);
    }

    /// Reads the one that `body` begins with; the rest of it is a transfer's payload.
    ///
    /// # Errors
    /// [`DecodeError`]; `Composite` where it is none of the standard's.
    pub fn decode(body: &[u8]) -> Result<(Self, &[u8])> {
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
        // A coordinator of transactions is a target, too; it is none of ours.
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
            // The one of the standard's that is not terminal: received, up to here.
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
