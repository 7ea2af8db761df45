//! Sessions and links: windows, credit, deliveries in several frames. This module does no input or output: frames go to
//! a buffer.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use fe2o3_amqp_types::performatives::{Flow, Transfer};

use super::codec::FRAME_HEADER;
use super::performatives::LinkFlow;
use super::{codec, performatives};
use crate::event_hub::endpoint::Lease;
use crate::event_hub::log::Position;
use crate::service_bound::Queue;

/// The incoming window: transfers that a client may send before it needs another flow.
pub(super) const WINDOW: u32 = 5000;
/// Messages that a client may send on a link before it gets more credit.
pub(super) const REQUEST_CREDIT: u32 = 300;

/// One session; its two channels have the same number.
pub(super) struct Session {
    pub(super) channel: u16,
    next_incoming_id: u32,
    incoming_window: u32,
    next_outgoing_id: u32,
    remote_window: u32,
    next_delivery_id: u32,
    /// Frames that wait for room in the client's window.
    pending: VecDeque<Bytes>,
    pub(super) links: HashMap<u32, Link>,
    /// The emulator has ended the session and waits for the client's `end`.
    pub(super) ended: bool,
}

/// One link; its two handles have the same number.
pub(super) struct Link {
    pub(super) kind: LinkKind,
    /// The address with a slash before it, for fault rules.
    pub(super) path: String,
    /// The segments of the address, for claims.
    pub(super) segments: Vec<String>,
    /// Whether the link is detached as soon as no claim covers it any more.
    pub(super) guarded: bool,
    /// The emulator has detached the link and waits for the client's `detach`.
    pub(super) detached: bool,
    /// When something was last sent or received on the link.
    pub(super) active: Instant,
    /// For a link on which the emulator sends, `delivery_count` is the number of deliveries so far, and `credit` is the
    /// number that the client still accepts. For a link on which the client sends, `credit` is the number that it may
    /// still send.
    pub(super) delivery_count: u32,
    pub(super) credit: u32,
    pub(super) drain: bool,
    /// Whether the client wants deliveries that are already settled when they are sent.
    pub(super) settled: bool,
}

/// What a client's link is used for.
pub(super) enum LinkKind {
    /// The client sends requests to `$cbs` or `$management`.
    Request { node: Node, message: Assembly },
    /// The client receives answers to its requests; `target` is its own address on this link.
    Reply { node: Node, target: Option<String>, queue: VecDeque<Vec<u8>> },
    /// The client receives events.
    Events { lease: Lease, partition: u16, position: Position, metrics: bool },
    /// The client sends messages to devices.
    DeviceBound { message: Assembly },
    /// The client receives feedback or file notifications. `locks` has the lock token of each unsettled delivery, by
    /// its id.
    Notices { queue: Queue, locks: HashMap<u32, [u8; 16]> },
    /// A device or module sends telemetry, answers to methods, or requests for its twin.
    FromDevice { device: String, endpoint: DeviceEndpoint, pair: Option<String>, message: Assembly },
    /// A device or module receives. `queue` has what waits for credit; messages wait in the hub instead. `locks` has the
    /// lock token of each unsettled message, by its delivery id.
    ToDevice {
        device: String,
        endpoint: DeviceEndpoint,
        pair: Option<String>,
        queue: VecDeque<Vec<u8>>,
        locks: HashMap<u32, String>,
    },
    /// The link was refused, and nothing happens on it any more.
    Refused,
}

/// A node that answers requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Cbs,
    Management,
    /// Registers devices with the provisioning service.
    Registration,
}

/// What a link of a device or module is for. The key of its record is the link's `device`; its `pair` is the correlation
/// id that it has in common with the link in the opposite direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceEndpoint {
    Messages,
    Methods,
    Twin,
}

/// An incoming delivery that is put together from its transfers.
#[derive(Default)]
pub(super) struct Assembly {
    delivery_id: u32,
    settled: bool,
    format: u32,
    bytes: BytesMut,
}

/// A complete incoming delivery.
pub(super) struct Delivery {
    pub(super) id: u32,
    pub(super) settled: bool,
    /// The message format; 0 is AMQP's own.
    pub(super) format: u32,
    pub(super) bytes: Bytes,
}

/// A delivery is longer than the link allows.
pub(super) struct TooLong;

impl Assembly {
    /// Adds a transfer. Returns the delivery when the transfer was its last.
    pub(super) fn add(
        &mut self,
        transfer: &Transfer,
        payload: &Bytes,
        limit: usize,
    ) -> Result<Option<Delivery>, TooLong> {
        if let Some(id) = transfer.delivery_id {
            self.delivery_id = id;
        }
        if let Some(format) = &transfer.message_format {
            self.format = *format;
        }
        self.settled |= transfer.settled.unwrap_or(false);
        if self.bytes.len() + payload.len() > limit {
            self.bytes.clear();
            return Err(TooLong);
        }
        self.bytes.extend_from_slice(payload);
        if transfer.more && !transfer.aborted {
            return Ok(None);
        }
        let Self { delivery_id: id, settled, format, bytes } = std::mem::take(self);
        let whole = Delivery { id, settled, format, bytes: bytes.freeze() };
        Ok((!transfer.aborted).then_some(whole))
    }
}

impl Session {
    pub(super) fn new(channel: u16, next_incoming_id: u32, remote_window: u32) -> Self {
        Self {
            channel,
            next_incoming_id,
            incoming_window: WINDOW,
            next_outgoing_id: 0,
            remote_window,
            next_delivery_id: 0,
            pending: VecDeque::new(),
            links: HashMap::new(),
            ended: false,
        }
    }

    /// Whether a further frame must wait for the client's window.
    pub(super) fn is_blocked(&self) -> bool {
        !self.pending.is_empty() || self.remote_window == 0
    }

    /// Applies a `flow` of the client.
    pub(super) fn on_flow(&mut self, flow: &Flow) {
        let acknowledged = flow.next_incoming_id.unwrap_or(0);
        self.remote_window = acknowledged.wrapping_add(flow.incoming_window).wrapping_sub(self.next_outgoing_id);
        if let Some(link) = flow.handle.as_ref().and_then(|handle| self.links.get_mut(&handle.0))
            && link.is_sender()
        {
            let limit = flow.delivery_count.unwrap_or(0).wrapping_add(flow.link_credit.unwrap_or(0));
            link.credit = limit.wrapping_sub(link.delivery_count);
            // A client may lower its credit while deliveries are on their way. The difference is then negative and
            // means no credit.
            if link.credit > u32::MAX / 2 {
                link.credit = 0;
            }
            link.drain = flow.drain;
        }
    }

    /// Counts an incoming transfer. Returns whether the client should get a flow with a new window.
    pub(super) fn on_transfer(&mut self) -> bool {
        self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
        self.incoming_window = self.incoming_window.saturating_sub(1);
        if self.incoming_window < WINDOW / 2 {
            self.incoming_window = WINDOW;
            return true;
        }
        false
    }

    /// Writes a flow with the session's state and, with a handle, a link's.
    pub(super) fn flow(&self, handle: Option<u32>, out: &mut BytesMut) {
        let link = handle.and_then(|handle| {
            let link = self.links.get(&handle)?;
            let LinkKind::Refused = link.kind else {
                let (delivery_count, credit) = (link.delivery_count, link.credit);
                return Some(LinkFlow { handle, delivery_count, credit, drain: link.drain });
            };
            None
        });
        let body =
            performatives::flow(self.next_incoming_id, self.incoming_window, self.next_outgoing_id, WINDOW, link);
        codec::put_frame(out, 0, self.channel, &body, &[]);
    }

    /// Cuts a message into frames of at most `max_frame_size` bytes and queues them. Returns the delivery's id.
    pub(super) fn send(&mut self, handle: u32, tag: &[u8], payload: &[&[u8]], max_frame_size: usize) -> u32 {
        let id = self.next_delivery_id;
        self.next_delivery_id = id.wrapping_add(1);
        let mut settled = false;
        if let Some(link) = self.links.get_mut(&handle) {
            link.delivery_count = link.delivery_count.wrapping_add(1);
            link.credit = link.credit.saturating_sub(1);
            link.active = Instant::now();
            settled = link.settled;
        }
        let whole;
        let mut rest = match payload {
            [one] => *one,
            parts => {
                whole = parts.concat();
                whole.as_slice()
            }
        };
        loop {
            let last = performatives::transfer(handle, id, tag, settled, false);
            let room = max_frame_size.saturating_sub(FRAME_HEADER + last.len()).max(1);
            let more = rest.len() > room;
            let (piece, later) = rest.split_at(rest.len().min(room));
            let body = if more { performatives::transfer(handle, id, tag, settled, true) } else { last };
            let mut frame = BytesMut::new();
            codec::put_frame(&mut frame, 0, self.channel, &body, piece);
            self.pending.push_back(frame.freeze());
            if !more {
                return id;
            }
            rest = later;
        }
    }

    /// Moves waiting frames to the output buffer, up to the client's window.
    pub(super) fn release(&mut self, out: &mut BytesMut) {
        while self.remote_window > 0
            && let Some(frame) = self.pending.pop_front()
        {
            out.extend_from_slice(&frame);
            self.remote_window -= 1;
            self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
        }
    }

    /// Whether the session has no link.
    pub(super) fn is_idle(&self) -> bool {
        self.links.is_empty()
    }
}

impl Link {
    pub(super) fn new(kind: LinkKind, path: String, segments: Vec<String>, guarded: bool, settled: bool) -> Self {
        let credit = match kind {
            LinkKind::Request { .. } | LinkKind::DeviceBound { .. } | LinkKind::FromDevice { .. } => REQUEST_CREDIT,
            _ => 0,
        };
        Self {
            kind,
            path,
            segments,
            guarded,
            detached: false,
            active: Instant::now(),
            delivery_count: 0,
            credit,
            drain: false,
            settled,
        }
    }

    /// Whether the emulator sends on the link.
    pub(super) fn is_sender(&self) -> bool {
        matches!(
            self.kind,
            LinkKind::Reply { .. } | LinkKind::Events { .. } | LinkKind::Notices { .. } | LinkKind::ToDevice { .. }
        )
    }

    /// The key of the device or module whose link it is.
    pub(super) fn device(&self) -> Option<&str> {
        match &self.kind {
            LinkKind::FromDevice { device, .. } | LinkKind::ToDevice { device, .. } => Some(device),
            _ => None,
        }
    }

    /// Whether the link is detached when nothing has happened on it for a while. Links of devices are not.
    pub(super) fn ends_idle(&self) -> bool {
        self.guarded && !self.detached && self.device().is_none()
    }

    /// The largest message, in bytes, that a client may send on the link.
    pub(super) fn max_message_size(&self) -> u64 {
        match self.kind {
            LinkKind::DeviceBound { .. } => 64 << 10,
            LinkKind::Request { .. } => 64 << 10,
            LinkKind::FromDevice { .. } => 256 << 10,
            _ => 1 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_waits_for_the_window_piece_by_piece() {
        let mut session = Session::new(1, 0, 3);
        session.send(0, b"tag", &[&[7; 4000]], 512);
        let mut out = BytesMut::new();
        session.release(&mut out);
        assert!(out.len() <= 3 * 512 && out.len() > 2 * 512, "{}", out.len());
        assert!(session.is_blocked());
        let frames = |out: &mut BytesMut| {
            let mut payload = 0;
            while let Some(codec::Frame::Amqp { payload: piece, .. }) = codec::next_frame(out, 512).expect("frame") {
                payload += piece.len();
            }
            payload
        };
        let first = frames(&mut out);
        session.remote_window = 100;
        session.release(&mut out);
        assert_eq!(first + frames(&mut out), 4000);
        assert!(!session.is_blocked());
    }
}
