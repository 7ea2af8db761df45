//! Messages (part 3 of the standard, 3.2): a message is a series of sections.

use super::codec::{DecodeError, Decoder, Limits, Value, encode, encode_binary_section};
use super::composite::composite_code;

type Pairs = Vec<(Value, Value)>;

/// A message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// Annotations of the peer for this delivery only.
    pub delivery_annotations: Pairs,
    /// Annotations of the services on the way, for all receivers.
    pub message_annotations: Pairs,
    /// The standard's own properties.
    pub properties: Properties,
    /// The sender's properties.
    pub application_properties: Pairs,
    /// The body.
    pub body: Body,
}

/// The standard's own properties.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    /// The message's id: a ulong, uuid, binary or string.
    pub message_id: Option<Value>,
    /// The user who sent the message.
    pub user_id: Option<Vec<u8>>,
    /// The address that the message goes to.
    pub to: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// The address for an answer.
    pub reply_to: Option<String>,
    /// The id of the message that this message answers.
    pub correlation_id: Option<Value>,
    /// The media type of the data.
    pub content_type: Option<String>,
    /// The encoding of the data, such as its compression.
    pub content_encoding: Option<String>,
    /// When the message expires, in milliseconds since the Unix epoch.
    pub absolute_expiry_time: Option<i64>,
    /// When the message was created, in milliseconds since the Unix epoch.
    pub creation_time: Option<i64>,
    /// The group that the message belongs to.
    pub group_id: Option<String>,
    /// The message's number in the group.
    pub group_sequence: Option<u32>,
    /// The group that an answer belongs to.
    pub reply_to_group_id: Option<String>,
}

/// The body of a message: one of three kinds.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Bytes, in one section or several.
    Data(Vec<Vec<u8>>),
    /// Lists of values, in one section or several.
    Sequence(Vec<Vec<Value>>),
    /// One value.
    Value(Value),
}

impl Default for Body {
    fn default() -> Self {
        Self::Data(Vec::new())
    }
}

impl Message {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut section = |code, pairs: &Pairs| {
            if !pairs.is_empty() {
                encode(&Value::described(code, Value::Map(pairs.clone())), &mut out);
            }
        };
        section(0x71, &self.delivery_annotations);
        section(0x72, &self.message_annotations);
        if self.properties != Properties::default() {
            encode(&Value::described(0x73, Value::List(self.properties.fields())), &mut out);
        }
        if !self.application_properties.is_empty() {
            encode(&Value::described(0x74, Value::Map(self.application_properties.clone())), &mut out);
        }
        match &self.body {
            Body::Data(sections) => sections.iter().for_each(|bytes| encode_binary_section(0x75, bytes, &mut out)),
            Body::Sequence(sections) => {
                sections.iter().for_each(|items| encode(&Value::described(0x76, Value::List(items.clone())), &mut out))
            }
            Body::Value(value) => encode(&Value::described(0x77, value.clone()), &mut out),
        }
        out
    }

    /// Reads a message. A missing body is read as empty data: the standard does not allow it, but it does no harm.
    ///
    /// # Errors
    /// [`DecodeError`]; `Body` where the body has sections of several kinds.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Lossy { message, error, left_out, .. } = Self::decode_lossy(bytes);
        error.or(left_out).map_or(Ok(message), Err)
    }

    /// Reads as much of a message as can be decoded: a sender can write any bytes, and the service passes them on.
    pub fn decode_lossy(bytes: &[u8]) -> Lossy {
        let mut decoder = Decoder::new(bytes, Limits::MESSAGE);
        let mut lossy = Lossy::default();
        let mut body: Option<Body> = None;
        while !decoder.is_empty() {
            let section = decoder.rest();
            if let Err(error) = lossy.section(&mut decoder, &mut body) {
                lossy.error = Some(error);
                body = Some(Body::Data(vec![section.to_vec()]));
                break;
            }
        }
        lossy.memory = decoder.memory();
        lossy.message.body = body.unwrap_or_default();
        lossy
    }
}

/// The readable part of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lossy {
    /// The message. If there is an error, its body is the bytes from the first unreadable section on.
    pub message: Message,
    /// Why a section cannot be read.
    pub error: Option<DecodeError>,
    /// Why some annotations were left out.
    pub left_out: Option<DecodeError>,
    /// How much memory the decoded values take up, in bytes.
    pub memory: usize,
}

/// The prefixes of the annotation names that Event Hubs and IoT Hub write themselves.
const OF_THE_SERVICE: [&str; 2] = ["x-opt-", "iothub-"];

impl Lossy {
    fn section(&mut self, decoder: &mut Decoder, body: &mut Option<Body>) -> Result<(), DecodeError> {
        let code = composite_code(&decoder.descriptor()?);
        match (code, &mut *body) {
            (Some(0x75), None) => *body = Some(Body::Data(vec![decoder.binary()?.to_vec()])),
            (Some(0x75), Some(Body::Data(sections))) => sections.push(decoder.binary()?.to_vec()),
            (Some(0x76), None) => *body = Some(Body::Sequence(vec![list(decoder.value()?)?])),
            (Some(0x76), Some(Body::Sequence(sections))) => sections.push(list(decoder.value()?)?),
            (Some(0x77), None) => *body = Some(Body::Value(decoder.value()?)),
            (Some(0x75..=0x77), _) => return Err(DecodeError::Body),
            // The connector uses nothing of the header and the footer.
            (Some(0x70 | 0x78), _) => drop(decoder.value()?),
            (Some(0x71), _) => self.message.delivery_annotations = self.annotations(decoder)?,
            (Some(0x72), _) => self.message.message_annotations = self.annotations(decoder)?,
            (Some(0x73), _) => self.message.properties = Properties::read(list(decoder.value()?)?)?,
            (Some(0x74), _) => self.message.application_properties = map(decoder.value()?)?,
            _ => return Err(DecodeError::Composite),
        }
        Ok(())
    }

    fn annotations(&mut self, decoder: &mut Decoder) -> Result<Pairs, DecodeError> {
        let (pairs, left_out) = decoder.annotations(&OF_THE_SERVICE)?;
        self.left_out = self.left_out.take().or(left_out);
        Ok(pairs)
    }
}

impl Message {
    /// The application property with this name.
    pub fn property(&self, name: &str) -> Option<&Value> {
        find(&self.application_properties, name)
    }

    /// The message annotation with this name.
    pub fn annotation(&self, name: &str) -> Option<&Value> {
        find(&self.message_annotations, name)
    }

    /// Removes the message annotations with this name, and returns the first of them.
    pub fn take_annotation(&mut self, name: &str) -> Option<Value> {
        let all = self.message_annotations.extract_if(.., |(key, _)| key.as_str() == Some(name));
        all.fold(None, |first, (_, value)| first.or(Some(value)))
    }
}

impl Properties {
    fn fields(&self) -> Vec<Value> {
        let symbol = |text: &Option<String>| text.as_deref().map(Value::symbol).into();
        vec![
            self.message_id.clone().into(),
            self.user_id.clone().map(Value::Binary).into(),
            self.to.as_deref().into(),
            self.subject.as_deref().into(),
            self.reply_to.as_deref().into(),
            self.correlation_id.clone().into(),
            symbol(&self.content_type),
            symbol(&self.content_encoding),
            self.absolute_expiry_time.map(Value::Timestamp).into(),
            self.creation_time.map(Value::Timestamp).into(),
            self.group_id.as_deref().into(),
            self.group_sequence.into(),
            self.reply_to_group_id.as_deref().into(),
        ]
    }

    /// Reads the properties. A text may be encoded as a string or as a symbol, because devices write these properties
    /// and their clients differ.
    fn read(fields: Vec<Value>) -> Result<Self, DecodeError> {
        let mut fields = fields.into_iter();
        let mut next = || fields.next().filter(|value| *value != Value::Null);
        let text = |name, value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::String(text) | Value::Symbol(text)) => Ok(Some(text)),
            Some(_) => Err(DecodeError::Field(name)),
        };
        let id = |name, value: Option<Value>| match value {
            None | Some(Value::Ulong(_) | Value::Uuid(_) | Value::Binary(_) | Value::String(_)) => Ok(value),
            Some(_) => Err(DecodeError::Field(name)),
        };
        let time = |name, value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Timestamp(ms)) => Ok(Some(ms)),
            Some(_) => Err(DecodeError::Field(name)),
        };
        Ok(Self {
            message_id: id("message-id", next())?,
            user_id: match next() {
                None => None,
                Some(Value::Binary(bytes)) => Some(bytes),
                Some(Value::String(text)) => Some(text.into_bytes()),
                Some(_) => return Err(DecodeError::Field("user-id")),
            },
            to: text("to", next())?,
            subject: text("subject", next())?,
            reply_to: text("reply-to", next())?,
            correlation_id: id("correlation-id", next())?,
            content_type: text("content-type", next())?,
            content_encoding: text("content-encoding", next())?,
            absolute_expiry_time: time("absolute-expiry-time", next())?,
            creation_time: time("creation-time", next())?,
            group_id: text("group-id", next())?,
            group_sequence: match next() {
                None => None,
                Some(Value::Uint(n)) => Some(n),
                Some(_) => return Err(DecodeError::Field("group-sequence")),
            },
            reply_to_group_id: text("reply-to-group-id", next())?,
        })
    }
}

fn find<'v>(pairs: &'v Pairs, name: &str) -> Option<&'v Value> {
    pairs.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
}

fn map(value: Value) -> Result<Pairs, DecodeError> {
    match value {
        Value::Map(pairs) => Ok(pairs),
        Value::Null => Ok(Vec::new()),
        _ => Err(DecodeError::Composite),
    }
}

fn list(value: Value) -> Result<Vec<Value>, DecodeError> {
    match value {
        Value::List(items) => Ok(items),
        _ => Err(DecodeError::Composite),
    }
}
