//! Messages in the queue of a device.

use time::OffsetDateTime;

use crate::clock::now;
use crate::messages::DeviceMessage;
use crate::service_bound::FeedbackStatus;

/// Which feedback the sender of a message wants: `iothub-ack`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ack {
    /// No feedback.
    #[default]
    None,
    /// Feedback when the device completed the message.
    Positive,
    /// Feedback when the message expired, was rejected or purged.
    Negative,
    /// Feedback in all these cases.
    Full,
}

impl Ack {
    /// Reads the value of `iothub-ack`; `None` for an unknown one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "none" => Some(Self::None),
            "positive" => Some(Self::Positive),
            "negative" => Some(Self::Negative),
            "full" => Some(Self::Full),
            _ => None,
        }
    }

    /// The value of `iothub-ack`, which a message without feedback does not have.
    pub(crate) fn as_str(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Positive => Some("positive"),
            Self::Negative => Some("negative"),
            Self::Full => Some("full"),
        }
    }

    pub(crate) fn wants(self, status: FeedbackStatus) -> bool {
        match self {
            Self::None => false,
            Self::Positive => status == FeedbackStatus::Success,
            Self::Negative => status != FeedbackStatus::Success,
            Self::Full => true,
        }
    }
}

/// A message in a device's queue.
#[derive(Clone, Debug)]
pub(crate) struct CloudMessage {
    pub(crate) message: DeviceMessage,
    pub(crate) ack: Ack,
    pub(crate) enqueued: OffsetDateTime,
    /// Whether the sender set the expiry.
    pub(crate) has_expiry: bool,
    /// How often the message was given to the device.
    pub(crate) deliveries: u32,
    pub(crate) lock: Option<MessageLock>,
}

impl CloudMessage {
    /// A message that nobody has received yet.
    pub(crate) fn new(message: DeviceMessage, ack: Ack) -> Self {
        let has_expiry = message.expires.is_some();
        Self { message, ack, enqueued: now(), has_expiry, deliveries: 0, lock: None }
    }
}

/// The lock under which a device has received a message.
#[derive(Clone, Debug)]
pub(crate) struct MessageLock {
    pub(crate) token: String,
    /// The link whose end releases the lock; `None` for HTTPS.
    pub(crate) link: Option<u64>,
    /// When the lock ends by itself; `None` for a link's lock.
    pub(crate) until: Option<OffsetDateTime>,
}
