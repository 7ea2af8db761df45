//! What can go wrong, and who did it.

use std::fmt;
use std::time::Duration;

use super::codec::{DecodeError, Value};
use super::stage::Stage;
use super::transport::TransportError;

/// What every fallible function of the protocol answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a conversation came to nothing. Once one was given, the connection is of no more use, except after
/// [`Error::Timeout`], which ends a wait, [`Error::Ended`], which concerns the links of one session, and
/// [`Error::Detached`], [`Error::Refused`] and [`Error::Answered`], which concern one link or one request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The bytes do not flow.
    Transport(TransportError),
    /// The time was up, while waiting for this.
    Timeout(Stage),
    /// The peer ended the byte stream, while this was waited for.
    Disconnected(Stage),
    /// The peer said nothing, not even an empty frame, for so long.
    Silent(Duration),
    /// The peer broke the protocol.
    Peer(Misbehaviour),
    /// The server takes none of our ways to authenticate; what it takes.
    NoMechanism(Vec<String>),
    /// The server refused the user: SASL outcome 1 is wrong credentials, 2 to 4 are troubles of the server's, of which 4
    /// may pass.
    Sasl(u8),
    /// The peer closed the connection.
    Closed(Option<RemoteError>),
    /// The peer ended the session.
    Ended(Option<RemoteError>),
    /// The peer detached the link, or never attached it.
    Detached(Option<RemoteError>),
    /// The peer did not take a message.
    Refused(Option<RemoteError>),
    /// A request was answered with a status that is no success.
    Answered(Box<StatusError>),
    /// The answer to a request is not one.
    Answer(&'static str),
    /// A message is larger than this side takes, in bytes.
    MessageTooLarge {
        /// The limit that it exceeds.
        limit: u64,
    },
    /// A limit of this side was met; which one.
    Limit(&'static str),
}

/// How a peer broke the protocol.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// It speaks something else: its first bytes.
    ProtocolHeader(Vec<u8>),
    /// A frame's header is impossible.
    FrameHeader,
    /// A frame is larger than agreed.
    FrameTooLarge {
        /// The frame's size.
        size: u32,
        /// The largest that was agreed.
        limit: u32,
    },
    /// A frame's body or a message cannot be read.
    Decode(DecodeError),
    /// A frame that may not come now, or not from a server; what it was.
    Unexpected(&'static str),
    /// It asks more questions than the mechanism has.
    SaslRounds,
    /// Its largest frame or its idle time-out is smaller than the standard or reason allows.
    Terms(&'static str),
    /// A frame on a channel that is not open.
    Channel(u16),
    /// A link that was not asked for.
    UnknownLink,
    /// A handle that is not attached.
    Handle(u32),
    /// More messages than there was credit for.
    Credit,
    /// More transfers than the session's window has room for.
    Window,
    /// A delivery's parts do not belong together.
    Delivery,
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProtocolHeader(bytes) => write!(f, "it does not speak AMQP 1.0: it began with {}", printable(bytes)),
            Self::FrameHeader => f.write_str("a frame's header is impossible"),
            Self::FrameTooLarge { size, limit } => write!(f, "a frame has {size} bytes, and {limit} were agreed"),
            Self::Decode(error) => write!(f, "a frame cannot be read: {error}"),
            Self::Unexpected(what) => write!(f, "it sent {what}, which may not come then"),
            Self::SaslRounds => f.write_str("the authentication asks without end"),
            Self::Terms(what) => write!(f, "its {what} is too small"),
            Self::Channel(channel) => write!(f, "a frame came on channel {channel}, which is not open"),
            Self::UnknownLink => f.write_str("it attached a link that was not asked for"),
            Self::Handle(handle) => write!(f, "a frame came for the handle {handle}, which is not attached"),
            Self::Credit => f.write_str("it sent more messages than there was credit for"),
            Self::Window => f.write_str("it sent more transfers than the window has room for"),
            Self::Delivery => f.write_str("the parts of a message do not belong together"),
        }
    }
}

impl Misbehaviour {
    /// The standard's condition for it, for the close that reports it to the peer.
    pub fn condition(&self) -> &'static str {
        match self {
            Self::ProtocolHeader(_) | Self::FrameHeader | Self::FrameTooLarge { .. } => "amqp:connection:framing-error",
            Self::Decode(_) => "amqp:decode-error",
            Self::Window => "amqp:session:window-violation",
            Self::Handle(_) => "amqp:session:unattached-handle",
            Self::Credit => "amqp:link:transfer-limit-exceeded",
            _ => "amqp:not-allowed",
        }
    }
}

/// An error of the peer's, as it said it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteError {
    /// What: a symbol, of the standard (`amqp:…`) or of a vendor (`com.microsoft:…`).
    pub condition: String,
    /// For a person.
    pub description: Option<String>,
    /// More about it.
    pub info: Vec<(Value, Value)>,
}

/// Where a peer sends its client to (condition `amqp:link:redirect` or `amqp:connection:redirect`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The host for the open and the token.
    pub hostname: String,
    /// The host to connect to, where it is another.
    pub network_host: Option<String>,
    /// The port; 5671 where none was said.
    pub port: u16,
    /// The address to attach to.
    pub address: Option<String>,
}

impl RemoteError {
    /// Where to, where it is a redirect.
    pub fn redirect(&self) -> Option<Redirect> {
        if !matches!(self.condition.as_str(), "amqp:link:redirect" | "amqp:connection:redirect") {
            return None;
        }
        let hostname = self.info_text("hostname")?;
        let port = self.member("port").and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()));
        Some(Redirect {
            hostname,
            network_host: self.info_text("network-host"),
            port: port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).unwrap_or(5671),
            address: self.info_text("address"),
        })
    }

    /// The service's tracking id: a member of `info`, or in the description's text.
    pub fn tracking_id(&self) -> Option<String> {
        self.info_text("com.microsoft:tracking-id").or_else(|| tracking_id_in(self.description.as_deref()?))
    }

    /// The six digits that IoT Hub adds to the condition ("Troubleshoot Azure IoT Hub error codes").
    pub fn error_code(&self) -> Option<u32> {
        let code = self.member("com.microsoft:error-code")?;
        let number = code.as_i64().or_else(|| code.as_str()?.parse().ok())?;
        u32::try_from(number).ok().filter(|number| (400_000..600_000).contains(number))
    }

    fn member(&self, name: &str) -> Option<&Value> {
        self.info.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
    }

    fn info_text(&self, name: &str) -> Option<String> {
        self.member(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.condition)?;
        match self.description.as_deref() {
            Some(text) if !text.is_empty() => write!(f, ": {text}"),
            _ => Ok(()),
        }
    }
}

/// A status that is no success, of `$cbs` or `$management`.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusError {
    /// Which of the two nodes said it.
    pub node: &'static str,
    /// As in HTTP.
    pub status: u16,
    /// For a person.
    pub description: Option<String>,
    /// The condition, where one was said.
    pub condition: Option<String>,
}

impl StatusError {
    /// The service's tracking id, where the description has it.
    pub fn tracking_id(&self) -> Option<String> {
        tracking_id_in(self.description.as_deref()?)
    }
}

impl Error {
    /// What the peer said, where it is that.
    pub fn remote(&self) -> Option<&RemoteError> {
        match self {
            Self::Closed(error) | Self::Ended(error) | Self::Detached(error) | Self::Refused(error) => error.as_ref(),
            _ => None,
        }
    }

    /// Where to, where it is a redirect.
    pub fn redirect(&self) -> Option<Redirect> {
        self.remote()?.redirect()
    }
}

impl From<Misbehaviour> for Error {
    fn from(misbehaviour: Misbehaviour) -> Self {
        Self::Peer(misbehaviour)
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Peer(Misbehaviour::Decode(error))
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remote = |f: &mut fmt::Formatter<'_>, what: &str, error: &Option<RemoteError>| match error {
            Some(error) => write!(f, "{what}: {error}"),
            None => write!(f, "{what} and did not say why"),
        };
        match self {
            Self::Transport(error) => error.fmt(f),
            Self::Timeout(stage) => write!(f, "the time was up while waiting for {stage}"),
            Self::Disconnected(stage) => write!(f, "the peer hung up while it should have sent {stage}"),
            Self::Silent(time) => write!(f, "the peer was silent for {} s", time.as_secs()),
            Self::Peer(misbehaviour) => write!(f, "the peer broke the protocol: {misbehaviour}"),
            Self::NoMechanism(offered) => {
                write!(f, "the server takes none of our ways to authenticate, only {}", offered.join(", "))
            }
            Self::Sasl(1) => f.write_str("the server refused the credentials"),
            Self::Sasl(code) => write!(f, "the server could not authenticate (SASL outcome {code})"),
            Self::Closed(error) => remote(f, "the peer closed the connection", error),
            Self::Ended(error) => remote(f, "the peer ended the session", error),
            Self::Detached(error) => remote(f, "the peer detached the link", error),
            Self::Refused(error) => remote(f, "the peer refused a message", error),
            Self::Answered(error) => {
                write!(f, "{} answered {}", error.node, error.status)?;
                error.description.as_deref().map_or(Ok(()), |text| write!(f, ": {text}"))
            }
            Self::Answer(what) => write!(f, "an answer has no {what}"),
            Self::MessageTooLarge { limit } => write!(f, "a message is larger than {limit} bytes"),
            Self::Limit(what) => write!(f, "a limit of this side was met: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// `TrackingId:…` of Event Hubs, `Tracking ID:…` of IoT Hub. Event Hubs adds one per hop; the first is its own.
fn tracking_id_in(text: &str) -> Option<String> {
    let rest = text.split_once("TrackingId:").or_else(|| text.split_once("Tracking ID:"))?.1.trim_start();
    let id: String = rest
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '_' | '.'))
        .take(128)
        .collect();
    let id = id.split("-TimeStamp").next().unwrap_or_default().to_owned();
    (!id.is_empty()).then_some(id)
}

fn printable(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| byte.escape_ascii()).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(condition: &str, description: &str, info: &[(&str, Value)]) -> RemoteError {
        RemoteError {
            condition: condition.into(),
            description: Some(description.into()),
            info: info.iter().map(|(key, value)| (Value::symbol(*key), value.clone())).collect(),
        }
    }

    #[test]
    fn tracking_ids_are_found() {
        let hub = "Receiver 'nil' with a higher epoch '1' already exists. TrackingId:97687fcb-cef5_B5S2, SystemTracker:x, \
                   Timestamp:2022-01-20T03:24:08 Reference:1, TrackingId:5d5e38dc_B5S2";
        assert_eq!(error("a", hub, &[]).tracking_id().as_deref(), Some("97687fcb-cef5_B5S2"));
        let iot = "Tracking ID:abc-G:0-TimeStamp:11/24/2026";
        assert_eq!(error("a", iot, &[]).tracking_id().as_deref(), Some("abc-G:0"));
        assert_eq!(error("a", "TrackingId:", &[]).tracking_id(), None);
        let info = [("com.microsoft:tracking-id", Value::from("t"))];
        assert_eq!(error("a", iot, &info).tracking_id().as_deref(), Some("t"));
    }

    #[test]
    fn redirects_are_typed() {
        let info = [
            ("hostname", Value::from("ns.servicebus.windows.net")),
            ("port", Value::Int(5671)),
            ("address", Value::from("amqps://ns.servicebus.windows.net:5671/hub/$management")),
        ];
        let redirect = error("amqp:link:redirect", "", &info).redirect().expect("a redirect");
        assert_eq!((redirect.hostname.as_str(), redirect.port), ("ns.servicebus.windows.net", 5671));
        assert_eq!(error("amqp:not-found", "", &info).redirect(), None);
        assert_eq!(error("amqp:link:redirect", "", &[]).redirect(), None);
        for port in [Value::Int(-1), Value::Uint(0), Value::Ulong(u64::MAX), Value::from("x"), Value::Null] {
            let info = [("hostname", Value::from("h")), ("port", port)];
            assert_eq!(error("amqp:link:redirect", "", &info).redirect().expect("a redirect").port, 5671);
        }
    }
}
