//! Requests and answers over a pair of links, and the node `$management` (OASIS "AMQP Management", draft).

use super::client::Client;
use super::codec::Value;
use super::error::{Error, Result, StatusError};
use super::link::{LinkId, LinkOptions, Purpose};
use super::message::{Body, Message};
use super::transport::Deadline;

/// The node's address.
const NODE: &str = "$management";
/// Answers that belong to no request of ours are ignored. After this many such answers, the node counts as not
/// answering.
const MOST_STRAY_ANSWERS: usize = 32;
/// How many requests are under way at a time: the requests for a hub's 32 partitions take three round trips.
const MOST_AT_ONCE: usize = 16;
/// The largest answer, in bytes: the description of an Event Hub lists the ids of up to 1024 partitions.
const LARGEST_ANSWER: u64 = 64 * 1024;

/// A pair of links to a node that answers requests, in its own session: an answer does not wait for messages of other
/// links.
#[derive(Debug)]
pub struct RequestLink {
    sender: LinkId,
    receiver: LinkId,
    reply_to: String,
    next: u64,
}

impl RequestLink {
    /// Attaches both links.
    ///
    /// # Errors
    /// The errors of [`Client::attach`].
    pub fn open(client: &mut Client, node: &str, deadline: &Deadline) -> Result<Self> {
        let reply_to = client.name("reply");
        let name = client.name("request");
        let options =
            |link: LinkOptions| LinkOptions { purpose: Purpose::Requests, max_message_size: LARGEST_ANSWER, ..link };
        // Both links are attached at once, which takes one round trip.
        let credit = u32::try_from(MOST_AT_ONCE).unwrap_or(u32::MAX);
        let receiver = client.start_attach(&options(LinkOptions::receiver(&reply_to, node)), credit)?;
        let sender = match client.start_attach_beside(receiver, &options(LinkOptions::sender(name, node)), 0) {
            Ok(sender) => sender,
            Err(error) => {
                client.detach(receiver);
                return Err(error);
            }
        };
        let link = Self { sender, receiver, reply_to, next: 1 };
        match client.all_attached(&[receiver, sender], deadline) {
            Ok(()) => Ok(link),
            Err(error) => {
                link.close(client);
                Err(error)
            }
        }
    }

    /// Detaches both links and drops the requests that were not sent. This method does not wait.
    pub fn close(self, client: &mut Client) {
        client.detach(self.sender);
        client.detach(self.receiver);
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// As [`RequestLink::requests`].
    pub fn request(
        &mut self,
        client: &mut Client,
        node: &'static str,
        request: Message,
        deadline: &Deadline,
    ) -> Result<Message> {
        let mut answers = self.requests(client, node, vec![request], deadline)?;
        answers.pop().ok_or(Error::Answer("correlation id of a request"))
    }

    /// Sends requests, some of them before earlier ones are answered, and waits for all answers. The answers are in the
    /// order of the requests.
    ///
    /// # Errors
    /// `Answered` with the node's status where a status is not a success; `Refused`; `Answer` where an answer has no
    /// status; the errors of [`Client`].
    pub fn requests(
        &mut self,
        client: &mut Client,
        node: &'static str,
        requests: Vec<Message>,
        deadline: &Deadline,
    ) -> Result<Vec<Message>> {
        let first = self.next;
        let count = requests.len();
        let mut requests = requests.into_iter();
        let mut answers: Vec<Option<Message>> = vec![None; count];
        let (mut sent, mut answered, mut strays) = (0, 0, 0);
        while answered < count {
            for mut request in requests.by_ref().take(MOST_AT_ONCE.saturating_sub(sent - answered)) {
                request.properties.message_id = Some(Value::string(self.next.to_string()));
                request.properties.reply_to = Some(self.reply_to.clone());
                self.next = self.next.wrapping_add(1);
                client.send(self.sender, request.encode())?;
                sent += 1;
            }
            let delivery = client.answer(self.sender, self.receiver, deadline)?;
            let answer = Message::decode(&delivery.payload)?;
            let of = match answer.properties.correlation_id.as_ref() {
                Some(id) => id.as_str().and_then(|id| id.parse::<u64>().ok()?.checked_sub(first)),
                // A node that does not state which request it answers must answer them in order.
                None => answers.iter().position(Option::is_none).and_then(|index| u64::try_from(index).ok()),
            };
            let place = of.and_then(|of| answers.get_mut(usize::try_from(of).ok()?));
            match place {
                Some(place @ None) => {
                    *place = Some(judge(node, answer)?);
                    answered += 1;
                }
                _ if strays < MOST_STRAY_ANSWERS => strays += 1,
                _ => return Err(Error::Answer("correlation id of a request")),
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }
}

/// A pair of links to `$management`.
#[derive(Debug)]
pub struct Management(RequestLink);

impl Management {
    /// Attaches the pair of links.
    ///
    /// # Errors
    /// The errors of [`Client::attach`].
    pub fn open(client: &mut Client, deadline: &Deadline) -> Result<Self> {
        Ok(Self(RequestLink::open(client, NODE, deadline)?))
    }

    /// Detaches the pair of links. This method does not wait.
    pub fn close(self, client: &mut Client) {
        self.0.close(client);
    }

    /// Reads the descriptions of entities. The fields of each entity are its type, its name and what else the node
    /// needs to know. Returns one map for each entity, in the same order.
    ///
    /// # Errors
    /// As [`RequestLink::requests`]; `Answer` where an answer has no map.
    pub fn read(
        &mut self,
        client: &mut Client,
        entities: Vec<Vec<(Value, Value)>>,
        deadline: &Deadline,
    ) -> Result<Vec<Value>> {
        let request = |fields| {
            let mut application_properties = properties([("operation", "READ".into())]);
            application_properties.extend::<Vec<_>>(fields);
            // The body has no meaning: Microsoft's JavaScript client sends an empty list, its Rust client an empty
            // value.
            Message { application_properties, body: Body::Value(Value::string("")), ..Message::default() }
        };
        let requests = entities.into_iter().map(request).collect();
        let answers = self.0.requests(client, NODE, requests, deadline)?;
        let map = |answer: Message| match answer.body {
            Body::Value(map @ Value::Map(_)) => Ok(map),
            _ => Err(Error::Answer("map of the entity")),
        };
        answers.into_iter().map(map).collect()
    }
}

/// Application properties, with strings as keys.
pub(super) fn properties<const N: usize>(pairs: [(&str, Value); N]) -> Vec<(Value, Value)> {
    pairs.into_iter().map(|(name, value)| (Value::string(name), value)).collect()
}

/// Checks an answer's status. Its name differs between the services: `status-code` in Event Hubs, `statusCode` in older
/// nodes.
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
