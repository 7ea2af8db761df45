//! What a client's links end at: who may attach where, and what the nodes answer.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::messaging::{Body, Message, MessageId, Source, TargetArchetype};
use fe2o3_amqp_types::performatives::{Attach, Transfer};
use fe2o3_amqp_types::primitives::SimpleValue;
use percent_encoding::percent_decode_str;
use serde_amqp::Value;
use serde_amqp::primitives::Array;
use time::OffsetDateTime;

use super::claims::{self, Refusal, split};
use super::codec::{
    self, AmqpError, AttachAnswer, Outcome, composite, described, encode, map, symbol, text, timestamp,
};
use super::connection::{Connection, Instead, Step};
use super::session::{Assembly, Delivery, Link, LinkKind, Node, REQUEST_CREDIT};
use crate::device_side::DeviceMessage;
use crate::error::{ErrorCode, ServiceError};
use crate::event_hub::{Start, milliseconds};
use crate::hub::{Ack, CloudMessage, queue_message};
use crate::random;
use crate::server::Service;
use crate::service_bound::{Locked, Queue};
use crate::throttle::Throttle;
use crate::world::World;

const SELECTOR: &str = "apache.org:selector-filter:string";
const EPOCH: &str = "com.microsoft:epoch";
/// The second is how the Rust SDK spells it.
const RECEIVER_NAME: [&str; 2] = ["com.microsoft:receiver-name", "com.microsoft.com:receiver-name"];
const RUNTIME_METRIC: &str = "com.microsoft:enable-receiver-runtime-metric";
const GEO_REPLICATION: &str = "com.microsoft:georeplication";
/// Longer messages break the link off; shorter ones that are too long are rejected.
const MAX_ASSEMBLED: usize = 1 << 20;

/// Where a client's link is to end.
enum Destination {
    Request(Node),
    Reply(Node),
    Events {
        group: String,
        partition: String,
    },
    DeviceBound,
    Notices(Queue),
    /// The link is to be made at the Event Hub-compatible endpoint, under this path there.
    Redirect(String),
}

/// A message's properties, in order.
fn message(properties: Vec<Value>, application: Vec<(&str, Value)>, body: Value) -> Vec<u8> {
    let mut bytes = encode(&composite(0x73, properties));
    if !application.is_empty() {
        bytes.extend(encode(&described(0x74, map(application.into_iter().map(|(name, value)| (text(name), value))))));
    }
    bytes.extend(encode(&body));
    bytes
}

/// The delivery annotations of a reader that asked for runtime metrics.
pub(super) fn metrics(world: &World, partition: u16) -> Vec<u8> {
    let Some(properties) = world.event_hub.properties(partition) else { return Vec::new() };
    encode(&described(
        0x71,
        map([
            (symbol("last_enqueued_sequence_number"), Value::Long(properties.last_sequence)),
            (symbol("last_enqueued_offset"), text(properties.last_offset.to_string())),
            (symbol("last_enqueued_time_utc"), timestamp(properties.last_enqueued)),
            (symbol("runtime_info_retrieval_time_utc"), timestamp(milliseconds(OffsetDateTime::now_utc()))),
        ]),
    ))
}

/// A batch of feedback, or a file notification.
pub(super) fn notice(queue: Queue, locked: &Locked) -> Bytes {
    let mut properties = vec![Value::Null; 6];
    properties[0] = text(random::uuid());
    properties.push(symbol(queue.content_type()));
    properties.push(symbol("utf-8"));
    let body = described(0x75, codec::binary(locked.body.as_bytes()));
    message(properties, Vec::new(), body).into()
}

fn string_of(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Symbol(symbol) => Some(symbol.as_str()),
        _ => None,
    }
}

fn integer_of(value: &Value) -> Option<i64> {
    match value {
        Value::Long(number) => Some(*number),
        Value::Int(number) => Some(i64::from(*number)),
        Value::Uint(number) => Some(i64::from(*number)),
        Value::Ulong(number) => i64::try_from(*number).ok(),
        _ => None,
    }
}

/// The selector of a source, under the descriptor of either client family, or bare.
fn selector(source: &Source) -> Option<&str> {
    let filters = source.filter.as_ref()?;
    let (_, value) = filters.iter().find(|(name, _)| name.as_str() == SELECTOR)?;
    match value {
        Value::Described(described) => string_of(&described.value),
        value => string_of(value),
    }
}

impl Connection {
    pub(super) async fn on_attach(&mut self, channel: u16, attach: Attach) -> Step {
        if self.sessions.get(&channel).is_none_or(|session| session.ended) {
            return Ok(());
        }
        let handle = attach.handle.0;
        let source = attach.source.as_ref().and_then(|source| source.address.clone());
        let target = match attach.target.as_deref() {
            Some(TargetArchetype::Target(target)) => target.address.clone(),
            _ => None,
        };
        let is_receiver = attach.role == Role::Receiver;
        let address = if is_receiver { source.as_deref() } else { target.as_deref() }.unwrap_or_default().to_owned();
        let segments = split(&address).1;
        let path = format!("/{}", segments.join("/"));
        let instead = self.fault("ATTACH", &path).await?;
        let made = match &instead {
            Some(_) => Err(AmqpError::new("amqp:internal-error", "")),
            None => self.make_link(&attach, &address, &path, segments.clone(), target.clone()),
        };
        let (link, error) = match made {
            Ok(link) => (link, None),
            Err(error) => (Link::new(LinkKind::Refused, path, segments, false, true), Some(error)),
        };
        let wanted: Vec<&str> = attach
            .desired_capabilities
            .iter()
            .flat_map(|wanted| wanted.0.iter().map(|capability| capability.as_str()))
            .filter(|capability| [RUNTIME_METRIC, GEO_REPLICATION].contains(capability))
            .collect();
        let answer = codec::attach(&AttachAnswer {
            name: &attach.name,
            handle,
            role: if is_receiver { Role::Sender } else { Role::Receiver },
            snd_settle_mode: attach.snd_settle_mode.clone(),
            rcv_settle_mode: attach.rcv_settle_mode.clone(),
            source: source.as_deref(),
            filter: attach.source.as_ref().and_then(|source| source.filter.as_ref()),
            target: target.as_deref(),
            max_message_size: link.max_message_size(),
            capabilities: wanted,
            tracking_id: &random::uuid(),
        });
        self.put(channel, &answer);
        let sends = link.credit > 0;
        let Some(session) = self.sessions.get_mut(&channel) else { return Ok(()) };
        session.links.insert(handle, link);
        if sends {
            session.flow(Some(handle), &mut self.out);
        }
        match (instead, error) {
            (Some(instead), _) => self.apply(channel, handle, &instead),
            (None, Some(error)) => self.detach(channel, handle, &error),
            (None, None) => {}
        }
        Ok(())
    }

    fn make_link(
        &mut self,
        attach: &Attach,
        address: &str,
        path: &str,
        segments: Vec<String>,
        target: Option<String>,
    ) -> Result<Link, AmqpError> {
        let is_receiver = attach.role == Role::Receiver;
        let destination = self.destination(address, &segments, is_receiver)?;
        let settled = attach.snd_settle_mode == fe2o3_amqp_types::definitions::SenderSettleMode::Settled;
        let guarded = !matches!(destination, Destination::Request(_) | Destination::Reply(_));
        let now = self.world.token_time().unix_timestamp();
        if guarded && !self.is_claimed(&segments, now) {
            let claim = if is_receiver { "Listen" } else { "Send" };
            return Err(AmqpError::new(
                "amqp:unauthorized-access",
                format!(
                    "Unauthorized access. '{claim}' claim(s) are required to perform this operation. \
                     Resource: '{address}'."
                ),
            ));
        }
        let kind = match destination {
            Destination::Request(node) => LinkKind::Request { node, message: Assembly::default() },
            Destination::Reply(node) => LinkKind::Reply { node, target, queue: VecDeque::new() },
            Destination::DeviceBound => LinkKind::DeviceBound { message: Assembly::default() },
            Destination::Notices(queue) => LinkKind::Notices { queue, locks: HashMap::new() },
            Destination::Redirect(path) => return Err(self.redirect(&path)),
            Destination::Events { group, partition } => self.events(attach, address, &group, &partition)?,
        };
        Ok(Link::new(kind, path.to_owned(), segments, guarded, settled))
    }

    fn destination(&self, address: &str, segments: &[String], is_receiver: bool) -> Result<Destination, AmqpError> {
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        let node = |node| Ok(if is_receiver { Destination::Reply(node) } else { Destination::Request(node) });
        let not_found =
            || AmqpError::new("amqp:not-found", format!("The messaging entity '{address}' could not be found."));
        if parts == ["$cbs"] {
            return node(Node::Cbs);
        }
        if self.service == Service::EventHub {
            let name = self.world.event_hub.name();
            let is_hub = |part: &str| part.eq_ignore_ascii_case(&name);
            return match parts.as_slice() {
                ["$management"] => node(Node::Management),
                [hub, "$management"] if is_hub(hub) => node(Node::Management),
                [hub, groups, group, partitions, partition]
                    if is_hub(hub)
                        && groups.eq_ignore_ascii_case("ConsumerGroups")
                        && partitions.eq_ignore_ascii_case("Partitions")
                        && is_receiver =>
                {
                    Ok(Destination::Events { group: (*group).to_owned(), partition: (*partition).to_owned() })
                }
                [hub, ..] if is_hub(hub) && !is_receiver => Err(AmqpError::new(
                    "amqp:unauthorized-access",
                    "Unauthorized access. 'Send' claim(s) are required to perform this operation.",
                )),
                _ => Err(not_found()),
            };
        }
        let lower: Vec<String> = parts.iter().map(|part| part.to_ascii_lowercase()).collect();
        match lower.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["messages", "devicebound"] if !is_receiver => Ok(Destination::DeviceBound),
            ["messages", "servicebound", "feedback"] if is_receiver => Ok(Destination::Notices(Queue::Feedback)),
            ["messages", "servicebound", "filenotifications"] if is_receiver => Ok(Destination::Notices(Queue::Files)),
            ["messages", "events", ..] => Ok(Destination::Redirect(parts[2..].join("/"))),
            _ => Err(not_found()),
        }
    }

    /// Where events are really read: the only way in which a client that knows just the hub can find out.
    fn redirect(&self, path: &str) -> AmqpError {
        // In the cloud it is AMQP's port for everybody; here a client of WebSockets could not know the other one.
        let port = if self.web_socket { self.world.hub_port } else { self.world.event_hub_ports().0 };
        let name = self.world.event_hub.name();
        let address = format!("amqps://localhost:{port}/{name}/{path}");
        AmqpError {
            condition: "amqp:link:redirect".to_owned(),
            description: address.trim_end_matches('/').to_owned(),
            info: vec![
                ("hostname", text("localhost")),
                ("network-host", text("localhost")),
                ("port", Value::Uint(u32::from(port))),
                ("address", text(address.trim_end_matches('/'))),
            ],
        }
    }

    /// A reader of a partition.
    fn events(&self, attach: &Attach, address: &str, group: &str, partition: &str) -> Result<LinkKind, AmqpError> {
        let hub = &self.world.event_hub;
        let Some(group) = hub.group(group) else {
            return Err(AmqpError::new(
                "amqp:not-found",
                format!("The messaging entity '{address}' could not be found."),
            ));
        };
        let count = hub.partition_count();
        let partition = partition.parse::<u16>().ok().filter(|partition| *partition < count).ok_or_else(|| {
            AmqpError::new(
                "com.microsoft:argument-out-of-range",
                format!(
                    "The specified partition is invalid for an EventHub partition sender or receiver. It should be \
                     between 0 and {}.",
                    count - 1
                ),
            )
        })?;
        let start = match attach.source.as_ref().and_then(|source| selector(source)) {
            Some(text) => {
                text.parse::<Start>().map_err(|error| AmqpError::new("amqp:invalid-field", error.to_string()))?
            }
            None => Start::Earliest,
        };
        let property = |name: &str| {
            let properties = attach.properties.as_ref()?;
            properties.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value)
        };
        let epoch = match property(EPOCH) {
            None | Some(Value::Null) => None,
            Some(value) => Some(
                integer_of(value)
                    .ok_or_else(|| AmqpError::new("amqp:invalid-field", format!("{EPOCH} has to be a long")))?,
            ),
        };
        let name = RECEIVER_NAME.iter().find_map(|name| property(name).and_then(string_of)).map(str::to_owned);
        let metrics = attach
            .desired_capabilities
            .as_ref()
            .is_some_and(|wanted| wanted.0.iter().any(|capability| capability.as_str() == RUNTIME_METRIC));
        let position = hub.locate(partition, &start)?;
        let lease = hub.enter(group, partition, epoch, name, self.lost_tx.clone())?;
        Ok(LinkKind::Events { lease, partition, position, metrics })
    }

    pub(super) async fn on_transfer(&mut self, channel: u16, transfer: &Transfer, payload: &Bytes) -> Step {
        let handle = transfer.handle.0;
        let Some(session) = self.sessions.get_mut(&channel) else { return Ok(()) };
        let Some(link) = session.links.get_mut(&handle).filter(|link| !link.detached) else { return Ok(()) };
        link.active = Instant::now();
        let (node, assembly) = match &mut link.kind {
            LinkKind::Request { node, message } => (Some(*node), message),
            LinkKind::DeviceBound { message } => (None, message),
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
        let outcome = match node {
            Some(node) => self.on_request(channel, node, &delivery).await?,
            None => match self.on_device_bound(channel, handle, &delivery).await? {
                Some(outcome) => outcome,
                None => return Ok(()),
            },
        };
        if !delivery.settled {
            self.put(channel, &codec::disposition(Role::Receiver, delivery.id, &outcome));
        }
        Ok(())
    }

    // $cbs and $management

    async fn on_request(&mut self, channel: u16, node: Node, delivery: &Delivery) -> Step<Outcome> {
        let Some(request) = codec::decode_message(&delivery.bytes) else {
            return Ok(Outcome::Rejected(AmqpError::new("amqp:decode-error", "The message could not be read.")));
        };
        let (answer, body) = match node {
            Node::Cbs => (self.put_token(&request).await?, Value::Null),
            Node::Management => match self.read(&request).await? {
                Ok(body) => ((200, "OK".to_owned(), None), body),
                Err((status, description, condition)) => ((status, description, Some(condition)), Value::Null),
            },
        };
        let (status, description, condition) = answer;
        let properties = request.properties.unwrap_or_default();
        let correlation = match properties.message_id {
            Some(MessageId::String(id)) => Value::String(id),
            Some(MessageId::Ulong(id)) => Value::Ulong(id),
            Some(MessageId::Uuid(id)) => Value::Uuid(id),
            Some(MessageId::Binary(id)) => Value::Binary(id),
            None => Value::Null,
        };
        let mut head = vec![Value::Null; 5];
        head.push(correlation);
        let mut application = vec![("status-code", Value::Int(status)), ("status-description", text(description))];
        if let Some(condition) = condition {
            application.push(("error-condition", symbol(condition)));
        }
        let answer = message(head, application, described(0x77, body));
        self.reply(channel, node, properties.reply_to.as_deref(), answer);
        Ok(Outcome::Accepted)
    }

    /// Puts an answer on the client's link for it: the one that it named, or else any of the node's.
    fn reply(&mut self, channel: u16, node: Node, reply_to: Option<&str>, answer: Vec<u8>) {
        let rank = |own_session: bool, link: &Link| match &link.kind {
            LinkKind::Reply { node: other, target, .. } if *other == node && !link.detached => {
                let named = reply_to.is_some() && target.as_deref() == reply_to;
                Some((named, own_session))
            }
            _ => None,
        };
        let links = self.sessions.values_mut().flat_map(|session| {
            let own = session.channel == channel;
            session.links.values_mut().map(move |link| (own, link))
        });
        let best = links.filter_map(|(own, link)| Some((rank(own, link)?, link))).max_by_key(|(rank, _)| *rank);
        match best {
            Some((_, Link { kind: LinkKind::Reply { queue, .. }, .. })) => queue.push_back(answer),
            _ => tracing::debug!(?node, "an answer has no link to go out on"),
        }
    }

    async fn put_token(&mut self, request: &Message<Body<Value>>) -> Step<(i32, String, Option<&'static str>)> {
        let audience = property(request, "name").unwrap_or_default();
        let path = format!("/{}", split(&audience).1.join("/"));
        if let Some(Instead::Status(status)) = self.fault("PUT-TOKEN", &path).await? {
            return Ok((i32::from(status), "A fault rule wants it so.".to_owned(), None));
        }
        let operation = property(request, "operation").unwrap_or_default();
        if operation != "put-token" {
            return Ok((400, format!("The operation '{operation}' is not supported"), None));
        }
        let token = match &request.body {
            Body::Value(value) => string_of(&value.0).map(str::to_owned),
            _ => None,
        };
        let kind = property(request, "type").unwrap_or_default();
        let claim = token
            .ok_or_else(|| Refusal { status: 400, description: "The token is not a string".to_owned() })
            .and_then(|token| {
                claims::from_put_token(&self.world, self.service, self.spoken.as_deref(), &kind, &token, &audience)
            });
        Ok(match claim {
            Ok(claim) => {
                // A newer token for the same audience takes the place of the older one.
                self.claims.retain(|old| !old.has_path_of(&claim));
                self.claims.push(claim);
                // The hub says 200, Event Hubs 202.
                if self.service == Service::EventHub {
                    (202, "Accepted".to_owned(), None)
                } else {
                    (200, "OK".to_owned(), None)
                }
            }
            Err(refusal) => (refusal.status, refusal.description, None),
        })
    }

    /// `READ` of an Event Hub or a partition.
    async fn read(&mut self, request: &Message<Body<Value>>) -> Step<Result<Value, (i32, String, &'static str)>> {
        if let Some(Instead::Status(status)) = self.fault("READ", "/$management").await? {
            return Ok(Err((i32::from(status), "A fault rule wants it so.".to_owned(), "amqp:internal-error")));
        }
        let hub = &self.world.event_hub;
        let name = hub.name();
        let now = self.world.token_time().unix_timestamp();
        let path = vec![name.clone()];
        let by_token = || {
            let token = property(request, "security_token")?;
            claims::from_token(&self.world, Service::EventHub, None, &token).ok()
        };
        if !self.is_claimed(&path, now) && !by_token().is_some_and(|claim| claim.covers(&path, now)) {
            let description = "Unauthorized access. 'Listen' claim(s) are required to perform this operation.";
            return Ok(Err((401, description.to_owned(), "amqp:unauthorized-access")));
        }
        let operation = property(request, "operation").unwrap_or_default();
        if operation != "READ" {
            return Ok(Err((501, format!("The operation '{operation}' is not supported"), "amqp:not-implemented")));
        }
        let wanted = property(request, "name").unwrap_or_default();
        if !wanted.eq_ignore_ascii_case(&name) {
            let description = format!("The messaging entity '{wanted}' could not be found.");
            return Ok(Err((404, description, "amqp:not-found")));
        }
        let kind = property(request, "type").unwrap_or_default();
        let entry = |name: &str, value: Value| (text(name), value);
        match kind.as_str() {
            "com.microsoft:eventhub" => {
                let count = hub.partition_count();
                let ids = (0..count).map(|id| text(id.to_string())).collect();
                Ok(Ok(map([
                    entry("name", text(name)),
                    entry("type", text(kind)),
                    entry("created_at", timestamp(milliseconds(hub.created()))),
                    entry("partition_count", Value::Int(i32::from(count))),
                    entry("partition_ids", Value::Array(Array(ids))),
                ])))
            }
            "com.microsoft:partition" => {
                let partition = property(request, "partition").unwrap_or_default();
                let found = partition.parse::<u16>().ok().and_then(|id| hub.properties(id));
                let Some(found) = found else {
                    let description = format!("The specified partition '{partition}' is invalid.");
                    return Ok(Err((404, description, "com.microsoft:argument-out-of-range")));
                };
                Ok(Ok(map([
                    entry("name", text(name)),
                    entry("type", text(kind)),
                    entry("partition", text(partition)),
                    entry("begin_sequence_number", Value::Long(found.begin)),
                    entry("last_enqueued_sequence_number", Value::Long(found.last_sequence)),
                    entry("last_enqueued_sequence_number_epoch", Value::Int(-1)),
                    entry("last_enqueued_offset", text(found.last_offset.to_string())),
                    entry("last_enqueued_time_utc", timestamp(found.last_enqueued)),
                    entry("is_partition_empty", Value::Bool(found.is_empty)),
                    entry("runtime_info_retrieval_time_utc", timestamp(now.saturating_mul(1000))),
                ])))
            }
            other => Ok(Err((400, format!("The type '{other}' is not supported"), "amqp:not-implemented"))),
        }
    }

    // Messages to devices

    async fn on_device_bound(&mut self, channel: u16, handle: u32, delivery: &Delivery) -> Step<Option<Outcome>> {
        match self.fault("SEND", "/messages/devicebound").await? {
            Some(Instead::Reject(condition)) => {
                return Ok(Some(Outcome::Rejected(AmqpError::of_rule(&condition))));
            }
            Some(instead) => {
                self.apply(channel, handle, &instead);
                return Ok(None);
            }
            None => {}
        }
        let result = codec::decode_message(&delivery.bytes)
            .ok_or_else(|| AmqpError::new("amqp:decode-error", "The message could not be read."))
            .and_then(|message| queue(&self.world, message));
        Ok(Some(match result {
            Ok(()) => Outcome::Accepted,
            Err(error) => Outcome::Rejected(error),
        }))
    }
}

/// A text among the application properties.
fn property(message: &Message<Body<Value>>, name: &str) -> Option<String> {
    let properties = message.application_properties.as_ref()?;
    properties.0.iter().find(|(key, _)| key.as_str() == name).and_then(|(_, value)| simple_text(value))
}

fn simple_text(value: &SimpleValue) -> Option<String> {
    Some(match value {
        SimpleValue::String(text) => text.clone(),
        SimpleValue::Symbol(symbol) => symbol.as_str().to_owned(),
        SimpleValue::Bool(value) => value.to_string(),
        SimpleValue::Int(number) => number.to_string(),
        SimpleValue::Long(number) => number.to_string(),
        SimpleValue::Uint(number) => number.to_string(),
        SimpleValue::Ulong(number) => number.to_string(),
        SimpleValue::Double(number) => number.to_string(),
        SimpleValue::Float(number) => number.to_string(),
        SimpleValue::Timestamp(time) => time.milliseconds().to_string(),
        _ => return None,
    })
}

/// Reads a message for a device and queues it. Application properties become text.
fn queue(world: &World, message: Message<Body<Value>>) -> Result<(), AmqpError> {
    let properties = message.properties.unwrap_or_default();
    let argument = |description: &str| AmqpError::new("com.microsoft:argument-error", description);
    let to = properties.to.as_deref().ok_or_else(|| argument("The message has no 'to' property"))?;
    let body = match message.body {
        Body::Data(sections) => sections.into_iter().flat_map(|section| section.0.into_vec()).collect(),
        Body::Value(value) => match value.0 {
            Value::String(text) => text.into_bytes(),
            Value::Binary(bytes) => bytes.into_vec(),
            _ => return Err(argument("The body has to be data")),
        },
        Body::Empty => Vec::new(),
        Body::Sequence(_) => return Err(argument("The body has to be data")),
    };
    let message_id = match properties.message_id {
        Some(MessageId::String(id)) => id,
        Some(MessageId::Ulong(id)) => id.to_string(),
        Some(MessageId::Uuid(id)) => random::encode_hex(&id.into_inner()),
        Some(MessageId::Binary(id)) => random::encode_hex(&id),
        None => random::uuid(),
    };
    if message_id.len() > 128 {
        return Err(argument("The message id has more than 128 characters"));
    }
    let mut ack = Ack::None;
    let mut application = Vec::new();
    for (name, value) in message.application_properties.iter().flat_map(|properties| properties.0.iter()) {
        let value = simple_text(value).ok_or_else(|| argument("An application property has an unknown type"))?;
        if name.eq_ignore_ascii_case("iothub-ack") {
            ack = Ack::parse(&value).ok_or_else(|| argument("iothub-ack is none, positive, negative or full"))?;
        } else {
            application.push((name.clone(), value));
        }
    }
    let mut queued = DeviceMessage::new(message_id, application, body.into());
    queued.correlation_id = match properties.correlation_id {
        Some(MessageId::String(id)) => Some(id),
        Some(MessageId::Ulong(id)) => Some(id.to_string()),
        Some(MessageId::Uuid(id)) => Some(random::encode_hex(&id.into_inner())),
        Some(MessageId::Binary(id)) => Some(random::encode_hex(&id)),
        None => None,
    };
    queued.user_id = properties.user_id.map(|id| Bytes::from(id.into_vec()));
    queued.content_type = properties.content_type.map(|kind| kind.into_inner());
    queued.content_encoding = properties.content_encoding.map(|encoding| encoding.into_inner());
    queued.expires = properties
        .absolute_expiry_time
        .and_then(|time| OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.milliseconds()) * 1_000_000).ok());
    // A sender of .NET encodes the ids, those of Python and the Azure CLI do not. An id can hold a percent sign: the
    // text as it is goes first.
    let decoded = percent_decode_str(to).decode_utf8_lossy();
    let targets = [device_of(to), device_of(&decoded)];
    let mut targets = targets.into_iter().flatten();
    let (device, module) = targets.next().ok_or_else(|| argument("The 'to' property is no device's address"))?;
    world.throttles.take(Throttle::Message).map_err(|error| refused(&error))?;
    queued.module_id = module;
    match queue_message(world, &device, CloudMessage { message: queued.clone(), ack }) {
        Err(error) if [ErrorCode::DEVICE_NOT_FOUND, ErrorCode::MODULE_NOT_FOUND].contains(&error.code()) => {
            match targets.next() {
                Some((device, module)) => {
                    queued.module_id = module;
                    queue_message(world, &device, CloudMessage { message: queued, ack })
                }
                None => Err(error),
            }
        }
        result => result,
    }
    .map_err(|error| refused(&error))
}

/// The device, and the module, of `/devices/{id}[/modules/{id}]/messages/devicebound`.
fn device_of(to: &str) -> Option<(String, Option<String>)> {
    let parts: Vec<&str> = to.trim_start_matches('/').split('/').collect();
    let is = |part: &str, name: &str| part.eq_ignore_ascii_case(name);
    match parts.as_slice() {
        [devices, id, messages, bound]
            if is(devices, "devices") && is(messages, "messages") && is(bound, "devicebound") =>
        {
            Some(((*id).to_owned(), None))
        }
        [devices, id, modules, module, messages, bound]
            if is(devices, "devices")
                && is(modules, "modules")
                && is(messages, "messages")
                && is(bound, "devicebound") =>
        {
            Some(((*id).to_owned(), Some((*module).to_owned())))
        }
        _ => None,
    }
}

/// A refusal of the service as a condition. Source: the mapping in Microsoft's .NET client, read backwards.
fn refused(error: &ServiceError) -> AmqpError {
    let condition = match error.code() {
        ErrorCode::DEVICE_NOT_FOUND | ErrorCode::MODULE_NOT_FOUND => "amqp:not-found",
        ErrorCode::QUEUE_DEPTH_EXCEEDED => "amqp:resource-limit-exceeded",
        ErrorCode::MESSAGE_TOO_LARGE => "amqp:link:message-size-exceeded",
        ErrorCode::THROTTLING => "com.microsoft:device-container-throttled",
        ErrorCode::INVALID_MESSAGE_EXPIRY => "com.microsoft:argument-out-of-range",
        _ => "com.microsoft:argument-error",
    };
    let number = i32::try_from(error.code().number()).unwrap_or_default();
    AmqpError {
        condition: condition.to_owned(),
        description: error.message().to_owned(),
        info: vec![
            ("com.microsoft:tracking-id", text(random::uuid())),
            ("com.microsoft:error-code", Value::Int(number)),
        ],
    }
}
