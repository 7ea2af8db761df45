//! The purpose of a wait, to name it in an error when the time runs out.

use std::fmt;

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The address of the host.
    Resolve,
    /// The TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The WebSocket handshake.
    Upgrade,
    /// The protocol header of the peer.
    Header,
    /// The end of the authentication.
    Sasl,
    /// The peer's open frame.
    Open,
    /// The peer's begin frame.
    Begin,
    /// The peer's attach frame.
    Attach,
    /// Credit to send a request.
    Credit,
    /// The answer to a request.
    Answer,
    /// The outcome of a message that was sent.
    Outcome,
    /// The confirmation that a receiver's credit is used up or returned.
    Drain,
    /// A message from the peer.
    Message,
    /// The network, until it accepts more bytes.
    Write,
    /// The peer's close frame.
    Close,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "the address of the host",
            Self::Connect => "a TCP connection",
            Self::Tls => "the TLS handshake",
            Self::Upgrade => "the WebSocket handshake",
            Self::Header => "the protocol header",
            Self::Sasl => "the end of the authentication",
            Self::Open => "the connection to be opened",
            Self::Begin => "the session to begin",
            Self::Attach => "the link to be attached",
            Self::Credit => "credit to send a request",
            Self::Answer => "the answer to a request",
            Self::Outcome => "the outcome of a message",
            Self::Drain => "the return of the credit",
            Self::Message => "a message",
            Self::Write => "the peer to read the sent bytes",
            Self::Close => "the connection to be closed",
        })
    }
}
