//! Handles the frames that a client sends.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::performatives::{Disposition, Performative, Transfer};

use super::codec::Frame;
use super::connection::{Connection, End, Step};
use super::error::AmqpError;
use super::performatives::Outcome;
use super::session::{LinkKind, REQUEST_CREDIT, Session, WINDOW};
use super::{codec, performatives};
use crate::random;

/// In bytes. A longer message ends its link; a shorter message that is over the service's limit is only rejected.
const MAX_ASSEMBLED: usize = 1 << 20;

impl Connection {
    pub(super) async fn on_frame(&mut self, frame: Frame) -> Step {
        let Frame::Amqp { channel, performative, payload } = frame else { return Ok(()) };
        if !self.opened && !matches!(*performative, Performative::Open(_)) {
            return self.close("amqp:illegal-state", "The first frame has to be an open.");
        }
        match *performative {
            Performative::Open(open) => {
                self.opened = true;
                let options = self.world.options.amqp.clone();
                let ours = options.max_frame_size.max(512);
                self.max_frame_size = open.max_frame_size.0.clamp(512, ours) as usize;
                // Heartbeats go out twice as often as the client's idle time-out needs, as the AMQP standard
                // recommends.
                let idle = open.idle_time_out.filter(|millis| *millis > 0);
                self.heartbeat = idle.map(|millis| Duration::from_millis(u64::from(millis) / 2));
                self.fault("OPEN", "/").await?;
                let advertised = options.idle_time_out.map(|idle| u32::try_from(idle.as_millis()).unwrap_or(u32::MAX));
                let container = random::hex(16);
                self.put(0, &performatives::open(&container, ours, 4999, advertised));
            }
            Performative::Begin(begin) => {
                let session = Session::new(channel, begin.next_outgoing_id, begin.incoming_window);
                self.put(channel, &performatives::begin(channel, 0, WINDOW, 255));
                self.sessions.insert(channel, session);
            }
            Performative::Attach(attach) => self.on_attach(channel, attach).await?,
            Performative::Flow(flow) => {
                let Some(session) = self.sessions.get_mut(&channel) else { return Ok(()) };
                session.on_flow(&flow);
                if flow.echo {
                    session.flow(flow.handle.as_ref().map(|handle| handle.0), &mut self.out);
                }
            }
            Performative::Transfer(transfer) => {
                let Some(session) = self.sessions.get_mut(&channel) else { return Ok(()) };
                if session.on_transfer() {
                    session.flow(None, &mut self.out);
                }
                self.on_transfer(channel, &transfer, &payload).await?;
            }
            Performative::Disposition(disposition) => self.on_disposition(channel, &disposition),
            Performative::Detach(detach) => {
                let handle = detach.handle.0;
                let Some(link) = self.sessions.get_mut(&channel).and_then(|session| session.links.remove(&handle))
                else {
                    return Ok(());
                };
                if !link.detached {
                    self.put(channel, &performatives::detach(handle, None));
                }
                self.give_back(link.kind);
            }
            Performative::End(_) => {
                if let Some(session) = self.sessions.remove(&channel) {
                    if !session.ended {
                        self.put(channel, &performatives::end(None));
                    }
                    session.links.into_values().for_each(|link| self.give_back(link.kind));
                }
            }
            Performative::Close(_) => {
                self.world.traffic.amqp_closed();
                self.put(0, &performatives::close(None));
                return Err(End::Flush);
            }
        }
        Ok(())
    }

    fn on_disposition(&mut self, channel: u16, disposition: &Disposition) {
        if disposition.role != Role::Receiver {
            return;
        }
        let first = disposition.first;
        let last = disposition.last.unwrap_or(first);
        let outcome = disposition.state.as_ref().and_then(performatives::outcome);
        let Self { world, devices, sessions, .. } = self;
        let Some(session) = sessions.get_mut(&channel) else { return };
        for link in session.links.values_mut() {
            link.active = Instant::now();
            if let LinkKind::ToDevice { device, locks, .. } = &mut link.kind {
                let done: Vec<u32> = locks.keys().copied().filter(|id| (first..=last).contains(id)).collect();
                let tokens = done.iter().filter_map(|id| locks.remove(id));
                let Some(session) = devices.get(device) else { continue };
                tokens.for_each(|token| session.settle(&token, outcome.as_ref()));
                continue;
            }
            let LinkKind::Notices { locks, .. } = &mut link.kind else { continue };
            let done: Vec<u32> = locks.keys().copied().filter(|id| (first..=last).contains(id)).collect();
            for id in done {
                let Some(token) = locks.remove(&id) else { continue };
                // A client that settles a delivery without an outcome gives it up, so the notice returns to its queue.
                match &outcome {
                    Some(Outcome::Accepted | Outcome::Rejected(_)) => world.service_bound.complete(&token),
                    Some(Outcome::Released) | None => world.service_bound.abandon(&token),
                };
            }
        }
        // A receiver that has not settled (mode `second`) waits until the sender has settled.
        if !disposition.settled && last.wrapping_sub(first) < WINDOW {
            for id in first..=last {
                let outcome = outcome.as_ref().unwrap_or(&Outcome::Accepted);
                codec::put_frame(
                    &mut self.out,
                    0,
                    channel,
                    &performatives::disposition(Role::Sender, id, outcome),
                    &[],
                );
            }
        }
    }
}

impl Connection {
    async fn on_transfer(&mut self, channel: u16, transfer: &Transfer, payload: &Bytes) -> Step {
        let handle = transfer.handle.0;
        let Some(session) = self.sessions.get_mut(&channel) else { return Ok(()) };
        let Some(link) = session.links.get_mut(&handle).filter(|link| !link.detached) else { return Ok(()) };
        link.active = Instant::now();
        let assembly = match &mut link.kind {
            LinkKind::Request { message, .. }
            | LinkKind::DeviceBound { message }
            | LinkKind::FromDevice { message, .. } => message,
            _ => return Ok(()),
        };
        let delivery = match assembly.add(transfer, payload, MAX_ASSEMBLED) {
            Ok(Some(delivery)) => delivery,
            Ok(None) => return Ok(()),
            Err(_) => {
                let error = AmqpError::new("amqp:link:message-size-exceeded", "The message is too long.");
                self.detach(channel, handle, &error);
                return Ok(());
            }
        };
        link.delivery_count = link.delivery_count.wrapping_add(1);
        link.credit = link.credit.saturating_sub(1);
        if link.credit < REQUEST_CREDIT / 2 {
            link.credit = REQUEST_CREDIT;
            session.flow(Some(handle), &mut self.out);
        }
        let outcome = match self.link(channel, handle).map(|link| &link.kind) {
            Some(LinkKind::Request { node, .. }) => {
                let node = *node;
                Some(self.on_request(channel, handle, node, &delivery).await?)
            }
            Some(LinkKind::DeviceBound { .. }) => self.on_device_bound(channel, handle, &delivery).await?,
            Some(LinkKind::FromDevice { .. }) => self.on_device(channel, handle, &delivery).await?,
            _ => None,
        };
        let Some(outcome) = outcome else { return Ok(()) };
        if !delivery.settled {
            self.put(channel, &performatives::disposition(Role::Receiver, delivery.id, &outcome));
        }
        Ok(())
    }
}
