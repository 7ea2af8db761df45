//! The table of hostile peers: `tests/peers/*.toml`, one entry for each behaviour of a server.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::amqp::{Composite, Edit, Unit};
use super::http2::H2Frame;
use crate::workspace;

/// The files of the table. Each must have at least this number of behaviours.
const FILES: [(Protocol, &str, usize); 4] = [
    (Protocol::Tls, "tls.toml", 5),
    (Protocol::Http1, "http1.toml", 44),
    (Protocol::Http2, "http2.toml", 24),
    (Protocol::Amqp, "amqp.toml", 66),
];

/// The outcomes that a call may have, besides the codes of the connector's errors.
const OUTCOMES: [&str; 5] = ["page", "host:deadline", "host:memory-limit", "host:cpu-budget", "host:limit"];

/// The layer on which a peer misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// The TLS handshake, or TLS records.
    Tls,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// AMQP 1.0.
    Amqp,
}

impl Protocol {
    /// The calls that are made to a peer whose entry names no calls.
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

/// A call to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// The action `get-device`: a read over HTTP, which is retried within the call.
    GetDevice,
    /// The action `send-device-to-cloud-message` with a body of 250 KB: an upload over HTTP, which is never retried.
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
    /// A certificate that the account trusts, for the right name.
    #[default]
    Good,
    /// A certificate of an authority that the account does not trust.
    Unknown,
    /// A certificate for another name.
    OtherName,
    /// An expired certificate.
    Expired,
}

/// The entry of one behaviour.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Peer {
    /// The behaviour's id, unique in the table.
    pub id: String,
    /// A description for a person.
    pub what: String,
    /// The calls that are made to the peer. Empty for those of the protocol.
    #[serde(default)]
    pub calls: Vec<Probe>,
    /// The steps of each connection, in order. After the last step the connection is closed.
    pub steps: Vec<Step>,
    /// The outcomes that a call may have: `page`, a code of the connector's errors, or `host:` and the kind of a host's
    /// error.
    pub expect: BTreeSet<String>,
    /// The certificate that the peer presents.
    #[serde(default)]
    pub certificate: Certificate,
    /// Whether the steps are below TLS, so that they send the bytes of the handshake itself.
    #[serde(default)]
    pub raw: bool,
    /// Whether the calls are made in a warm instance, which keeps its connections open.
    #[serde(default)]
    pub warm: bool,
    /// Whether the peer has small buffers. An upload that the peer does not read then stays in the client.
    #[serde(default)]
    pub small_buffers: bool,
    /// How long no calls are made after the calls, while connections stay open, in milliseconds.
    #[serde(default)]
    pub idle: u64,
    /// The protocol of the entry's file.
    #[serde(skip, default = "tls")]
    pub protocol: Protocol,
}

fn tls() -> Protocol {
    Protocol::Tls
}

impl Peer {
    /// The calls that are made to the peer.
    #[must_use]
    pub fn calls(&self) -> &[Probe] {
        if self.calls.is_empty() { self.protocol.usual_calls() } else { &self.calls }
    }
}

/// One step of a connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Waits for a whole request with its body.
    Request,
    /// Waits for the head of a request, and does not read the body.
    Head,
    /// Sends the correct response to the current call.
    Good,
    /// HTTP/1.1: rejects the request with an error that repeats the request's token.
    Echo,
    /// Sends bytes.
    Send(Bytes),
    /// Sends bytes directly over TCP, although the connection uses TLS.
    SendPlain(Bytes),
    /// Sends an HTTP/2 frame.
    H2(H2Frame),
    /// Waits until at least this many bytes have arrived.
    Read(usize),
    /// Waits this many milliseconds.
    Sleep(u64),
    /// Repeats steps.
    Repeat {
        /// How often the steps are played.
        times: usize,
        /// The steps.
        steps: Vec<Step>,
    },
    /// AMQP: behaves like the service until it is about to send this unit for the given number of times, and holds the
    /// unit back.
    Until(Unit, usize),
    /// AMQP: sends the held-back unit. It can be sent more than once.
    Forward,
    /// AMQP: sends the held-back unit with changes.
    Alter(Edit),
    /// AMQP: sends a frame.
    Amqp(Composite),
    /// AMQP: behaves like the service from now on.
    Pass,
    /// Sends nothing more, and still reads.
    Silence,
    /// Sends nothing more, and does not read either.
    Hold,
    /// Closes only the sending direction, in TLS and TCP.
    HalfClose,
    /// Closes the connection properly.
    Close,
    /// Closes TCP without a TLS close.
    Cut,
    /// Resets the TCP connection.
    Reset,
}

/// Bytes in a short notation: a text, or a table with `hex`, with `fill` (either of them with `times`), or with `join`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Bytes {
    /// A text.
    Text(String),
    /// Hexadecimal digits. White space between them is ignored.
    Hex {
        /// The digits.
        hex: Hex,
        /// How often the bytes are repeated.
        #[serde(default = "once")]
        times: usize,
    },
    /// A text that is repeated.
    Fill {
        /// The text.
        fill: String,
        /// How often the text is repeated.
        times: usize,
    },
    /// Several parts, one after the other.
    Join {
        /// The parts.
        join: Vec<Bytes>,
    },
}

impl Bytes {
    /// The bytes themselves.
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

/// Reads the whole table.
///
/// # Errors
/// Where the table cannot be read, a file has too few behaviours, an id is used twice, or an outcome does not exist.
pub fn read() -> Result<Vec<Peer>> {
    let mut peers: Vec<Peer> = Vec::new();
    for (protocol, file, least) in FILES {
        let path = workspace().join("tests/peers").join(file);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let table: Table = toml::from_str(&text).with_context(|| file)?;
        let count = table.peer.len();
        ensure!(count >= least, "{protocol} has {count} behaviours, but needs at least {least}");
        peers.extend(table.peer.into_iter().map(|peer| Peer { protocol, ..peer }));
    }
    let mut ids = BTreeSet::new();
    for peer in &peers {
        ensure!(ids.insert(peer.id.as_str()), "{} is in the table twice", peer.id);
        for outcome in &peer.expect {
            ensure!(is_outcome(outcome), "{}: the outcome `{outcome}` does not exist", peer.id);
        }
        ensure!(!peer.expect.is_empty(), "{}: no outcome is expected", peer.id);
    }
    Ok(peers)
}

fn is_outcome(outcome: &str) -> bool {
    use connector_host::interface::types::ErrorCode;
    OUTCOMES.contains(&outcome) || serde_json::from_value::<ErrorCode>(outcome.into()).is_ok()
}
