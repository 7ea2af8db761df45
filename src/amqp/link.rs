//! One end of a link: its credit, the messages that wait to be sent, and the message that is being received.

use std::collections::VecDeque;

use super::error::{Error, Misbehaviour, Result};
use super::performative::{Attach, Flow, Properties, Role, Source, Target, Transfer};

/// The id of a link. It is not reused while the connection lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId {
    /// The id of the link's session.
    pub(super) session: u32,
    pub(super) number: u32,
}

/// What a link is for. Links of the same purpose share a session if the peer accepts few sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Requests and their answers, which must not wait for anything else.
    Requests,
    /// Messages.
    Messages,
}

/// How to attach a link.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkOptions {
    /// The link's name, unique between the two containers.
    pub name: String,
    /// The end of the link that this side has.
    pub role: Role,
    /// The address that messages come from.
    pub source: Source,
    /// The address that messages go to.
    pub target: Target,
    /// Link properties, such as the owner level.
    pub properties: Properties,
    /// Capabilities that this side asks the peer for.
    pub desired_capabilities: Vec<String>,
    /// The largest message that a receiver accepts, in bytes.
    pub max_message_size: u64,
    /// Whether the peer keeps each message of a receiver until [`Client::accept`] is called for it. When the link
    /// ends, the peer may deliver messages again that were not accepted.
    ///
    /// [`Client::accept`]: super::client::Client::accept
    pub peek: bool,
    /// What the link is for.
    pub purpose: Purpose,
}

impl LinkOptions {
    /// A receiver from an address. `name` is also used as the target's address, which some peers require.
    pub fn receiver(name: impl Into<String>, from: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            role: Role::Receiver,
            source: Source { address: Some(from.into()), filter: Vec::new() },
            target: Target { address: Some(name.clone()) },
            name,
            properties: Vec::new(),
            desired_capabilities: Vec::new(),
            max_message_size: LARGEST_MESSAGE,
            peek: false,
            purpose: Purpose::Messages,
        }
    }

    /// A sender to an address. `name` is also used as the source's address, which some peers require.
    pub fn sender(name: impl Into<String>, to: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            role: Role::Sender,
            source: Source { address: Some(name.clone()), filter: Vec::new() },
            target: Target { address: Some(to.into()) },
            name,
            properties: Vec::new(),
            desired_capabilities: Vec::new(),
            max_message_size: LARGEST_MESSAGE,
            peek: false,
            purpose: Purpose::Messages,
        }
    }

    pub(super) fn attach(&self, handle: u32) -> Attach {
        Attach {
            name: self.name.clone(),
            handle,
            role: self.role,
            // A receiver asks for settled messages, since messages of Event Hubs are not acknowledged (the .NET client
            // does the same). A sender leaves its requests unsettled, to be told when one is refused. A receiver that
            // peeks uses settle mode `second`, as the .NET client of IoT Hub does.
            snd_settle_mode: Some(if self.role == Role::Receiver && !self.peek { 1 } else { 0 }),
            rcv_settle_mode: Some(u8::from(self.peek)),
            source: Some(self.source.clone()),
            target: Some(self.target.clone()),
            initial_delivery_count: (self.role == Role::Sender).then_some(0),
            max_message_size: (self.role == Role::Receiver).then_some(self.max_message_size),
            desired_capabilities: self.desired_capabilities.clone(),
            properties: self.properties.clone(),
        }
    }
}

/// The largest message that a receiver accepts by default, in bytes: an Event Hubs publication of 1 MB and its
/// annotations.
pub const LARGEST_MESSAGE: u64 = 1_200_000;
/// How many messages of a link may wait for credit. A request link sends one message at a time.
const LONGEST_QUEUE: usize = 16;

/// A complete message as it was received.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivery {
    /// The link that received the message.
    pub link: LinkId,
    /// The message's bytes, for [`Message::decode`](super::Message::decode).
    pub payload: Vec<u8>,
    pub(super) id: u32,
    pub(super) settled: bool,
    /// How many transfers the message arrived in. They are returned to the window when the message is consumed.
    pub(super) transfers: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// This side has sent its attach.
    Attaching,
    /// Both sides have attached.
    Attached,
    /// The peer has attached without a source or target: it will detach the link with the reason.
    Refused,
    /// This side has detached.
    Detaching,
}

#[derive(Debug)]
pub(super) struct Link {
    pub id: LinkId,
    pub name: String,
    pub role: Role,
    pub state: State,
    /// The peer's handle for the link.
    pub remote_handle: Option<u32>,
    /// Our own handle: the link's index in the session's table.
    pub handle: u32,
    pub delivery_count: u32,
    pub credit: u32,
    /// The caller accepts each message itself.
    pub peek: bool,
    receiving: Receiving,
    pub sending: Sending,
}

#[derive(Debug, Default)]
struct Receiving {
    /// How many messages of credit the receiver keeps up.
    prefetch: u32,
    /// How many messages were returned to the caller and are not consumed yet.
    unconsumed: u32,
    max_message_size: u64,
    partial: Option<Partial>,
}

#[derive(Debug, Default)]
struct Partial {
    id: u32,
    payload: Vec<u8>,
    settled: bool,
    transfers: u32,
}

#[derive(Debug, Default)]
pub(super) struct Sending {
    pub queue: VecDeque<Outgoing>,
    /// The largest message that the peer accepts, in bytes; 0 means no limit.
    pub max_message_size: u64,
    next_tag: u32,
}

#[derive(Debug)]
pub(super) struct Outgoing {
    pub tag: Vec<u8>,
    pub payload: Vec<u8>,
    /// How many bytes of the message were sent.
    pub sent: usize,
    /// The delivery id, after the first transfer was sent.
    pub delivery: Option<u32>,
}

impl Link {
    pub fn new(id: LinkId, handle: u32, options: &LinkOptions) -> Self {
        Self {
            id,
            name: options.name.clone(),
            role: options.role,
            state: State::Attaching,
            remote_handle: None,
            handle,
            delivery_count: 0,
            credit: 0,
            peek: options.peek,
            receiving: Receiving { max_message_size: options.max_message_size, ..Receiving::default() },
            sending: Sending::default(),
        }
    }

    /// Processes the peer's attach. Returns whether the link can be used.
    pub fn attached(&mut self, attach: &Attach) -> Result<bool, Misbehaviour> {
        if self.state != State::Attaching && self.state != State::Detaching {
            return Err(Misbehaviour::Unexpected("a second attach"));
        }
        self.remote_handle = Some(attach.handle);
        if self.role == Role::Receiver {
            // A sender must state the count. A refusal may leave the count out, and then the link is not used anyway.
            self.delivery_count = attach.initial_delivery_count.unwrap_or(0);
        } else {
            self.sending.max_message_size = attach.max_message_size.unwrap_or(0);
        }
        if self.state == State::Detaching {
            return Ok(false);
        }
        let theirs = match self.role {
            Role::Receiver => attach.source.is_some(),
            Role::Sender => attach.target.is_some(),
        };
        self.state = if theirs { State::Attached } else { State::Refused };
        Ok(theirs)
    }

    pub fn set_prefetch(&mut self, prefetch: u32) {
        self.receiving.prefetch = prefetch;
    }

    /// Whether credit must be granted again: after half of it was used, so that there are few flow frames and no
    /// interruptions.
    pub fn top_up(&mut self) -> bool {
        if self.role != Role::Receiver || self.state != State::Attached {
            return false;
        }
        let wanted = self.receiving.prefetch.saturating_sub(self.receiving.unconsumed);
        let half = self.receiving.prefetch.div_ceil(2).max(1);
        let due = wanted.saturating_sub(self.credit) >= half;
        if due {
            self.credit = wanted;
        }
        due
    }

    pub fn consumed(&mut self) {
        self.receiving.unconsumed = self.receiving.unconsumed.saturating_sub(1);
    }

    /// Processes a flow from the peer. Returns whether the peer expects an answer.
    pub fn flow(&mut self, flow: &Flow) -> Result<bool, Misbehaviour> {
        match self.role {
            Role::Receiver => {
                // A sender that skips messages increases its count, within the credit that it had. A sender may count a
                // message at the message's end, where this side counts it at its beginning.
                if let Some(count) = flow.delivery_count {
                    let skipped = count.wrapping_sub(self.delivery_count);
                    if skipped <= u32::MAX / 2 {
                        self.credit = self.credit.checked_sub(skipped).ok_or(Misbehaviour::Credit)?;
                        self.delivery_count = count;
                    }
                }
                Ok(flow.echo)
            }
            Role::Sender => {
                let (Some(count), Some(credit)) = (flow.delivery_count.or(Some(0)), flow.link_credit) else {
                    return Ok(flow.echo);
                };
                // The receiver's count may be behind ours by the messages on their way. If no credit is left after
                // these messages, the credit is 0.
                let ahead = self.delivery_count.wrapping_sub(count);
                self.credit = if ahead > u32::MAX / 2 { 0 } else { credit.saturating_sub(ahead) };
                if flow.drain && self.sending.queue.is_empty() {
                    self.delivery_count = self.delivery_count.wrapping_add(self.credit);
                    self.credit = 0;
                    return Ok(true);
                }
                Ok(flow.echo)
            }
        }
    }

    /// Processes a transfer. Returns the message if it is now complete.
    pub fn transfer(&mut self, transfer: &Transfer, payload: &[u8]) -> Result<Option<Delivery>> {
        let partial = match &mut self.receiving.partial {
            Some(partial) => {
                if transfer.delivery_id.is_some_and(|id| id != partial.id) {
                    return Err(Misbehaviour::Delivery.into());
                }
                partial
            }
            none => {
                let id = transfer.delivery_id.ok_or(Misbehaviour::Delivery)?;
                self.credit = self.credit.checked_sub(1).ok_or(Misbehaviour::Credit)?;
                self.delivery_count = self.delivery_count.wrapping_add(1);
                none.insert(Partial { id, ..Partial::default() })
            }
        };
        partial.transfers = partial.transfers.saturating_add(1);
        partial.settled |= transfer.settled.unwrap_or(false);
        if transfer.aborted {
            self.receiving.partial = None;
            return Ok(None);
        }
        let size = partial.payload.len().saturating_add(payload.len());
        let limit = self.receiving.max_message_size;
        if limit != 0 && u64::try_from(size).is_ok_and(|size| size > limit) {
            return Err(Error::MessageTooLarge { limit });
        }
        partial.payload.extend_from_slice(payload);
        if transfer.more {
            return Ok(None);
        }
        let Some(Partial { id, payload, settled, transfers }) = self.receiving.partial.take() else { return Ok(None) };
        self.receiving.unconsumed = self.receiving.unconsumed.saturating_add(1);
        Ok(Some(Delivery { link: self.id, payload, id, settled, transfers }))
    }

    /// Adds a message to the queue of messages to be sent.
    pub fn queue(&mut self, payload: Vec<u8>) -> Result<()> {
        if self.role != Role::Sender || !matches!(self.state, State::Attached | State::Attaching) {
            return Err(Error::Limit("this link does not send"));
        }
        if self.sending.queue.len() >= LONGEST_QUEUE {
            return Err(Error::Limit("messages that wait to be sent"));
        }
        let limit = self.sending.max_message_size;
        if limit != 0 && u64::try_from(payload.len()).is_ok_and(|size| size > limit) {
            return Err(Error::MessageTooLarge { limit });
        }
        let tag = self.sending.next_tag.to_be_bytes().to_vec();
        self.sending.next_tag = self.sending.next_tag.wrapping_add(1);
        self.sending.queue.push_back(Outgoing { tag, payload, sent: 0, delivery: None });
        Ok(())
    }
}
