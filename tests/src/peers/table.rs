//! The table of hostile peers: `tests/peers/*.toml`, one entry for each behaviour of a server.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::amqp::{Composite, Edit, Unit};
use super::http2::H2Frame;
use crate::workspace;

/// The files of the table, and the least number of behaviours in each.
const FILES: [(Protocol, &str, usize); 4] = [
    (Protocol::Tls, "tls.toml", 5),
    (Protocol::Http1, "http1.toml", 44),
    (Protocol::Http2, "http2.toml", 24),
    (Protocol::Amqp, "amqp.toml", 66),
];

/// What may come of a call beside the codes of the connector's errors.
const OUTCOMES: [&str; 5] = ["page", "host:deadline", "host:memory-limit", "host:cpu-budget", "host:limit"];

/// The layer on which a peer misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// In the handshake, or in records below everything else.
    Tls,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// AMQP 1.0.
    Amqp,
}

impl Protocol {
    /// The calls that are made where an entry names none.
    fn usual_calls(self) -> &'static [Probe] {
        match self {
            Self::Tls => &[Probe::GetDevice, Probe::Telemetry],
            Self::Http1 => &[Probe::GetDevice, Probe::Poll],
            Self::Http2 => &[Probe::GetDevice],
            Self::Amqp => &[Probe::Telemetry],
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS",
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Amqp => "AMQP",
        })
    }
}

/// A call that is made to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// The action `get-device`: a read over HTTP, tried again within the call.
    GetDevice,
    /// The action `send-device-to-cloud-message` with a body of 250 KB: an upload over HTTP, never tried again.
    Upload,
    /// A poll of `service-configuration-changed`, over HTTP.
    Poll,
    /// A poll of `device-telemetry`, over AMQP.
    Telemetry,
    /// The action `send-cloud-to-device-message`, over AMQP.
    Message,
    /// A poll of `cloud-to-device-message-feedback`, over AMQP.
    Feedback,
}

/// The certificate that a peer presents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certificate {
    /// One that the account trusts, for the right name.
    #[default]
    Good,
    /// One of an authority that nobody trusts.
    Unknown,
    /// One for another name.
    OtherName,
    /// One whose time is over.
    Expired,
}

/// One behaviour.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Peer {
    /// Its name, unique in the table.
    pub id: String,
    /// What it does, for a person.
    pub what: String,
    /// The calls that are made to it; those of the protocol where none is named.
    #[serde(default)]
    pub calls: Vec<Probe>,
    /// What each connection does, in this order. After the last step the connection is closed.
    pub steps: Vec<Step>,
    /// What may come of a call: `page`, a code of the connector's error, or `host:` and the kind of the host's.
    pub expect: BTreeSet<String>,
    /// The certificate.
    #[serde(default)]
    pub certificate: Certificate,
    /// Whether the steps are below TLS: the bytes of the handshake itself.
    #[serde(default)]
    pub raw: bool,
    /// Whether the calls are made with a warm instance, which keeps its connections.
    #[serde(default)]
    pub warm: bool,
    /// Whether the peer has small buffers, so that an upload that it does not read cannot leave the client.
    #[serde(default)]
    pub small_buffers: bool,
    /// How long nobody calls after the calls, with the connections left as they are, in milliseconds.
    #[serde(default)]
    pub idle: u64,
    /// The layer; by the file.
    #[serde(skip, default = "tls")]
    pub protocol: Protocol,
}

fn tls() -> Protocol {
    Protocol::Tls
}

impl Peer {
    /// The calls that are made.
    #[must_use]
    pub fn calls(&self) -> &[Probe] {
        if self.calls.is_empty() { self.protocol.usual_calls() } else { &self.calls }
    }
}

/// One step of a connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Waits for a request, its body included.
    Request,
    /// Waits for the head of a request and reads no further.
    Head,
    /// Sends the right answer to the call that is being made.
    Good,
    /// HTTP/1.1: refuses the request with an error that repeats its token.
    Echo,
    /// Sends bytes.
    Send(Bytes),
    /// Sends bytes past TLS, though there is TLS.
    SendPlain(Bytes),
    /// Sends a frame of HTTP/2.
    H2(H2Frame),
    /// Reads so many bytes at the least.
    Read(usize),
    /// Waits, in milliseconds.
    Sleep(u64),
    /// Does the same again.
    Repeat {
        /// How often.
        times: usize,
        /// What.
        steps: Vec<Step>,
    },
    /// AMQP: behaves like the service until it is about to say this for the so-manieth time, and holds it back.
    Until(Unit, usize),
    /// AMQP: sends what was held back, or sends it once more.
    Forward,
    /// AMQP: sends what was held back, altered.
    Alter(Edit),
    /// AMQP: sends a frame.
    Amqp(Composite),
    /// AMQP: behaves like the service from here on.
    Pass,
    /// Says nothing more, reads on.
    Silence,
    /// Says nothing more and reads nothing more.
    Hold,
    /// Says that it will say nothing more, in TLS and TCP.
    HalfClose,
    /// Closes in good order.
    Close,
    /// Ends TCP without a word in TLS.
    Cut,
    /// Resets TCP.
    Reset,
}

/// Bytes that are written down shortly: a text, or a table with `hex`, with `fill`, either of them
/// with `times`, or with `join`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Bytes {
    /// A text.
    Text(String),
    /// Hexadecimal digits; white space between them is passed over.
    Hex {
        /// The digits.
        hex: Hex,
        /// How often.
        #[serde(default = "once")]
        times: usize,
    },
    /// A text again and again.
    Fill {
        /// The text.
        fill: String,
        /// How often.
        times: usize,
    },
    /// One after the other.
    Join {
        /// The parts.
        join: Vec<Bytes>,
    },
}

impl Bytes {
    /// The bytes.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Hex { hex, times } => hex.0.repeat(*times),
            Self::Fill { fill, times } => fill.repeat(*times).into_bytes(),
            Self::Join { join } => join.iter().flat_map(Self::to_vec).collect(),
        }
    }
}

fn once() -> usize {
    1
}

/// Bytes in hexadecimal digits.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Hex(pub Vec<u8>);

impl TryFrom<String> for Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| match pair {
            [high, low] => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                Some(digit(*high)? << 4 | digit(*low)?)
            }
            _ => None,
        };
        let bytes = digits.chunks(2).map(byte).collect::<Option<_>>();
        bytes.map(Self).ok_or_else(|| format!("`{text}` is not hexadecimal"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    peer: Vec<Peer>,
}

/// The whole table.
///
/// # Errors
/// Where it cannot be read, lacks behaviours, names one twice, or names an outcome that there is not.
pub fn read() -> Result<Vec<Peer>> {
    let mut peers: Vec<Peer> = Vec::new();
    for (protocol, file, least) in FILES {
        let path = workspace().join("tests/peers").join(file);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let table: Table = toml::from_str(&text).with_context(|| file)?;
        let count = table.peer.len();
        ensure!(count >= least, "{protocol} has {count} behaviours; {least} are promised");
        peers.extend(table.peer.into_iter().map(|peer| Peer { protocol, ..peer }));
    }
    let mut ids = BTreeSet::new();
    for peer in &peers {
        ensure!(ids.insert(peer.id.as_str()), "{} is in the table twice", peer.id);
        for outcome in &peer.expect {
            ensure!(is_outcome(outcome), "{}: `{outcome}` is no outcome", peer.id);
        }
        ensure!(!peer.expect.is_empty(), "{}: no outcome is expected", peer.id);
    }
    Ok(peers)
}

fn is_outcome(outcome: &str) -> bool {
    use connector_host::interface::types::ErrorCode;
    OUTCOMES.contains(&outcome) || serde_json::from_value::<ErrorCode>(outcome.into()).is_ok()
}
