//! A connection to one Event Hub: what it is, what its partitions are, and their events.

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

/// Messages ahead of what is used (Microsoft's clients: 300).
const PREFETCH: u32 = 300;
/// Once events come, a pause of this length ends the reading: what is there is worth more than what may come.
const LULL: Duration = Duration::from_millis(100);
/// The descriptor of a selector filter, as a number (Microsoft's JavaScript and Rust clients).
const SELECTOR_CODE: u64 = 0x0000_468c_0000_0004;
/// Its name, which is also its key in the filter's map.
const SELECTOR_NAME: &str = "apache.org:selector-filter:string";

/// Where an Event Hub is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The namespace's host.
    pub host: String,
    /// Its port; that of the transport on Azure.
    pub port: u16,
    /// What AMQP is spoken over.
    pub transport: AmqpTransport,
    /// The Event Hub's name.
    pub hub: String,
}

impl Endpoint {
    /// Connects.
    fn open(&self, roots: Roots, deadline: &Deadline) -> Result<Box<dyn Transport>, TransportError> {
        transport::open(self.transport, (&self.host, self.port), "/$servicebus/websocket", roots, deadline)
    }
}

/// How to get in.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// A signed token, put to `$cbs`: the key itself is never sent.
    Claim(SharedAccessKey),
    /// The policy's name and key, by SASL PLAIN.
    Plain(SharedAccessKey),
}

impl Access {
    fn key(&self) -> &SharedAccessKey {
        match self {
            Self::Claim(key) | Self::Plain(key) => key,
        }
    }
}

/// An Event Hub's own description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubProperties {
    /// Its name.
    pub name: String,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at_ms: Option<i64>,
    /// The ids of its partitions.
    pub partition_ids: Vec<String>,
}

/// A partition's own description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionProperties {
    /// Its id.
    pub id: String,
    /// The oldest event's number that is retained.
    pub begin_sequence_number: i64,
    /// The last event's number; -1 where there never was one.
    pub last_enqueued_sequence_number: i64,
    /// The last event's offset; `-1` where there never was one.
    pub last_enqueued_offset: String,
    /// When the last event was enqueued, in milliseconds since the Unix epoch.
    pub last_enqueued_time_ms: i64,
    /// Whether nothing is retained.
    pub is_empty: bool,
}

/// What to receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverOptions {
    /// The partition's id.
    pub partition: String,
    /// The consumer group; `$Default` is always there.
    pub consumer_group: String,
    /// Where to begin.
    pub position: StartPosition,
    /// Owner level (epoch): the reader with the highest one reads alone. Without, up to five read together.
    pub owner_level: Option<i64>,
    /// Events sent ahead; none for the usual number.
    pub prefetch: Option<u32>,
    /// The largest event that is taken, in bytes: Event Hubs' own limit is 1 MB, of dedicated clusters 20 MB.
    pub largest_event: u64,
    /// Whether events state the partition's end, for a lag without another request.
    pub track_last_enqueued: bool,
}

impl ReceiverOptions {
    /// The usual options.
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

/// How much to receive at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBudget {
    /// Events at the most.
    pub events: usize,
    /// Bytes of memory that the events take up at the most, see [`Event::memory`]; one event is given in any case.
    pub bytes: usize,
    /// How long to wait for the first event.
    pub wait: Duration,
}

/// A link that events come in by.
#[derive(Debug)]
pub struct Receiver {
    link: LinkId,
    contender: Contender,
    /// Events for which the last budget had no room, and those that were given back.
    kept: VecDeque<Kept>,
    /// An error that came after events.
    failed: Option<Error>,
}

/// An event that waits.
#[derive(Debug)]
enum Kept {
    Read(Box<Event>),
    /// As it came: a few bytes may be megabytes once they are read, and each partition may keep one.
    AsItCame(Vec<u8>),
}

impl Receiver {
    /// Takes the last events back, in their order: they come again with the next ones.
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
    /// On the monotonic clock.
    deadline: Duration,
}

impl<'p> EventHub<'p> {
    /// Connects and authorizes. All that is done with the connection must be done by `deadline`, on the monotonic clock.
    ///
    /// # Errors
    /// `unavailable`, `timeout`, `auth-failed`, `not-found`, `protocol`: each typed, by the deadline.
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

    /// Opens the connection over a transport that is there already.
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

    /// The platform that it runs on.
    pub fn platform(&self) -> &'p dyn Platform {
        self.client.platform()
    }

    /// Puts the deadline off, for another call over the same connection.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Does something that the rest of the call does not wait for: it has `limit` at the most, and no more than a quarter of
    /// what is left.
    pub fn within<T>(&mut self, limit: Duration, work: impl FnOnce(&mut Self) -> T) -> T {
        let deadline = self.deadline;
        self.deadline = self.until().soon(limit).moment();
        let result = work(self);
        self.deadline = deadline;
        result
    }

    /// What the Event Hub is, with the ids of its partitions.
    ///
    /// # Errors
    /// `not-found`, `auth-failed`, `permission-denied` and those of the connection.
    pub fn properties(&mut self) -> Result<HubProperties> {
        let context = self.context("its properties");
        let maps = self.read(vec![("com.microsoft:eventhub", None)]).map_err(|error| context.error(&error))?;
        let map = maps.first().ok_or_else(|| context.error(&AmqpError::Answer("map of the entity")))?;
        // Microsoft's service writes an array of strings; a list does as well.
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

    /// What partitions are, and where their events begin and end, in the order of these ids.
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
    /// `consumer-conflict` where others read with a higher owner level, or too many without one; `position-lost` where
    /// the position is not of this partition; `not-found` for the consumer group or partition; those of the connection.
    pub fn receiver(&mut self, options: &ReceiverOptions) -> Result<Receiver> {
        let receiver = self.ask(options)?;
        self.settle(&receiver).map(|()| receiver)
    }

    /// Attaches to several partitions, all at the same time.
    ///
    /// # Errors
    /// As [`EventHub::receiver`]; none of them is attached then.
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

    /// Asks for a link. [`EventHub::settle`] waits for it.
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

    /// Gives a partition up. Its slot for readers is free at once.
    pub fn release(&mut self, receiver: Receiver) {
        self.client.detach(receiver.link);
    }

    /// Waits until one of these receivers has something: an event, or an error. False where nothing came within `wait`.
    ///
    /// # Errors
    /// Those of the connection.
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

    /// Receives events: waits for the first one, then takes what comes without a pause.
    ///
    /// # Errors
    /// As [`EventHub::receiver`], once the events that came before were given.
    pub fn receive(&mut self, receiver: &mut Receiver, budget: ReadBudget) -> Result<Vec<Event>> {
        let context = self.reading(&receiver.contender);
        let deadline = self.until();
        if let Some(error) = receiver.failed.as_ref().filter(|_| receiver.kept.is_empty()) {
            return Err(error.clone());
        }
        self.keep_claim(&deadline).map_err(|error| context.error(&error))?;
        let last = deadline.now().saturating_add(budget.wait);
        let mut wait = budget.wait;
        let mut events: Vec<Event> = Vec::new();
        let mut bytes = 0_usize;
        while events.len() < budget.events {
            let kept = match receiver.kept.pop_front() {
                Some(kept) => kept,
                None if receiver.failed.is_some() => break,
                None => match self.client.receive(receiver.link, wait, &deadline) {
                    Ok(None) => break,
                    Ok(Some(delivery)) => Kept::AsItCame(delivery.payload),
                    // What came before is worth having; the error is there the next time, too.
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
            wait = last.saturating_sub(deadline.now()).min(LULL);
        }
        Ok(events)
    }

    /// Closes the connection. Shortly; what the service does not hear of it notices by itself.
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
        // Says that an offset need not be a number, as Microsoft's clients always do.
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
        // Microsoft's Python and JavaScript clients send the token along as well.
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
        // After a failure an answer may still be on its way, or a request may wait to be sent: the next look-up begins again.
        match &read {
            Ok(_) => self.management = Some(management),
            Err(_) => management.close(&mut self.client),
        }
        read
    }
}
