//! How a device receives messages from the cloud: each under a lock, which it then completes, rejects or abandons.
//!
//! Source: "Understand cloud-to-device messaging from an IoT hub", the section on the message life cycle. A lock of
//! HTTPS lasts a minute; a lock of MQTT or AMQP lasts as long as the connection. A message that was delivered ten times
//! without being completed is dropped, with feedback.

use time::{Duration, OffsetDateTime};

use super::messages::{expired, feedback_on};
use crate::clock::now;
use crate::error::{ErrorCode, ServiceError};
use crate::messages::DeviceMessage;
use crate::random;
use crate::records::cloud_message::MessageLock;
use crate::records::device::Device;
use crate::records::identity::Target;
use crate::service_bound::{Feedback, FeedbackStatus};
use crate::sessions::ToDevice;
use crate::sync::lock;
use crate::world::World;

/// How often a message is delivered at most; the hub's default.
const MAX_DELIVERIES: u32 = 10;
/// How long a lock of HTTPS lasts; the hub's default.
const LOCK_TIME: Duration = Duration::minutes(1);

/// A message that a device has received and not yet settled.
#[derive(Clone, Debug)]
pub(crate) struct LockedMessage {
    /// The text by which the message is settled.
    pub(crate) token: String,
    pub(crate) message: DeviceMessage,
    pub(crate) enqueued: OffsetDateTime,
    /// How often the message was delivered, this time included.
    pub(crate) deliveries: u32,
    /// The feedback that the sender asked for, as the device sees it.
    pub(crate) ack: Option<&'static str>,
    /// Whether the sender, not the hub, set the expiry.
    pub(crate) has_expiry: bool,
}

/// What a device does with a message that it has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// The message leaves the queue: feedback `Success`.
    Complete,
    /// The message leaves the queue: feedback `Rejected`.
    Reject,
    /// The message returns to the queue.
    Abandon,
}

/// Locks the oldest message that waits for the device or module. `link` is the link whose end releases the lock;
/// without one the lock lasts a minute.
///
/// # Errors
/// 404001 or 404010 when there is no such device or module.
pub(crate) fn receive_message(
    world: &World,
    target: &Target,
    link: Option<u64>,
) -> Result<Option<LockedMessage>, ServiceError> {
    let mut hub = lock(&world.hub);
    if let Some(module) = &target.module {
        hub.module(&target.device, module)?;
    }
    let device = hub.device_mut(&target.device)?;
    let now = now();
    let mut feedback = release(device, now, |lock| lock.until.is_some_and(|until| until <= now));
    feedback.extend(expired(device, now));
    world.service_bound.add_feedback(feedback);
    let waiting =
        device.queue.iter_mut().find(|queued| queued.lock.is_none() && queued.message.module_id == target.module);
    Ok(waiting.map(|queued| {
        let token = random::uuid();
        queued.deliveries += 1;
        queued.lock = Some(MessageLock { token: token.clone(), link, until: link.is_none().then(|| now + LOCK_TIME) });
        let (message, enqueued, deliveries) = (queued.message.clone(), queued.enqueued, queued.deliveries);
        let (ack, has_expiry) = (queued.ack.as_str(), queued.has_expiry);
        LockedMessage { token, message, enqueued, deliveries, ack, has_expiry }
    }))
}

/// Settles a message that the device or module has received.
///
/// # Errors
/// 404001 when there is no such device; 412002 when the lock is unknown or over.
pub(crate) fn settle_message(
    world: &World,
    target: &Target,
    token: &str,
    settlement: Settlement,
) -> Result<(), ServiceError> {
    let mut hub = lock(&world.hub);
    let device = hub.device_mut(&target.device)?;
    let now = now();
    let mut feedback = release(device, now, |lock| lock.until.is_some_and(|until| until <= now));
    let is_it = |lock: &MessageLock| lock.token == token;
    let position = device.queue.iter().position(|queued| queued.lock.as_ref().is_some_and(is_it));
    let status = match settlement {
        Settlement::Complete => Some(FeedbackStatus::Success),
        Settlement::Reject => Some(FeedbackStatus::Rejected),
        Settlement::Abandon => None,
    };
    match (position, status) {
        (Some(position), Some(status)) => {
            let settled: Vec<_> = device.queue.remove(position).into_iter().collect();
            feedback.extend(feedback_on(device, &settled, status, now));
        }
        (Some(_), None) => feedback.extend(release(device, now, is_it)),
        (None, _) => {}
    }
    world.service_bound.add_feedback(feedback);
    if position.is_none() {
        return Err(ServiceError::new(ErrorCode::MESSAGE_LOCK_LOST, "the lock token is not valid, or no longer"));
    }
    if settlement == Settlement::Abandon {
        world.sessions.notify(&target.key(), ToDevice::MessageWaiting);
    }
    Ok(())
}

/// Returns the messages that a link has locked to the queue, because the link ends.
pub(super) fn release_link(world: &World, target: &Target, link: u64) {
    let mut hub = lock(&world.hub);
    if let Ok(device) = hub.device_mut(&target.device) {
        let feedback = release(device, now(), |lock| lock.link == Some(link));
        world.service_bound.add_feedback(feedback);
    }
    drop(hub);
    // A successor of the link may be waiting for these messages.
    world.sessions.notify(&target.key(), ToDevice::MessageWaiting);
}

/// Releases locks. Messages that were delivered too often leave the queue.
fn release(device: &mut Device, now: OffsetDateTime, is_over: impl Fn(&MessageLock) -> bool) -> Vec<Feedback> {
    for queued in &mut device.queue {
        if queued.lock.as_ref().is_some_and(&is_over) {
            queued.lock = None;
        }
    }
    let (dead, waiting): (Vec<_>, Vec<_>) =
        device.queue.drain(..).partition(|queued| queued.lock.is_none() && queued.deliveries >= MAX_DELIVERIES);
    device.queue.extend(waiting);
    feedback_on(device, &dead, FeedbackStatus::DeliveryCountExceeded, now)
}
