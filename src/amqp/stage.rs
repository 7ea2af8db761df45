//! What a wait is for, to name it where the time runs out.

use std::fmt;

/// What was waited for.
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
    /// The protocol header.
    Header,
    /// The end of the authentication.
    Sasl,
    /// The open.
    Open,
    /// The begin.
    Begin,
    /// An attach.
    Attach,
    /// Credit to send a request.
    Credit,
    /// The answer to a request.
    Answer,
    /// What became of a message that was sent.
    Outcome,
    /// The end of the credit that was given.
    Drain,
    /// A message.
    Message,
    /// Room to write.
    Write,
    /// The close.
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
            Self::Credit => "leave to send a request",
            Self::Answer => "the answer to a request",
            Self::Outcome => "word of what became of a message",
            Self::Drain => "the credit to come back",
            Self::Message => "a message",
            Self::Write => "the peer to take what is sent",
            Self::Close => "the connection to be closed",
        })
    }
}
