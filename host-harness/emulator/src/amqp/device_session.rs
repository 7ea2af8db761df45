//! A device or module that has links on a connection.

use std::collections::HashMap;
use std::future::poll_fn;
use std::task::Poll;

use tokio::sync::mpsc::UnboundedReceiver;

use super::performatives::Outcome;
use crate::operations::connections::DeviceLink;
use crate::operations::receiving::{LockedMessage, Settlement};
use crate::sessions::ToDevice;

/// A device or module that has links on the connection.
pub(super) struct DeviceSession {
    pub(super) link: DeviceLink,
    received: UnboundedReceiver<ToDevice>,
    /// Whether the device asked for changes of its desired properties.
    pub(super) wants_desired: bool,
}

impl DeviceSession {
    pub(super) fn new(link: DeviceLink, received: UnboundedReceiver<ToDevice>) -> Self {
        Self { link, received, wants_desired: false }
    }

    /// Locks the next message for the device.
    pub(super) fn receive(&self) -> Option<LockedMessage> {
        self.link.receive().unwrap_or_else(|error| {
            tracing::debug!(%error, "the messages of a device could not be read");
            None
        })
    }

    /// Settles a message. A device that settles without an outcome gives the message up, so it returns to the queue.
    pub(super) fn settle(&self, token: &str, outcome: Option<&Outcome>) {
        let settlement = match outcome {
            Some(Outcome::Accepted) => Settlement::Complete,
            Some(Outcome::Rejected(_)) => Settlement::Reject,
            Some(Outcome::Released) | None => Settlement::Abandon,
        };
        if let Err(error) = self.link.settle(token, settlement) {
            tracing::debug!(%error, "a message could not be settled");
        }
    }
}

/// The next notice of the hub to one of the devices; for ever pending when there is no device.
pub(super) async fn next_notice(devices: &mut HashMap<String, DeviceSession>) -> (String, ToDevice) {
    poll_fn(|context| {
        for (device, session) in devices.iter_mut() {
            if let Poll::Ready(Some(notice)) = session.received.poll_recv(context) {
                return Poll::Ready((device.clone(), notice));
            }
        }
        Poll::Pending
    })
    .await
}
