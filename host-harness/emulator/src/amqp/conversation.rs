//! The loop of a connection, from its handshake to its end.

use std::io;
use std::time::Instant;

use tokio::io::AsyncReadExt as _;

use super::connection::{Connection, End, HANDSHAKE_TIME, Step, WRITE_BUDGET};
use super::device_session::next_notice;
use super::session::{Link, LinkKind};
use crate::event_hub::endpoint::Lost;
use crate::service::Service;
use crate::sessions::ToDevice;

enum Wake {
    Read(io::Result<usize>),
    Lost(Lost),
    Device(String, ToDevice),
    Work,
    Stop,
}

impl Connection {
    pub(super) async fn converse(&mut self) -> Step {
        match tokio::time::timeout(HANDSHAKE_TIME, self.handshake()).await {
            Ok(result) => result?,
            Err(_) => return Err(End::Drop),
        }
        self.last_read = Instant::now();
        loop {
            while let Some(frame) = self.next_frame()? {
                self.on_frame(frame).await?;
                if self.out.len() >= WRITE_BUDGET {
                    self.flush().await?;
                }
            }
            self.leave_devices();
            self.tick()?;
            self.pump().await?;
            self.flush().await?;
            if self.stalled {
                return self.stall().await;
            }
            match self.wait().await {
                Wake::Read(Ok(0) | Err(_)) => return Err(End::Drop),
                Wake::Read(Ok(_)) => self.last_read = Instant::now(),
                Wake::Lost(lost) => self.on_lost(&lost),
                Wake::Device(device, notice) => self.on_notice(&device, notice),
                Wake::Work => {}
                Wake::Stop => return self.close("amqp:connection:forced", "The connection was closed by the service."),
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let until = tokio::time::Instant::from_std(self.next_deadline());
        let more = self.more;
        let is_event_hub = self.service == Service::EventHub;
        let Self { stream, inbound, wake, devices, .. } = self;
        tokio::select! {
            biased;
            read = stream.read_buf(inbound) => Wake::Read(read),
            Some(lost) = wake.lost.recv() => Wake::Lost(lost),
            (device, notice) = next_notice(devices) => Wake::Device(device, notice),
            _ = wake.stop.changed() => Wake::Stop,
            _ = wake.generation.changed(), if is_event_hub => Wake::Stop,
            () = std::future::ready(()), if more => Wake::Work,
            _ = wake.events.changed(), if is_event_hub => Wake::Work,
            _ = wake.notices.changed(), if !is_event_hub => Wake::Work,
            () = tokio::time::sleep_until(until) => Wake::Work,
        }
    }

    /// Sends nothing more, but leaves the connection open until the client or the emulator ends it.
    async fn stall(&mut self) -> Step {
        loop {
            self.inbound.clear();
            let Self { stream, inbound, wake, .. } = self;
            tokio::select! {
                read = stream.read_buf(inbound) => if matches!(read, Ok(0) | Err(_)) { return Err(End::Drop) },
                _ = wake.stop.changed() => return Err(End::Drop),
                _ = wake.generation.changed() => return Err(End::Drop),
            }
        }
    }

    fn on_lost(&mut self, lost: &Lost) {
        let is_it = |link: &Link| match &link.kind {
            LinkKind::Events { lease, .. } => lease.id() == lost.reader,
            _ => false,
        };
        for (channel, handle) in self.links() {
            if self.link(channel, handle).is_some_and(|link| is_it(link)) {
                self.detach(channel, handle, &lost.error.clone().into());
            }
        }
    }
}
