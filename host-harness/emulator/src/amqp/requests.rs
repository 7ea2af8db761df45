//! Requests to `$cbs` and `$management`.

use fe2o3_amqp_types::messaging::{Body, Message};
use serde_amqp::Value;
use serde_amqp::primitives::Array;

use super::claims::{Refusal, split};
use super::connection::{Connection, FaultOutcome, Step};
use super::error::AmqpError;
use super::message::{id_value, message, simple_text};
use super::performatives::Outcome;
use super::session::{Delivery, Link, LinkKind, Node};
use super::values::{described, map, string_of, symbol, text, timestamp};
use super::{claims, codec};
use crate::clock::milliseconds;
use crate::service::Service;

impl Connection {
    pub(super) async fn on_request(
        &mut self,
        channel: u16,
        handle: u32,
        node: Node,
        delivery: &Delivery,
    ) -> Step<Outcome> {
        let Some(request) = codec::decode_message(&delivery.bytes) else {
            return Ok(Outcome::Rejected(AmqpError::new("amqp:decode-error", "The message could not be read.")));
        };
        let (answer, body) = match node {
            Node::Registration => return Ok(self.on_registration(channel, handle, request)),
            Node::Cbs => (self.put_token(&request).await?, Value::Null),
            Node::Management => match self.read(&request).await? {
                Ok(body) => ((200, "OK".to_owned(), None), body),
                Err((status, description, condition)) => ((status, description, Some(condition)), Value::Null),
            },
        };
        let (status, description, condition) = answer;
        let properties = request.properties.unwrap_or_default();
        let mut head = vec![Value::Null; 5];
        head.push(id_value(properties.message_id));
        let mut application = vec![("status-code", Value::Int(status)), ("status-description", text(description))];
        if let Some(condition) = condition {
            application.push(("error-condition", symbol(condition)));
        }
        let answer = message(head, application, described(0x77, body));
        self.reply(channel, node, properties.reply_to.as_deref(), answer);
        Ok(Outcome::Accepted)
    }

    /// Queues an answer on the reply link that the client named, or else on any reply link of the node.
    pub(super) fn reply(&mut self, channel: u16, node: Node, reply_to: Option<&str>, answer: Vec<u8>) {
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
            _ => tracing::debug!(?node, "an answer was dropped, because the client has no link for it"),
        }
    }

    pub(super) async fn put_token(
        &mut self,
        request: &Message<Body<Value>>,
    ) -> Step<(i32, String, Option<&'static str>)> {
        let audience = property(request, "name").unwrap_or_default();
        let path = format!("/{}", split(&audience).1.join("/"));
        if let Some(FaultOutcome::Status(status)) = self.fault("PUT-TOKEN", &path).await? {
            return Ok((i32::from(status), "A fault rule caused this error.".to_owned(), None));
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
                claims::from_put_token(&self.world, self.service, self.host_name.as_deref(), &kind, &token, &audience)
            });
        Ok(match claim {
            Ok(claim) => {
                // A newer token for the same audience replaces the older one.
                self.claims.retain(|old| !old.has_path_of(&claim));
                self.claims.push(claim);
                // IoT Hub answers 200, Event Hubs answers 202.
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
    pub(super) async fn read(
        &mut self,
        request: &Message<Body<Value>>,
    ) -> Step<Result<Value, (i32, String, &'static str)>> {
        if let Some(FaultOutcome::Status(status)) = self.fault("READ", "/$management").await? {
            return Ok(Err((i32::from(status), "A fault rule caused this error.".to_owned(), "amqp:internal-error")));
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
}

/// An application property as text.
pub(super) fn property(message: &Message<Body<Value>>, name: &str) -> Option<String> {
    let properties = message.application_properties.as_ref()?;
    properties.0.iter().find(|(key, _)| key.as_str() == name).and_then(|(_, value)| simple_text(value))
}
