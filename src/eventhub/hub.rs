//! A connection to one Event Hub: its properties, its partitions and their events.

use std::collections::VecDeque;
use std::time::Duration;

use super::contention::Contender;
use super::event::Event;
use super::fault::Context;
use super::position::StartPosition;
use crate::amqp::cbs::Claim;
use crate::amqp::client::Client;
use crate::amqp::link::{LARGEST_MESSAGE, LinkId, LinkOptions};
use crate::amqp::management::Management;
use crate::amqp::sasl::Mechanism;
use crate::amqp::transport::{self, Deadline, Roots, Transport, TransportError};
use crate::amqp::{Error as AmqpError, Value};
use crate::amqp_transport::AmqpTransport;
use crate::auth::{self, SharedAccessKey};
use crate::error::{Error, Result};
use crate::platform::Platform;
use crate::secret;

/// How many messages are requested ahead (Microsoft's clients: 300).
const PREFETCH: u32 = 300;
/// After the first event, a pause of this length ends the read: returning the events at hand matters more than waiting
/// for more events.
const LULL: Duration = Duration::from_millis(100);
/// The numeric descriptor of a selector filter (as in Microsoft's JavaScript and Rust clients).
const SELECTOR_CODE: u64 = 0x0000_468c_0000_0004;
/// The selector filter's name, which is also its key in the filter map.
const SELECTOR_NAME: &str = "apache.org:selector-filter:string";

/// The address of an Event Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host of the Event Hub's namespace.
    pub host: String,
    /// The port; on Azure it is the transport's default port.
    pub port: u16,
    /// The transport under AMQP.
    pub transport: AmqpTransport,
    /// The Event Hub's name.
    pub hub: String,
}

impl Endpoint {
    /// Connects to the Event Hub.
    fn open(&self, roots: Roots, deadline: &Deadline) -> Result<Box<dyn Transport>, TransportError> {
        transport::open(self.transport, (&self.host, self.port), "/$servicebus/websocket", roots, deadline)
    }
}

/// How to authenticate.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// With a signed token that is put to `$cbs`; the key itself is never sent.
    Claim(SharedAccessKey),
    /// With the policy's name and key, by SASL PLAIN.
    Plain(SharedAccessKey),
}

impl Access {
    fn key(&self) -> &SharedAccessKey {
        match self {
            Self::Claim(key) | Self::Plain(key) => key,
        }
    }
}

/// The description of an Event Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubProperties {
    /// The Event Hub's name.
    pub name: String,
    /// When the Event Hub was created, in milliseconds since the Unix epoch.
    pub created_at_ms: Option<i64>,
    /// The ids of the partitions.
    pub partition_ids: Vec<String>,
}

/// The description of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionProperties {
    /// The partition's id.
    pub id: String,
    /// The sequence number of the oldest retained event.
    pub begin_sequence_number: i64,
    /// The sequence number of the last event; -1 if there never was one.
    pub last_enqueued_sequence_number: i64,
    /// The offset of the last event; `-1` if there never was one.
    pub last_enqueued_offset: String,
    /// When the last event was enqueued, in milliseconds since the Unix epoch.
    pub last_enqueued_time_ms: i64,
    /// Whether the partition retains no events.
    pub is_empty: bool,
}

/// What to receive, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverOptions {
    /// The partition's id.
    pub partition: String,
    /// The consumer group; `$Default` always exists.
    pub consumer_group: String,
    /// The position to begin at.
    pub position: StartPosition,
    /// The owner level (epoch): the reader with the highest level reads alone. Without an owner level, up to five
    /// readers read side by side.
    pub owner_level: Option<i64>,
    /// How many events are requested ahead; none for the default number.
    pub prefetch: Option<u32>,
    /// The largest event that is accepted, in bytes. Event Hubs' own limit is 1 MB, and 20 MB in dedicated clusters.
    pub largest_event: u64,
    /// Whether each event states the partition's end, so that the lag is known without another request.
    pub track_last_enqueued: bool,
}

impl ReceiverOptions {
    /// The default options for a reader.
    pub fn new(consumer_group: impl Into<String>, partition: impl Into<String>, position: StartPosition) -> Self {
        Self {
            partition: partition.into(),
            consumer_group: consumer_group.into(),
            position,
            owner_level: None,
            prefetch: None,
            largest_event: LARGEST_MESSAGE,
            track_last_enqueued: true,
        }
    }
}

/// How much one read may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBudget {
    /// The largest number of events.
    pub events: usize,
    /// The largest memory that the events may take up, in bytes, see [`Event::memory`]; a single event is returned even
    /// if it is larger.
    pub bytes: usize,
    /// How long to wait for the first event.
    pub wait: Duration,
}

/// A link that receives events.
#[derive(Debug)]
pub struct Receiver {
    link: LinkId,
    contender: Contender,
    /// Events that did not fit the last budget, and events that were given back.
    kept: VecDeque<Kept>,
    /// An error that occurred after events that were still to be returned.
    failed: Option<Error>,
}

/// An event that waits to be returned.
#[derive(Debug)]
enum Kept {
    Read(Box<Event>),
    /// The message's bytes. Decoding is delayed, because a few bytes may become megabytes, and each partition may keep
    /// one event.
    AsItCame(Vec<u8>),
}

impl Receiver {
    /// Takes back the last events, in their order. The next read returns them first.
    pub fn give_back(&mut self, events: Vec<Event>) {
        events.into_iter().rev().for_each(|event| self.kept.push_front(Kept::Read(Box::new(event))));
    }
}

/// A connection to an Event Hub, for the time of one call.
pub struct EventHub<'p> {
    client: Client<'p>,
    endpoint: Endpoint,
    access: Access,
    claim: Option<Claim<'p>>,
    management: Option<Management>,
    /// The deadline, on the monotonic clock.
    deadline: Duration,
}

impl<'p> EventHub<'p> {
    /// Connects and authenticates. All work on the connection must end by `deadline`, on the monotonic clock.
    ///
    /// # Errors
    /// `unavailable`, `timeout`, `auth-failed`, `not-found` and `protocol`, at the latest at the deadline.
    pub fn connect(
        platform: &'p dyn Platform,
        endpoint: &Endpoint,
        access: &Access,
        roots: Roots,
        deadline: Duration,
    ) -> Result<Self> {
        let until = Deadline::at(platform, deadline);
        let context = Context::event_hub(endpoint, access.key(), "connection");
        let transport = endpoint.open(roots, &until).map_err(|error| context.error(&error.into()))?;
        Self::over(platform, transport, endpoint, access, deadline)
    }

    /// Opens the connection over an existing transport.
    ///
    /// # Errors
    /// As [`EventHub::connect`].
    pub fn over(
        platform: &'p dyn Platform,
        transport: impl Transport + 'p,
        endpoint: &Endpoint,
        access: &Access,
        deadline: Duration,
    ) -> Result<Self> {
        let until = Deadline::at(platform, deadline);
        let host = &endpoint.host;
        let opened = match access {
            Access::Plain(key) => {
                secret::remember(key.key.expose());
                let mechanism = Mechanism::Plain { user: key.policy.clone(), password: key.key.clone() };
                Client::log_in(platform, transport, host, mechanism, &until).map(|client| (client, None))
            }
            Access::Claim(key) => {
                let audience = auth::event_hub_resource(host, &endpoint.hub);
                let (key, endpoint) = (key.clone(), endpoint.clone());
                let sign = move |now| auth::event_hub_token(&key, &endpoint.host, &endpoint.hub, now);
                Claim::open(platform, transport, host, audience, Box::new(sign), &until)
                    .map(|(client, claim)| (client, Some(claim)))
            }
        };
        let context = Context::event_hub(endpoint, access.key(), "connection");
        let (client, claim) = opened.map_err(|error| context.error(&error))?;
        Ok(Self { client, endpoint: endpoint.clone(), access: access.clone(), claim, management: None, deadline })
    }

    /// The platform that the connection runs on.
    pub fn platform(&self) -> &'p dyn Platform {
        self.client.platform()
    }

    /// Sets a later deadline, for another call on the same connection.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Does work that the rest of the call does not depend on. The work may take at most `limit`, and at most a quarter
    /// of the time left.
    pub fn within<T>(&mut self, limit: Duration, work: impl FnOnce(&mut Self) -> T) -> T {
        let deadline = self.deadline;
        self.deadline = self.until().soon(limit).moment();
        let result = work(self);
        self.deadline = deadline;
        result
    }

    /// The Event Hub's properties, with the ids of its partitions.
    ///
    /// # Errors
    /// `not-found`, `auth-failed`, `permission-denied` and the errors of the connection.
    pub fn properties(&mut self) -> Result<HubProperties> {
        let context = self.context("its properties");
        let maps = self.read(vec![("com.microsoft:eventhub", None)]).map_err(|error| context.error(&error))?;
        let map = maps.first().ok_or_else(|| context.error(&AmqpError::Answer("map of the entity")))?;
        // Microsoft's service writes an array of strings; a list is accepted, too.
        let ids = match map.get("partition_ids") {
            Some(Value::Array(ids) | Value::List(ids)) => ids.iter().map(Value::to_text).collect(),
            _ => None,
        };
        let ids: Option<Vec<String>> = ids;
        Ok(HubProperties {
            name: map.get("name").and_then(Value::to_text).unwrap_or_else(|| self.endpoint.hub.clone()),
            created_at_ms: map.get("created_at").and_then(Value::as_i64),
            partition_ids: ids
                .filter(|ids| !ids.is_empty())
                .ok_or_else(|| context.error(&AmqpError::Answer("partition ids")))?,
        })
    }

    /// The properties of partitions, including where their events begin and end, in the order of these ids.
    ///
    /// # Errors
    /// As [`EventHub::properties`].
    pub fn partitions(&mut self, ids: &[String]) -> Result<Vec<PartitionProperties>> {
        let what = match ids {
            [one] => format!("the partition \"{one}\""),
            _ => "its partitions".to_owned(),
        };
        let context = self.context(&what);
        let wanted = ids.iter().map(|id| ("com.microsoft:partition", Some(id.as_str()))).collect();
        let maps = self.read(wanted).map_err(|error| context.error(&error))?;
        let read = ids.iter().zip(&maps).map(|(id, map)| {
            let number =
                |name| map.get(name).and_then(Value::as_i64).ok_or(AmqpError::Answer("numbers of a partition"));
            Ok(PartitionProperties {
                id: map.get("partition").and_then(Value::to_text).unwrap_or_else(|| id.clone()),
                begin_sequence_number: number("begin_sequence_number")?,
                last_enqueued_sequence_number: number("last_enqueued_sequence_number")?,
                last_enqueued_offset: map.get("last_enqueued_offset").and_then(Value::to_text).unwrap_or_default(),
                last_enqueued_time_ms: number("last_enqueued_time_utc")?,
                is_empty: map.get("is_partition_empty") == Some(&Value::Boolean(true)),
            })
        });
        read.collect::<Result<_, AmqpError>>().map_err(|error| context.error(&error))
    }

    /// Attaches to a partition.
    ///
    /// # Errors
    /// `consumer-conflict` where another reader has a higher owner level, or too many readers have none;
    /// `position-lost` where the position does not belong to this partition; `not-found` for the consumer group or
    /// partition; the errors of the connection.
    pub fn receiver(&mut self, options: &ReceiverOptions) -> Result<Receiver> {
        let receiver = self.ask(options)?;
        self.settle(&receiver).map(|()| receiver)
    }

    /// Attaches to several partitions at the same time.
    ///
    /// # Errors
    /// As [`EventHub::receiver`]; after an error none of the partitions is attached.
    pub fn receivers(&mut self, options: &[ReceiverOptions]) -> Result<Vec<Receiver>> {
        let mut receivers = Vec::new();
        let mut result = Ok(());
        for options in options {
            match self.ask(options) {
                Ok(receiver) => receivers.push(receiver),
                Err(error) => result = result.and(Err(error)),
            }
        }
        for receiver in &receivers {
            result = result.and_then(|()| self.settle(receiver));
        }
        match result {
            Ok(()) => Ok(receivers),
            Err(error) => {
                receivers.into_iter().for_each(|receiver| self.release(receiver));
                Err(error)
            }
        }
    }

    /// Asks for a link to a partition. [`EventHub::settle`] waits for the answer.
    fn ask(&mut self, options: &ReceiverOptions) -> Result<Receiver> {
        let contender = Contender::of(options);
        let name = self.client.name("receiver");
        let link = self.link(name, options);
        let prefetch = options.prefetch.unwrap_or(PREFETCH).max(1);
        match self.client.start_attach(&link, prefetch) {
            Ok(link) => Ok(Receiver { link, contender, kept: VecDeque::new(), failed: None }),
            Err(error) => Err(self.reading(&contender).error(&error)),
        }
    }

    fn settle(&mut self, receiver: &Receiver) -> Result<()> {
        let deadline = self.until();
        let attached = self.client.attached(receiver.link, &deadline);
        attached.map_err(|error| self.reading(&receiver.contender).error(&error))
    }

    /// Detaches from a partition. The reader's slot is free at once.
    pub fn release(&mut self, receiver: Receiver) {
        self.client.detach(receiver.link);
    }

    /// Waits until one of these receivers has an event or an error. Returns false if none has within `wait`.
    ///
    /// # Errors
    /// The errors of the connection.
    pub fn wait(&mut self, receivers: &[&Receiver], wait: Duration) -> Result<bool> {
        if receivers.iter().any(|receiver| !receiver.kept.is_empty() || receiver.failed.is_some()) {
            return Ok(true);
        }
        let context = self.context("connection");
        let deadline = self.until();
        self.keep_claim(&deadline).map_err(|error| context.error(&error))?;
        let links: Vec<LinkId> = receivers.iter().map(|receiver| receiver.link).collect();
        self.client.wait(&links, wait, &deadline).map_err(|error| context.error(&error))
    }

    /// Receives events: waits for the first one, then takes further events until there is a pause.
    ///
    /// # Errors
    /// As [`EventHub::receiver`], after the events before the error were returned.
    pub fn receive(&mut self, receiver: &mut Receiver, budget: ReadBudget) -> Result<Vec<Event>> {
        let context = self.reading(&receiver.contender);
        let deadline = self.until();
        if let Some(error) = receiver.failed.as_ref().filter(|_| receiver.kept.is_empty()) {
            return Err(error.clone());
        }
        self.keep_claim(&deadline).map_err(|error| context.error(&error))?;
        let last = deadline.now().saturating_add(budget.wait);
        let mut events: Vec<Event> = Vec::new();
        let mut bytes = 0_usize;
        while events.len() < budget.events {
            // The clock is only asked where there is something to wait for: each look is a call of the host.
            let next = |client: &mut Client, events: &[Event]| match client.arrived(receiver.link) {
                Some(delivery) => Ok(Some(delivery)),
                None if events.is_empty() => client.receive(receiver.link, budget.wait, &deadline),
                None => {
                    let wait = last.saturating_sub(deadline.now()).min(LULL);
                    client.receive(receiver.link, wait, &deadline)
                }
            };
            let kept = match receiver.kept.pop_front() {
                Some(kept) => kept,
                None if receiver.failed.is_some() => break,
                None => match next(&mut self.client, &events) {
                    Ok(None) => break,
                    Ok(Some(delivery)) => Kept::AsItCame(delivery.payload),
                    // The events before the error are returned first. The next call reports the error again.
                    Err(_) if !events.is_empty() => break,
                    Err(error) => return Err(context.error(&error)),
                },
            };
            let (event, as_it_came) = match kept {
                Kept::Read(event) => (*event, None),
                Kept::AsItCame(bytes) => match Event::read(&bytes) {
                    Some(event) => (event, Some(bytes)),
                    None => {
                        let error = context.error(&AmqpError::Answer("sequence number, offset and time of an event"));
                        if events.is_empty() {
                            return Err(error);
                        }
                        receiver.failed = Some(error);
                        break;
                    }
                },
            };
            bytes = bytes.saturating_add(event.memory);
            if bytes > budget.bytes && !events.is_empty() {
                receiver.kept.push_front(as_it_came.map_or_else(|| Kept::Read(Box::new(event)), Kept::AsItCame));
                break;
            }
            events.push(event);
        }
        Ok(events)
    }

    /// Closes the connection, with a short time limit. If the service does not receive the close, it notices the end by
    /// itself.
    pub fn close(self) {
        let deadline = self.until();
        self.client.close(&deadline);
    }

    fn until(&self) -> Deadline<'p> {
        Deadline::at(self.client.platform(), self.deadline)
    }

    fn keep_claim(&mut self, deadline: &Deadline) -> Result<(), AmqpError> {
        self.claim.as_mut().map_or(Ok(()), |claim| claim.keep(&mut self.client, deadline))
    }

    fn context(&self, what: &str) -> Context {
        Context::event_hub(&self.endpoint, self.access.key(), what)
    }

    fn reading(&self, contender: &Contender) -> Context {
        Context::reader(&self.endpoint, self.access.key(), contender)
    }

    fn link(&self, name: String, options: &ReceiverOptions) -> LinkOptions {
        let Endpoint { host, hub, .. } = &self.endpoint;
        let ReceiverOptions { consumer_group, partition, .. } = options;
        let address = format!("amqps://{host}/{hub}/ConsumerGroups/{consumer_group}/Partitions/{partition}");
        let selector = Value::described(SELECTOR_CODE, Value::string(options.position.selector()));
        let mut properties = vec![(Value::symbol("com.microsoft:receiver-name"), Value::string(&name))];
        if let Some(level) = options.owner_level {
            properties.push((Value::symbol("com.microsoft:epoch"), Value::Long(level)));
        }
        // Tells the service that offsets need not be numbers, as Microsoft's clients always do.
        let mut capabilities = vec!["com.microsoft:georeplication".to_owned()];
        if options.track_last_enqueued {
            capabilities.push("com.microsoft:enable-receiver-runtime-metric".to_owned());
        }
        let mut link = LinkOptions::receiver(name, address);
        link.source.filter = vec![(Value::symbol(SELECTOR_NAME), selector)];
        link.properties = properties;
        link.desired_capabilities = capabilities;
        link.max_message_size = options.largest_event;
        link
    }

    fn read(&mut self, entities: Vec<(&str, Option<&str>)>) -> Result<Vec<Value>, AmqpError> {
        let deadline = self.until();
        self.keep_claim(&deadline)?;
        // Microsoft's Python and JavaScript clients also send the token in each request.
        let Endpoint { host, hub, .. } = &self.endpoint;
        let now = self.client.platform().unix_time();
        let token = self.claim.as_ref().map(|_| auth::event_hub_token(self.access.key(), host, hub, now).0);
        let fields = |(kind, partition): (&str, Option<&str>)| {
            let mut fields: Vec<(Value, Value)> =
                vec![("name".into(), hub.as_str().into()), ("type".into(), kind.into())];
            fields.extend(partition.map(|partition| ("partition".into(), partition.into())));
            fields.extend(token.as_ref().map(|token| ("security_token".into(), token.expose().into())));
            fields
        };
        let entities = entities.into_iter().map(fields).collect();
        let mut management = match self.management.take() {
            Some(management) => management,
            None => Management::open(&mut self.client, &deadline)?,
        };
        let read = management.read(&mut self.client, entities, &deadline);
        // After a failure an answer may still arrive, or a request may still wait to be sent. So the next look-up uses
        // new links.
        match &read {
            Ok(_) => self.management = Some(management),
            Err(_) => management.close(&mut self.client),
        }
        read
    }
}
