//! Deliveries to clients: events, notices and answers.

use super::connection::{Connection, Step, WRITE_BUDGET};
use super::device_messages;
use super::device_session::DeviceSession;
use super::events;
use super::message::notice;
use super::performatives::Outcome;
use super::session::{DeviceEndpoint, LinkKind};
use crate::operations::messages::expire_messages;
use crate::random;
use crate::service_bound::Queue;

impl Connection {
    /// Sends the deliveries that wait on all links, up to the write budget.
    pub(super) async fn pump(&mut self) -> Step {
        self.more = false;
        for (channel, handle) in self.links() {
            if self.out.len() >= WRITE_BUDGET {
                self.more = true;
                break;
            }
            self.pump_link(channel, handle).await?;
        }
        self.release();
        Ok(())
    }

    async fn pump_link(&mut self, channel: u16, handle: u32) -> Step {
        let world = self.world.clone();
        loop {
            let max_frame_size = self.max_frame_size;
            let Some(session) = self.sessions.get_mut(&channel) else { return Ok(()) };
            session.release(&mut self.out);
            let blocked = session.is_blocked() || session.ended;
            let Some(link) = session.links.get_mut(&handle).filter(|link| link.is_sender() && !link.detached) else {
                return Ok(());
            };
            if blocked || (link.credit == 0 && !link.drain) {
                return Ok(());
            }
            if self.out.len() >= WRITE_BUDGET {
                self.more = true;
                return Ok(());
            }
            let mut lock_token = None;
            let mut message_token = None;
            let (tag, head, body) = match &mut link.kind {
                _ if link.credit == 0 => (Vec::new(), None, None),
                LinkKind::Reply { queue, .. } => (random::fill(8), None, queue.pop_front().map(bytes::Bytes::from)),
                LinkKind::Events { partition, position, metrics, .. } => {
                    let event = world.event_hub.read(*partition, position, 1).pop();
                    let head = event.as_ref().filter(|_| *metrics).map(|_| events::metrics(&world, *partition));
                    let tag = event.as_ref().map(|event| event.sequence.to_be_bytes().to_vec()).unwrap_or_default();
                    (tag, head, event.map(|event| events::encoded(&event)))
                }
                LinkKind::Notices { queue, .. } => {
                    if *queue == Queue::Feedback {
                        expire_messages(&world);
                    }
                    let ready = world.service_bound.ready_in(*queue, world.options.amqp.feedback_wait);
                    let locked = ready.filter(|left| left.is_zero()).and_then(|_| world.service_bound.take(*queue));
                    lock_token = locked.as_ref().map(|locked| locked.token);
                    let body = locked.as_ref().map(|locked| notice(*queue, locked));
                    (locked.map(|locked| locked.token.to_vec()).unwrap_or_default(), None, body)
                }
                LinkKind::ToDevice { device, endpoint: DeviceEndpoint::Messages, .. } => {
                    let locked = self.devices.get(device).and_then(DeviceSession::receive);
                    let tag = locked.as_ref().map(device_messages::delivery_tag).unwrap_or_default();
                    let body = locked.as_ref().map(|locked| device_messages::device_bound(device, locked));
                    message_token = locked.map(|locked| locked.token);
                    (tag, None, body.map(bytes::Bytes::from))
                }
                LinkKind::ToDevice { queue, .. } => (random::fill(16), None, queue.pop_front().map(bytes::Bytes::from)),
                LinkKind::Request { .. }
                | LinkKind::DeviceBound { .. }
                | LinkKind::FromDevice { .. }
                | LinkKind::Refused => return Ok(()),
            };
            let Some(body) = body else {
                if link.drain {
                    // When a client drains a link, the sender must use up the remaining credit by advancing the
                    // delivery count.
                    link.delivery_count = link.delivery_count.wrapping_add(link.credit);
                    link.credit = 0;
                    session.flow(Some(handle), &mut self.out);
                    if let Some(link) = session.links.get_mut(&handle) {
                        link.drain = false;
                    }
                }
                return Ok(());
            };
            if !matches!(link.kind, LinkKind::Reply { .. }) {
                let path = link.path.clone();
                let instead = self.fault("TRANSFER", &path).await;
                // A rule may have ended the connection or the link.
                let gone = self.link(channel, handle).is_none_or(|link| link.detached);
                if gone || !matches!(instead, Ok(None)) {
                    if let Some(token) = lock_token {
                        world.service_bound.abandon(&token);
                    }
                    if let Some(token) = message_token {
                        let device = self.link(channel, handle).and_then(|link| link.device().map(str::to_owned));
                        if let Some(session) = device.and_then(|device| self.devices.get(&device)) {
                            session.settle(&token, None);
                        }
                    }
                    if let Some(instead) = instead? {
                        self.apply(channel, handle, &instead);
                    }
                    return Ok(());
                }
            }
            let Some(session) = self.sessions.get_mut(&channel) else { return Ok(()) };
            let id = match &head {
                Some(head) => session.send(handle, &tag, &[head, &body], max_frame_size),
                None => session.send(handle, &tag, &[&body], max_frame_size),
            };
            if let Some(token) = lock_token
                && let Some(link) = session.links.get_mut(&handle)
            {
                match &mut link.kind {
                    LinkKind::Notices { locks, .. } if !link.settled => {
                        locks.insert(id, token);
                    }
                    _ => {
                        world.service_bound.complete(&token);
                    }
                }
            }
            if let Some(token) = message_token
                && let Some(link) = session.links.get_mut(&handle)
                && let LinkKind::ToDevice { device, locks, .. } = &mut link.kind
            {
                if !link.settled {
                    locks.insert(id, token);
                } else if let Some(session) = self.devices.get(device) {
                    session.settle(&token, Some(&Outcome::Accepted));
                }
            }
        }
    }
}
