//! The hub's own AMQP endpoint for services. It accepts messages to devices, and it has two queues to read: feedback on
//! those messages, and notifications about uploaded files ("Communicate with your IoT hub by using the AMQP Protocol").

use std::fmt;
use std::time::Duration;

use super::types::{DeviceId, ModuleId};
use crate::amqp::cbs::Claim;
use crate::amqp::client::{Client, Undelivered};
use crate::amqp::link::{Delivery, LinkId, LinkOptions};
use crate::amqp::transport::{Deadline, Roots, Transport};
use crate::amqp::{Body, Error as AmqpError, Message, Value};
use crate::auth::{self, SharedAccessKey};
use crate::error::{EffectState, Error, Result};
use crate::eventhub::HubAddress;
use crate::eventhub::fault::Context;
use crate::platform::Platform;
use crate::secret::percent_encode;

/// The address for messages to devices.
const DEVICE_BOUND: &str = "/messages/devicebound";
/// How many notices are requested ahead: notices that are not accepted return to the queue when the link ends.
const PREFETCH: u32 = 16;
/// The largest notice that is accepted, in bytes: a notice with 64 feedback records has about 20 KB.
const LARGEST_NOTICE: u64 = 256 * 1024;
/// A connection from an earlier call may have been lost without notice. After this time without an answer on it, a new
/// connection is made.
const PATIENCE: Duration = Duration::from_secs(5);

/// The recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub device: DeviceId,
    /// One of the device's modules; none for the device itself.
    pub module: Option<ModuleId>,
}

impl Recipient {
    /// The message's `to` property, with ids percent-encoded as by the .NET client.
    pub fn address(&self) -> String {
        let device = percent_encode(self.device.as_str());
        match &self.module {
            Some(module) => format!("/devices/{device}/modules/{}{DEVICE_BOUND}", percent_encode(module.as_str())),
            None => format!("/devices/{device}{DEVICE_BOUND}"),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            Some(module) => write!(f, "module \"{}\" of the device \"{}\"", module.as_str(), self.device.as_str()),
            None => write!(f, "device \"{}\"", self.device.as_str()),
        }
    }
}

/// A queue that the hub keeps for services. Each message is delivered to only one of the queue's readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceQueue {
    /// The outcome of messages to devices.
    Feedback,
    /// Notifications about files that devices have uploaded.
    FileNotifications,
}

impl ServiceQueue {
    /// Both queues.
    pub const ALL: [Self; 2] = [Self::Feedback, Self::FileNotifications];

    pub fn address(self) -> &'static str {
        match self {
            Self::Feedback => "/messages/serviceBound/feedback",
            Self::FileNotifications => "/messages/serviceBound/filenotifications",
        }
    }
}

/// A message of a queue. The hub keeps it until it is accepted.
#[derive(Clone, Debug)]
pub struct Notice {
    pub body: Vec<u8>,
    delivery: Delivery,
}

impl Notice {
    fn read(delivery: Delivery) -> Self {
        // A message that cannot be decoded is delivered undecoded.
        let body = match Message::decode_lossy(&delivery.payload).message.body {
            Body::Data(sections) => sections.concat(),
            Body::Value(Value::String(text)) => text.into_bytes(),
            Body::Value(Value::Binary(bytes)) => bytes,
            Body::Value(_) | Body::Sequence(_) => delivery.payload.clone(),
        };
        Self { body, delivery }
    }
}

#[cfg(test)]
impl Notice {
    /// A notice with this body that belongs to no link.
    pub fn of(body: Vec<u8>) -> Self {
        Self { body, delivery: Delivery::default() }
    }
}

/// A queue that is being read.
#[derive(Debug)]
struct Reading {
    queue: ServiceQueue,
    link: LinkId,
    /// Notices that were read and are not accepted yet.
    held: Vec<Notice>,
}

/// A connection to the endpoint.
pub struct ServiceEndpoint<'p> {
    client: Client<'p>,
    claim: Claim<'p>,
    hub: HubAddress,
    key: SharedAccessKey,
    reading: Option<Reading>,
    /// The deadline, on the monotonic clock.
    deadline: Duration,
    /// Whether an earlier call made the connection.
    kept: bool,
    sound: bool,
}

impl<'p> ServiceEndpoint<'p> {
    /// Connects and authenticates. All work on the connection must end by `deadline`, on the monotonic clock.
    ///
    /// # Errors
    /// `unavailable`, `timeout`, `auth-failed`, `permission-denied` and `protocol`, at the latest at the deadline.
    pub fn connect(
        platform: &'p dyn Platform,
        hub: &HubAddress,
        key: &SharedAccessKey,
        roots: Roots,
        deadline: Duration,
    ) -> Result<Self> {
        let until = Deadline::at(platform, deadline);
        let transport = hub.open(roots, &until);
        let transport = transport.map_err(|error| Context::iot_hub(hub, key, "connection").error(&error.into()))?;
        Self::over(platform, transport, hub, key, deadline)
    }

    /// Opens the connection over an existing transport.
    ///
    /// # Errors
    /// As [`ServiceEndpoint::connect`].
    pub fn over(
        platform: &'p dyn Platform,
        transport: impl Transport + 'p,
        hub: &HubAddress,
        key: &SharedAccessKey,
        deadline: Duration,
    ) -> Result<Self> {
        let until = Deadline::at(platform, deadline);
        let (signer, resource) = (key.clone(), hub.host.clone());
        let sign = move |now: Duration| auth::hub_token(&signer, &resource, now);
        // The audience is the resource that the token is signed for, as in the JavaScript client.
        let opened = Claim::open(platform, transport, &hub.host, hub.host.clone(), Box::new(sign), &until);
        let (client, claim) = opened.map_err(|error| Context::iot_hub(hub, key, "connection").error(&error))?;
        let (hub, key) = (hub.clone(), key.clone());
        Ok(Self { client, claim, hub, key, reading: None, deadline, kept: false, sound: true })
    }

    /// Prepares the connection for another call.
    pub fn resume(&mut self, deadline: Duration) {
        self.deadline = deadline;
        self.kept = true;
    }

    /// Whether the connection can be used again.
    pub fn is_sound(&self) -> bool {
        self.sound
    }

    /// How much time is left.
    pub fn remaining(&self) -> Duration {
        self.until().remaining().unwrap_or_default()
    }

    /// Sends a message to a device or module, and waits until the message is in its queue.
    ///
    /// # Errors
    /// `not-found`; `quota-exceeded` where the queue is full; `payload-too-large`; the errors of the connection.
    /// `effect` is `unknown` where the message was sent and no answer came.
    pub fn send(&mut self, recipient: &Recipient, message: &Message) -> Result<()> {
        let context = self.context(&recipient.to_string());
        self.keep_claim(&context)?;
        let name = self.client.name("sender");
        // Each message has its own link: a link that was idle for long may be lost, and that must be known before the
        // message is sent.
        let link = self.attach(&LinkOptions::sender(name, DEVICE_BOUND), &context)?;
        let until = self.until();
        let delivered = self.client.deliver(link, message.encode(), &until);
        self.client.detach(link);
        delivered.map_err(|Undelivered { error, sent }| {
            let too_large = error.remote().is_some_and(|said| said.condition == "amqp:link:message-size-exceeded");
            self.sound = matches!(error, AmqpError::Refused(_) | AmqpError::MessageTooLarge { .. });
            let effect = if sent && !too_large { EffectState::Unknown } else { EffectState::None };
            context.error(&error).with_effect(effect)
        })
    }

    /// Attaches to a queue, unless it is attached already. This accepts no messages.
    ///
    /// # Errors
    /// The errors of the service.
    pub fn open(&mut self, queue: ServiceQueue) -> Result<()> {
        let context = self.context(queue.address());
        self.keep_claim(&context)?;
        if self.reading.as_ref().is_some_and(|reading| reading.queue == queue) {
            return Ok(());
        }
        let name = self.client.name("receiver");
        let options = LinkOptions {
            peek: true,
            max_message_size: LARGEST_NOTICE,
            ..LinkOptions::receiver(name, queue.address())
        };
        let link = self.attach(&options, &context)?;
        self.reading = Some(Reading { queue, link, held: Vec::new() });
        Ok(())
    }

    /// The next notice of the opened queue; none if no notice arrives within `wait`.
    ///
    /// # Errors
    /// The errors of the service.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Notice>> {
        let until = self.until();
        let Some(reading) = &self.reading else { return Ok(None) };
        self.client.set_prefetch(reading.link, PREFETCH);
        let received = self.client.receive(reading.link, wait, &until);
        let what = reading.queue.address();
        received.map(|delivery| delivery.map(Notice::read)).map_err(|error| self.broken(what, &error))
    }

    /// Accepts a notice: the hub then does not deliver it again.
    pub fn accept(&mut self, notice: &Notice) {
        self.client.accept(&notice.delivery);
    }

    /// Gives a notice back: the hub then delivers it again, to whoever reads first, and counts this delivery.
    pub fn give_back(&mut self, notice: &Notice) {
        self.client.release(&notice.delivery);
    }

    /// Keeps a notice for a later call.
    pub fn hold(&mut self, notice: Notice) {
        if let Some(reading) = &mut self.reading {
            reading.held.push(notice);
        }
    }

    /// Returns the notices that were kept.
    pub fn held(&mut self) -> Vec<Notice> {
        self.reading.as_mut().map(|reading| std::mem::take(&mut reading.held)).unwrap_or_default()
    }

    /// Stops reading for this call and returns the notices that have arrived. No notice is requested while nobody
    /// reads, because the hub would lock it in vain and counts its deliveries.
    pub fn rest(&mut self) -> Vec<Notice> {
        let until = self.until();
        let until = until.or_at(until.now().saturating_add(PATIENCE));
        let Some(reading) = &self.reading else { return Vec::new() };
        let drained = self.client.drain(reading.link, &until);
        self.sound &= drained.is_ok();
        let mut rest = Vec::new();
        while let Ok(Some(delivery)) = self.client.receive(reading.link, Duration::ZERO, &until) {
            rest.push(Notice::read(delivery));
        }
        rest
    }

    /// Closes the connection. The hub delivers notices again that were not accepted.
    pub fn close(self) {
        let deadline = self.until();
        self.client.close(&deadline);
    }

    fn attach(&mut self, options: &LinkOptions, context: &Context) -> Result<LinkId> {
        let until = self.until();
        let until = if self.kept { until.or_at(until.now().saturating_add(PATIENCE)) } else { until };
        self.client.attach(options, 0, &until).map_err(|error| {
            self.sound = false;
            context.error(&error)
        })
    }

    fn keep_claim(&mut self, context: &Context) -> Result<()> {
        let until = self.until();
        self.claim.keep(&mut self.client, &until).map_err(|error| {
            self.sound = false;
            context.error(&error)
        })
    }

    fn broken(&mut self, what: &str, error: &AmqpError) -> Error {
        self.sound = false;
        self.context(what).error(error)
    }

    fn context(&self, what: &str) -> Context {
        Context::iot_hub(&self.hub, &self.key, what)
    }

    fn until(&self) -> Deadline<'p> {
        Deadline::at(self.client.platform(), self.deadline)
    }
}
