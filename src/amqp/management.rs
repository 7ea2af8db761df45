//! Requests and answers over a pair of links, and the node `$management` (OASIS "AMQP Management", draft).

use super::client::Client;
use super::codec::Value;
use super::error::{Error, Result, StatusError};
use super::link::{LinkId, LinkOptions};
use super::message::{Body, Message};
use super::transport::Deadline;

/// The node's address.
const NODE: &str = "$management";
/// Answers that are not ours are passed over; a node that sends more of them than this does not answer.
const MOST_STRAY_ANSWERS: usize = 32;

/// A pair of links to a node that answers.
#[derive(Debug)]
pub struct RequestLink {
    sender: LinkId,
    receiver: LinkId,
    reply_to: String,
    next: u64,
}

impl RequestLink {
    /// Attaches both.
    ///
    /// # Errors
    /// Those of [`Client::attach`].
    pub fn open(client: &mut Client, node: &str, deadline: &Deadline) -> Result<Self> {
        let reply_to = client.name("reply");
        let name = client.name("request");
        // Both at once: one round trip.
        let receiver = client.start_attach(&LinkOptions::receiver(&reply_to, node), 4)?;
        let sender = client.start_attach(&LinkOptions::sender(name, node), 0)?;
        client.attached(receiver, deadline)?;
        client.attached(sender, deadline)?;
        Ok(Self { sender, receiver, reply_to, next: 1 })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// `Answered` with the node's status where it is no success; `Refused`; `Answer` where it has no status; those of
    /// [`Client`].
    pub fn request(
        &mut self,
        client: &mut Client,
        node: &'static str,
        mut request: Message,
        deadline: &Deadline,
    ) -> Result<Message> {
        let id = Value::string(self.next.to_string());
        self.next = self.next.wrapping_add(1);
        request.properties.message_id = Some(id.clone());
        request.properties.reply_to = Some(self.reply_to.clone());
        client.send(self.sender, request.encode())?;
        for _ in 0..MOST_STRAY_ANSWERS {
            let delivery = client.answer(self.sender, self.receiver, deadline)?;
            let answer = Message::decode(&delivery.payload)?;
            if answer.properties.correlation_id.as_ref().is_none_or(|correlation| *correlation == id) {
                return judge(node, answer);
            }
        }
        Err(Error::Answer("correlation id of a request"))
    }
}

/// A link to `$management`.
#[derive(Debug)]
pub struct Management(RequestLink);

impl Management {
    /// Attaches it.
    ///
    /// # Errors
    /// Those of [`Client::attach`].
    pub fn open(client: &mut Client, deadline: &Deadline) -> Result<Self> {
        Ok(Self(RequestLink::open(client, NODE, deadline)?))
    }

    /// Reads an entity: `fields` are its type, its name and what else the node wants to know. Answers its map.
    ///
    /// # Errors
    /// As [`RequestLink::request`]; `Answer` where the answer has no map.
    pub fn read(&mut self, client: &mut Client, fields: Vec<(Value, Value)>, deadline: &Deadline) -> Result<Value> {
        let mut application_properties = properties([("operation", "READ".into())]);
        application_properties.extend(fields);
        // The body says nothing: Microsoft's JavaScript client sends an empty list, its Rust client an empty value.
        let body = Body::Value(Value::string(""));
        let request = Message { application_properties, body, ..Message::default() };
        match self.0.request(client, NODE, request, deadline)?.body {
            Body::Value(map @ Value::Map(_)) => Ok(map),
            _ => Err(Error::Answer("map of the entity")),
        }
    }
}

/// Application properties: strings as keys.
pub(super) fn properties<const N: usize>(pairs: [(&str, Value); N]) -> Vec<(Value, Value)> {
    pairs.into_iter().map(|(name, value)| (Value::string(name), value)).collect()
}

/// Names differ between the services: `status-code` of Event Hubs, `statusCode` of older nodes.
fn judge(node: &'static str, answer: Message) -> Result<Message> {
    let status = ["status-code", "statusCode"].iter().find_map(|name| answer.property(name));
    let status = status.and_then(Value::as_i64).and_then(|status| u16::try_from(status).ok());
    let status = status.ok_or(Error::Answer("status"))?;
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    let text = |names: [&str; 2]| {
        names.iter().find_map(|name| answer.property(name)).and_then(Value::as_str).map(str::to_owned)
    };
    Err(Error::Answered(Box::new(StatusError {
        node,
        status,
        description: text(["status-description", "statusDescription"]),
        condition: text(["error-condition", "errorCondition"]),
    })))
}
