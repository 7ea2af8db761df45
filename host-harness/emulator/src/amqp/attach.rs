//! Attaching a link: which addresses exist, and whether the client's claims allow it to attach there.

use std::collections::{HashMap, VecDeque};

use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::messaging::{Source, TargetArchetype};
use fe2o3_amqp_types::performatives::Attach;
use serde_amqp::Value;

use super::claims::{device_of, split};
use super::connection::{Connection, Step};
use super::device_links::device_endpoint;
use super::error::AmqpError;
use super::performatives;
use super::performatives::AttachAnswer;
use super::session::{Assembly, DeviceEndpoint, Link, LinkKind, Node};
use super::values::{string_of, text};
use crate::event_hub::selector::Start;
use crate::random;
use crate::records::identity::Target;
use crate::service::Service;
use crate::service_bound::Queue;

const SELECTOR: &str = "apache.org:selector-filter:string";
const EPOCH: &str = "com.microsoft:epoch";
/// The link property with the reader's name. The second spelling is that of the Rust SDK.
const RECEIVER_NAME: [&str; 2] = ["com.microsoft:receiver-name", "com.microsoft.com:receiver-name"];
const RUNTIME_METRIC: &str = "com.microsoft:enable-receiver-runtime-metric";
const GEO_REPLICATION: &str = "com.microsoft:georeplication";

/// Where a client's link leads, by its address.
enum Destination {
    Request(Node),
    Reply(Node),
    Events {
        group: String,
        partition: String,
    },
    DeviceBound,
    Notices(Queue),
    Device(Target, DeviceEndpoint),
    Registration(String),
    /// The client is redirected to this path at the Event Hub-compatible endpoint.
    Redirect(String),
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

/// The selector filter of a source: a string, which some clients wrap in a descriptor.
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
        let answer = performatives::attach(&AttachAnswer {
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

    pub(super) fn make_link(
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
        let guarded =
            !matches!(destination, Destination::Request(_) | Destination::Reply(_) | Destination::Registration(_));
        let now = self.world.token_time().unix_timestamp();
        if let Destination::Device(device, _) = &destination {
            self.claim_by_certificate(device, &segments, now);
        }
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
            Destination::Device(device, endpoint) => self.enter(attach, device, endpoint, is_receiver)?,
            Destination::Registration(id) => {
                self.check_registrant(&id)?;
                match is_receiver {
                    true => LinkKind::Reply { node: Node::Registration, target, queue: VecDeque::new() },
                    false => LinkKind::Request { node: Node::Registration, message: Assembly::default() },
                }
            }
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
        if let Some((device, rest)) = device_of(segments) {
            let endpoint = device_endpoint(&device, rest, is_receiver).ok_or_else(not_found)?;
            return Ok(Destination::Device(device, endpoint));
        }
        if let [scope, registrations, id] = parts.as_slice()
            && scope.eq_ignore_ascii_case(&self.world.options.id_scope)
            && registrations.eq_ignore_ascii_case("registrations")
        {
            return Ok(Destination::Registration((*id).to_owned()));
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

    /// The redirect to the endpoint where events are read. A client that knows only the hub's address finds that
    /// endpoint in no other way.
    fn redirect(&self, path: &str) -> AmqpError {
        // Azure names the AMQP port to every client. The emulator names its HTTPS port to a WebSocket client, which
        // could not find that port otherwise.
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

    /// Checks the attach of a partition's reader, and registers the reader.
    pub(super) fn events(
        &self,
        attach: &Attach,
        address: &str,
        group: &str,
        partition: &str,
    ) -> Result<LinkKind, AmqpError> {
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
}
