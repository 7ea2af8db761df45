//! The errors of the protocol, and which side caused them.

use std::fmt;
use std::time::Duration;

use super::codec::{DecodeError, Value};
use super::stage::Stage;
use super::transport::TransportError;

/// The result of every fallible function of the protocol.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a conversation failed. After an error the connection is no longer usable, except after [`Error::Timeout`], which
/// ends a wait, [`Error::Ended`], which concerns the links of one session, and [`Error::Detached`], [`Error::Refused`]
/// and [`Error::Answered`], which concern one link or one request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The transport failed.
    Transport(TransportError),
    /// The deadline passed while the connection waited for this.
    Timeout(Stage),
    /// The peer ended the byte stream while the connection waited for this.
    Disconnected(Stage),
    /// The peer sent nothing, not even an empty frame, for this time.
    Silent(Duration),
    /// The peer broke the protocol.
    Peer(Misbehaviour),
    /// The server accepts none of our ways to authenticate. These are the mechanisms that it offers.
    NoMechanism(Vec<String>),
    /// The server refused the login, with this SASL outcome: 1 is wrong credentials, 2 to 4 are failures of the server.
    /// Only 4 may be temporary.
    Sasl(u8),
    /// The peer closed the connection.
    Closed(Option<RemoteError>),
    /// The peer ended the session.
    Ended(Option<RemoteError>),
    /// The peer detached the link, or never attached it.
    Detached(Option<RemoteError>),
    /// The peer refused a message.
    Refused(Option<RemoteError>),
    /// A request was answered with a status that is not a success.
    Answered(Box<StatusError>),
    /// The answer to a request is malformed.
    Answer(&'static str),
    /// A message is larger than one side accepts.
    MessageTooLarge {
        /// The limit that the message exceeds, in bytes.
        limit: u64,
    },
    /// This limit of our own side was reached.
    Limit(&'static str),
}

/// How a peer broke the protocol.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// The peer speaks another protocol. These are its first bytes.
    ProtocolHeader(Vec<u8>),
    /// The header of a frame is invalid.
    FrameHeader,
    /// A frame is larger than the agreed limit.
    FrameTooLarge {
        /// The frame's size, in bytes.
        size: u32,
        /// The largest size that was agreed, in bytes.
        limit: u32,
    },
    /// The body of a frame, or a message, cannot be decoded.
    Decode(DecodeError),
    /// This kind of frame is not allowed now, or never from a server.
    Unexpected(&'static str),
    /// The server sends more SASL challenges than the mechanism has.
    SaslRounds,
    /// The peer's largest frame or idle time-out is smaller than the standard allows or than is workable.
    Terms(&'static str),
    /// A frame on a channel that is not open.
    Channel(u16),
    /// The peer attached a link that nobody asked for.
    UnknownLink,
    /// The peer used a handle that no link is attached with.
    Handle(u32),
    /// The peer sent more messages than it had credit for.
    Credit,
    /// The peer sent more transfers than the session's window had room for.
    Window,
    /// The parts of a delivery do not belong together.
    Delivery,
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProtocolHeader(bytes) => write!(f, "it does not speak AMQP 1.0: it began with {}", printable(bytes)),
            Self::FrameHeader => f.write_str("the header of a frame is invalid"),
            Self::FrameTooLarge { size, limit } => write!(f, "a frame has {size} bytes, more than the agreed {limit}"),
            Self::Decode(error) => write!(f, "a frame cannot be read: {error}"),
            Self::Unexpected(what) => write!(f, "it sent {what}, which is not allowed at that point"),
            Self::SaslRounds => f.write_str("it sent too many SASL challenges"),
            Self::Terms(what) => write!(f, "its {what} is too small"),
            Self::Channel(channel) => write!(f, "a frame came on channel {channel}, which is not open"),
            Self::UnknownLink => f.write_str("it attached a link that was not asked for"),
            Self::Handle(handle) => write!(f, "a frame uses the handle {handle}, which no link has"),
            Self::Credit => f.write_str("it sent more messages than there was credit for"),
            Self::Window => f.write_str("it sent more transfers than the window has room for"),
            Self::Delivery => f.write_str("the parts of a message do not belong together"),
        }
    }
}

impl Misbehaviour {
    /// The standard's condition name for this violation, for the close frame that reports it to the peer.
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

/// An error as the peer stated it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteError {
    /// The condition: a symbol of the standard (`amqp:…`) or of a vendor (`com.microsoft:…`).
    pub condition: String,
    /// An explanation for a person.
    pub description: Option<String>,
    /// More about the error.
    pub info: Vec<(Value, Value)>,
}

/// Another place that the peer refers its client to (condition `amqp:link:redirect` or `amqp:connection:redirect`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The host name for the open frame and the token.
    pub hostname: String,
    /// The host to connect to, if it differs from `hostname`.
    pub network_host: Option<String>,
    /// The port; 5671 if the peer stated none.
    pub port: u16,
    /// The address to attach to.
    pub address: Option<String>,
}

impl RemoteError {
    /// The redirect, if the error is one.
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

    /// The service's tracking id, from a member of `info` or from the description.
    pub fn tracking_id(&self) -> Option<String> {
        self.info_text("com.microsoft:tracking-id").or_else(|| tracking_id_in(self.description.as_deref()?))
    }

    /// The six-digit code that IoT Hub adds to the condition ("Troubleshoot Azure IoT Hub error codes").
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

/// An answer of `$cbs` or `$management` whose status is not a success.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusError {
    /// The node that answered.
    pub node: &'static str,
    /// The status code, with the same meaning as in HTTP.
    pub status: u16,
    /// An explanation for a person.
    pub description: Option<String>,
    /// The condition, if the node stated one.
    pub condition: Option<String>,
}

impl StatusError {
    /// The service's tracking id, if the description contains one.
    pub fn tracking_id(&self) -> Option<String> {
        tracking_id_in(self.description.as_deref()?)
    }
}

impl Error {
    /// The error that the peer stated, if this error is one.
    pub fn remote(&self) -> Option<&RemoteError> {
        match self {
            Self::Closed(error) | Self::Ended(error) | Self::Detached(error) | Self::Refused(error) => error.as_ref(),
            _ => None,
        }
    }

    /// The redirect, if the error is one.
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
            None => write!(f, "{what} without stating a reason"),
        };
        match self {
            Self::Transport(error) => error.fmt(f),
            Self::Timeout(stage) => write!(f, "the time was up while waiting for {stage}"),
            Self::Disconnected(stage) => write!(f, "the peer ended the connection while this side waited for {stage}"),
            Self::Silent(time) => write!(f, "the peer was silent for {} s", time.as_secs()),
            Self::Peer(misbehaviour) => write!(f, "the peer broke the protocol: {misbehaviour}"),
            Self::NoMechanism(offered) => {
                write!(f, "the server accepts none of this client's ways to authenticate, only {}", offered.join(", "))
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
            Self::Limit(what) => write!(f, "a limit of this side was reached: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// The tracking id in a text: Event Hubs writes `TrackingId:…`, IoT Hub `Tracking ID:…`. Event Hubs adds one id for
/// each hop; the first id is that of Event Hubs itself.
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
