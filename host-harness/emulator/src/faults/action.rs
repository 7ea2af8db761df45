//! What a rule does.

use std::time::Duration;

use super::refusal::Refusal;

/// What a rule does to the exchanges it matches.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FaultAction {
    /// Answers with an error in the service's own form, without doing anything.
    Status {
        /// The HTTP status.
        status: u16,
        /// The service's six-digit code; by default the code that fits the status.
        code: Option<u32>,
        /// Seconds for the `Retry-After` header.
        retry_after_secs: Option<u64>,
        /// A body that replaces the service's error body.
        body: Option<String>,
    },
    /// Answers with an error in a form of the rule's choice, without doing anything.
    Refuse(Refusal),
    /// Answers after this delay.
    Latency(Duration),
    /// Closes the connection without an answer. The request is **not** carried out.
    DropConnection,
    /// Carries the request out, but closes the connection without an answer.
    DropAfterEffect,
    /// Sends half of the body and closes the connection.
    TruncateBody,
    /// Sends half of the body and then nothing more, with the connection open.
    StallBody,
    /// Replaces the body by something that is not JSON.
    Garbage,
    /// Puts this many bytes of white space before the body: valid JSON, but more than a client should accept.
    Oversize(usize),
    /// Answers with ETags that are not the entity's.
    WrongEtag,
    /// Handles the request as if the service's clock were ahead by this number of seconds.
    ClockSkew(i64),
    /// AMQP: closes the connection with this condition.
    Close(String),
    /// AMQP: ends the session with this condition.
    End(String),
    /// AMQP: detaches the link with this condition.
    Detach(String),
    /// AMQP: rejects the message with this condition.
    Reject(String),
    /// AMQP: sends half of the next frame and closes the connection.
    HalfFrame,
    /// AMQP: drops the connection after a random number of further bytes, at most this many.
    Cut(u32),
    /// AMQP: treats every token of the connection as expired.
    ExpireTokens,
}

impl FaultAction {
    pub(super) fn is_amqp_only(&self) -> bool {
        use FaultAction::{Close, Cut, Detach, End, ExpireTokens, HalfFrame, Reject};
        matches!(self, Close(_) | End(_) | Detach(_) | Reject(_) | HalfFrame | Cut(_) | ExpireTokens)
    }

    pub(super) fn is_http_only(&self) -> bool {
        use FaultAction::{ClockSkew, DropAfterEffect, Oversize, Refuse, TruncateBody, WrongEtag};
        matches!(self, Refuse(_) | ClockSkew(_) | DropAfterEffect | Oversize(_) | TruncateBody | WrongEtag)
    }

    /// Whether the exchange or operation ends with this action.
    pub(super) fn ends(&self) -> bool {
        use FaultAction::{Close, Detach, DropConnection, End, Refuse, Reject, Status};
        matches!(self, Status { .. } | Refuse(_) | DropConnection | Close(_) | End(_) | Detach(_) | Reject(_))
    }
}
