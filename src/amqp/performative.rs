//! The bodies of frames (part 2 of the standard, 2.7; part 5, 5.3.3), both ways.
//!
//! All fields are always written, nulls at the end as well: the standard lets them be left out, but the service never
//! does, and Microsoft's own Python client reads them by position.

use super::codec::{DecodeError, Decoder, Limits, Value, encode};
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
        Ok((Self::from_fields(code, Fields(items.into_iter()))?, decoder.rest()))
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
                (0x16, vec![Value::Uint(detach.handle), Value::Boolean(detach.closed), error_value(&detach.error)])
            }
            Self::End(error) => (0x17, vec![error_value(error)]),
            Self::Close(error) => (0x18, vec![error_value(error)]),
            Self::SaslMechanisms(names) => (0x40, vec![symbols(names)]),
            Self::SaslInit(init) => (
                0x41,
                vec![
                    Value::symbol(&init.mechanism),
                    Value::Binary(init.initial_response.clone()),
                    text(&init.hostname),
                ],
            ),
            Self::SaslChallenge(bytes) => (0x42, vec![Value::Binary(bytes.clone())]),
            Self::SaslResponse(bytes) => (0x43, vec![Value::Binary(bytes.clone())]),
            Self::SaslOutcome(code) => (0x44, vec![Value::Ubyte(*code), Value::Null]),
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
            Value::string(&self.container_id),
            text(&self.hostname),
            Value::or_null(self.max_frame_size.map(Value::Uint)),
            Value::or_null(self.channel_max.map(Value::Ushort)),
            Value::or_null(self.idle_time_out.map(Value::Uint)),
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
            Value::or_null(self.remote_channel.map(Value::Ushort)),
            Value::Uint(self.next_outgoing_id),
            Value::Uint(self.incoming_window),
            Value::Uint(self.outgoing_window),
            Value::or_null(self.handle_max.map(Value::Uint)),
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
            Value::string(&self.name),
            Value::Uint(self.handle),
            self.role.value(),
            Value::or_null(self.snd_settle_mode.map(Value::Ubyte)),
            Value::or_null(self.rcv_settle_mode.map(Value::Ubyte)),
            Value::or_null(self.source.as_ref().map(Source::value)),
            Value::or_null(self.target.as_ref().map(Target::value)),
            Value::Null, // unsettled
            Value::Null, // incomplete-unsettled
            Value::or_null(self.initial_delivery_count.map(Value::Uint)),
            Value::or_null(self.max_message_size.map(Value::Ulong)),
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
            text(&self.address),
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
            text(&self.address),
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
            Value::or_null(self.next_incoming_id.map(Value::Uint)),
            Value::Uint(self.incoming_window),
            Value::Uint(self.next_outgoing_id),
            Value::Uint(self.outgoing_window),
            Value::or_null(self.handle.map(Value::Uint)),
            Value::or_null(self.delivery_count.map(Value::Uint)),
            Value::or_null(self.link_credit.map(Value::Uint)),
            Value::or_null(self.available.map(Value::Uint)),
            Value::Boolean(self.drain),
            Value::Boolean(self.echo),
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
            Value::Uint(self.handle),
            Value::or_null(self.delivery_id.map(Value::Uint)),
            Value::or_null(self.delivery_tag.clone().map(Value::Binary)),
            Value::or_null(self.message_format.map(Value::Uint)),
            Value::or_null(self.settled.map(Value::Boolean)),
            Value::Boolean(self.more),
            Value::Null, // rcv-settle-mode
            Value::Null, // state
            Value::Null, // resume
            Value::Boolean(self.aborted),
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
            Value::Uint(self.first),
            Value::or_null(self.last.map(Value::Uint)),
            Value::Boolean(self.settled),
            Value::or_null(self.state.as_ref().map(Outcome::value)),
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
            (Some(0x25), Value::List(items)) => Self::Rejected(Fields(items.into_iter()).error()?),
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

/// The fields of a composite, one after the other; those that are left out are null.
struct Fields(std::vec::IntoIter<Value>);

impl Fields {
    fn next(&mut self) -> Value {
        self.0.next().unwrap_or(Value::Null)
    }

    fn skip(&mut self, count: usize) {
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

    fn boolean(&mut self, name: &'static str) -> Result<Option<bool>> {
        self.take(name, |value| if let Value::Boolean(b) = value { Some(b) } else { None })
    }

    fn ubyte(&mut self, name: &'static str) -> Result<Option<u8>> {
        self.take(name, |value| if let Value::Ubyte(n) = value { Some(n) } else { None })
    }

    fn ushort(&mut self, name: &'static str) -> Result<Option<u16>> {
        self.take(name, |value| if let Value::Ushort(n) = value { Some(n) } else { None })
    }

    fn uint(&mut self, name: &'static str) -> Result<Option<u32>> {
        self.take(name, |value| if let Value::Uint(n) = value { Some(n) } else { None })
    }

    fn ulong(&mut self, name: &'static str) -> Result<Option<u64>> {
        self.take(name, |value| if let Value::Ulong(n) = value { Some(n) } else { None })
    }

    fn string(&mut self, name: &'static str) -> Result<Option<String>> {
        self.take(name, |value| if let Value::String(text) = value { Some(text) } else { None })
    }

    fn symbol(&mut self, name: &'static str) -> Result<Option<String>> {
        self.take(name, |value| if let Value::Symbol(text) = value { Some(text) } else { None })
    }

    fn binary(&mut self, name: &'static str) -> Result<Option<Vec<u8>>> {
        self.take(name, |value| if let Value::Binary(bytes) = value { Some(bytes) } else { None })
    }

    fn map(&mut self, name: &'static str) -> Result<Properties> {
        let map = self.take(name, |value| if let Value::Map(pairs) = value { Some(pairs) } else { None });
        Ok(map?.unwrap_or_default())
    }

    /// A field that may be one symbol or an array of them.
    fn symbols(&mut self, name: &'static str) -> Result<Vec<String>> {
        let symbol = |value| if let Value::Symbol(text) = value { Some(text) } else { None };
        let several = self.take(name, |value| match value {
            Value::Array(items) => items.into_iter().map(symbol).collect(),
            one => symbol(one).map(|one| vec![one]),
        });
        Ok(several?.unwrap_or_default())
    }

    fn role(&mut self) -> Result<Role> {
        Ok(if must(self.boolean("role")?, "role")? { Role::Receiver } else { Role::Sender })
    }

    fn error(&mut self) -> Result<Option<RemoteError>> {
        let Some(mut fields) = composite(self.next(), 0x1d, "error")? else { return Ok(None) };
        Ok(Some(RemoteError {
            condition: must(fields.symbol("condition")?, "condition")?,
            description: fields.string("description")?,
            info: fields.map("info")?,
        }))
    }
}

fn must<T>(value: Option<T>, name: &'static str) -> Result<T> {
    value.ok_or(DecodeError::Field(name))
}

fn composite(value: Value, code: u64, name: &'static str) -> Result<Option<Fields>> {
    match value {
        Value::Null => Ok(None),
        Value::Described(both) => match *both {
            (descriptor, Value::List(items)) if composite_code(&descriptor) == Some(code) => {
                Ok(Some(Fields(items.into_iter())))
            }
            _ => Err(DecodeError::Field(name)),
        },
        _ => Err(DecodeError::Field(name)),
    }
}

fn text(text: &Option<String>) -> Value {
    Value::or_null(text.as_deref().map(Value::string))
}

fn symbols(names: &[String]) -> Value {
    if names.is_empty() { Value::Null } else { Value::Array(names.iter().map(Value::symbol).collect()) }
}

fn map(pairs: &Properties) -> Value {
    if pairs.is_empty() { Value::Null } else { Value::Map(pairs.clone()) }
}

fn error_value(error: &Option<RemoteError>) -> Value {
    Value::or_null(error.as_ref().map(|error| {
        let fields = vec![Value::symbol(&error.condition), text(&error.description), map(&error.info)];
        Value::described(0x1d, Value::List(fields))
    }))
}

/// The number of a descriptor, also where it is spelt out.
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
