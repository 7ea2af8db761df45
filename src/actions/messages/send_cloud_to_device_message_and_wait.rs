//! Puts a message into a device's queue and waits until the hub reports how it ended.
//!
//! The hub has one queue of feedback for all senders, and a message of it has records of several senders. So a look at
//! the queue takes nothing but what is this action's own:
//!
//! | a message of the queue | what a look does with it |
//! |---|---|
//! | all its records are about the message that was sent | it is completed, so that it is not delivered again |
//! | it has a record about the message, and others | the record is used; the message is given back |
//! | it has no record about the message | it is given back |
//!
//! The hub counts each delivery, and drops a message of the queue after some (ten, unless the hub is set up otherwise).
//! So there are few looks, and each has a reason: the twin says that fewer messages wait for the device than before, or
//! the message has expired, so that there must be feedback by now.
//!
//! ```scenario
//! done {"deviceId": "press-4", "body": {"command": "cool-down"}, "expiresAfterSeconds": 600}
//! done {"deviceId": "press-5", "body": "plain words", "messageId": "waited-1", "properties": {"priority": "high"}}
//! done {"deviceId": "offline-1", "body": 1, "expiresAfterSeconds": 1}
//! not-found {"deviceId": "missing", "body": 1}
//! not-found {"deviceId": "press-4", "moduleId": "missing", "body": 1}
//! quota-exceeded {"deviceId": "press-4", "body": 1} under hub-amqp:SEND /*=reject:amqp:resource-limit-exceeded
//! payload-too-large {"deviceId": "press-4", "body": "$x*65537"}
//! invalid-input {"deviceId": "press-4", "body": "no base64", "bodyEncoding": "base64"}
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::message::{self, MessageInput};
use super::send_cloud_to_device_message::{LARGEST, LONGEST_QUEUE, LONGEST_WAIT, encode, plan, recipient_module};
use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::input::Input;
use crate::actions::shared::limits;
use crate::actions::shared::stepped::{Step, Stepped, foreign_state};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::Call;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::{EffectState, ErrorCode, Result};
use crate::form::fields;
use crate::form::schema::{help, integer, literal, object, one_of, string, with};
use crate::iothub::{Identity, Notice, ServiceEndpoint, ServiceQueue, feedback_status};
use crate::json::{self, member_in_any_case};
use crate::session::Session;
use crate::session::service_endpoint::{Purpose, with_own_endpoint, with_service_endpoint};

/// The lifetime of a message if the input states none, in seconds: the hub's own default.
const USUAL_LIFETIME: u64 = 3600;
/// How often the queue is looked at before the message has expired.
const EARLY_LOOKS: u32 = 3;
/// How often it is looked at in all: half of the deliveries that the hub allows for each message of the queue.
const LOOKS: u32 = 5;
/// How long a look lasts at the most: the hub collects records for up to 15 seconds before it delivers them.
const LOOK: Duration = Duration::from_secs(16);
/// How many messages of the queue a look takes at the most.
const LOOK_MESSAGES: usize = 64;
/// The pauses between two calls: before the message has expired, and after it.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const LATE_PAUSE: Duration = Duration::from_secs(30);

/// How the hub names the ends of a message, and how the output names them.
const OUTCOMES: [(&str, &str); 5] = [
    ("Success", "delivered"),
    ("Rejected", "rejected"),
    ("Expired", "expired"),
    ("DeliveryCountExceeded", "deliveryCountExceeded"),
    ("Purged", "purged"),
];

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "send-cloud-to-device-message-and-wait",
        title: "Send a cloud-to-device message and wait",
        help: "Puts a message into a device's queue and waits until the device has taken or rejected it, or it has expired or was purged. \
               How it ended is in the output, also where it was not delivered. \
               The hub reports this in **one** queue of feedback for all. This action looks into it at most five times, takes only what is about its own message and gives all else back, which may delay other readers by up to 16 seconds. \
               Beside a running trigger **Cloud-to-device message feedback** of the same hub, the trigger may take the record first: then the outcome is `unknown`, a minute or so after the message has expired. \
               The hub does not recognize a message that is sent twice: calling the action again sends it again, with the same message id if the idempotency key is the same. Needs a hub of the Standard or Free tier.",
        group: "Messages",
        input: &[
            required("deviceId", fields::device_id),
            optional("moduleId", recipient_module),
            required("body", || message::field("body")),
            optional("bodyEncoding", || message::field("bodyEncoding")),
            optional("properties", || message::field("properties")),
            optional("contentType", || message::field("contentType")),
            optional("contentEncoding", || message::field("contentEncoding")),
            optional("messageId", || message::field("messageId")),
            optional("correlationId", || message::field("correlationId")),
            optional("expiresAfterSeconds", || {
                with(
                    help(
                        integer("Expires after (s)", 1, LONGEST_WAIT),
                        "How long the message waits for the device, at the most two days. The action ends soon after that.",
                    ),
                    json!({ "default": USUAL_LIFETIME }),
                )
            }),
        ],
        input_sample: r#"{ "deviceId": "press-17", "body": { "command": "cool-down", "minutes": 5 }, "expiresAfterSeconds": 600 }"#,
        output: || {
            object(
                [
                    ("deviceId", string("Device id")),
                    ("moduleId", string("Module id")),
                    ("messageId", string("Message id")),
                    (
                        "outcome",
                        help(
                            one_of(
                                "Outcome",
                                &["delivered", "rejected", "expired", "deliveryCountExceeded", "purged", "unknown"],
                            ),
                            "`delivered`: the device has completed the message. `deliveryCountExceeded`: the device was given it too often and never completed it.",
                        ),
                    ),
                    ("time", string("When it ended")),
                    ("description", string("Description of the hub")),
                    ("reason", help(string("Reason"), "Why the outcome is not known.")),
                ],
                &["deviceId", "messageId", "outcome"],
            )
        },
        output_sample: || {
            literal!({
                "deviceId": "press-17",
                "messageId": "5f0c1d2b8e7a4c39b6d2f1a0e9c8b7a6",
                "outcome": "delivered",
                "time": "2026-05-04T07:30:00.250Z",
                "description": "Success"
            })
        },
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[
            ("Message with its properties", LARGEST as u64, "bytes"),
            ("Messages waiting for a device", LONGEST_QUEUE, "messages"),
            ("Cloud-to-device messages of an S1 unit", 100, "messages/minute"),
            limits::TWIN_READS,
        ],
        effect: Effect::Write,
        idempotency: Idempotency::None,
    },
    paged: false,
    step: |session, input, state, call| match state {
        None => send(session, input, call),
        Some(state) => {
            let watch: Watch = serde_json::from_value(state.clone()).map_err(|_| foreign_state())?;
            // The message was sent by an earlier call, so a failure of this one does not mean that nothing was done.
            wait(session, input, watch).map_err(|error| error.with_effect(EffectState::Applied))
        }
    },
};

/// What the next call has to know.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Watch {
    message_id: String,
    /// When the message was sent and when it expires, in milliseconds since the Unix epoch.
    sent: u64,
    expires: u64,
    /// How many messages waited for the device at the last count; none before the first.
    waiting: Option<u64>,
    /// How often the queue was looked at, and when last.
    looks: u32,
    looked: u64,
}

/// What a call does next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Look,
    Pause(Duration),
    GiveUp,
}

impl Watch {
    /// What to do at a time, when this many messages wait for the device.
    fn next(&self, now: u64, waiting: u64) -> Next {
        let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
        if now >= self.expires {
            return match self.looks {
                LOOKS.. => Next::GiveUp,
                0 => Next::Look,
                _ if since(self.looked) >= LATE_PAUSE || self.looked < self.expires => Next::Look,
                _ => Next::Pause(LATE_PAUSE.saturating_sub(since(self.looked))),
            };
        }
        let left = Duration::from_millis(self.expires - now);
        // The count alone does not tell whose message is gone: each look in vain doubles the pause before the next one.
        let rest = SHORTEST_PAUSE * 2_u32.pow(self.looks.min(EARLY_LOOKS));
        let fewer = self.waiting.is_some_and(|before| waiting < before) || waiting == 0;
        let rested = self.looks == 0 || since(self.looked) >= rest;
        if fewer && self.looks < EARLY_LOOKS && rested {
            return Next::Look;
        }
        Next::Pause((since(self.sent) / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE).min(left))
    }
}

fn now(session: &Session) -> u64 {
    u64::try_from(session.platform().unix_time().as_millis()).unwrap_or(u64::MAX)
}

fn send(session: &Session, input: &Input, call: &Call) -> Result<Step> {
    let recipient = input.identity()?;
    let mut document = input.document().clone();
    let message = MessageInput::take(&mut document)?;
    let message = message.read(session.platform(), call, &[&recipient.address()], LARGEST)?;
    let sent = now(session);
    let lifetime = input.number("expiresAfterSeconds").unwrap_or(USUAL_LIFETIME);
    let expires = sent.saturating_add(lifetime.saturating_mul(1000));
    let expiry = Some(i64::try_from(expires).unwrap_or(i64::MAX));
    if call.dry_run {
        return Ok(Step::Planned(plan(session, &recipient, &message, "full", expiry)));
    }
    let encoded = encode(&recipient, &message, "full", expiry);
    with_service_endpoint(session, Purpose::Send, |endpoint| endpoint.send(&recipient, &encoded))?;
    let watch = Watch { message_id: message.message_id, sent, expires, waiting: None, looks: 0, looked: sent };
    Ok(pause(&watch, SHORTEST_PAUSE.min(Duration::from_secs(lifetime)), "The message waits for the device"))
}

fn pause(watch: &Watch, after: Duration, message: &str) -> Step {
    let state = serde_json::to_value(watch).unwrap_or_default();
    Step::Pending { state, after, message: message.to_owned() }
}

fn wait(session: &Session, input: &Input, mut watch: Watch) -> Result<Step> {
    let recipient = input.identity()?;
    let waiting = if now(session) < watch.expires { waiting(session, &recipient)? } else { 0 };
    let next = watch.next(now(session), waiting);
    watch.waiting = Some(waiting);
    match next {
        Next::Look => {}
        Next::Pause(after) => return Ok(pause(&watch, after, "The message waits for the device")),
        Next::GiveUp => return Ok(Step::Done(unknown(&recipient, &watch, NO_RECORD))),
    }
    let own = Own { message: &watch.message_id, device: recipient.device.as_str() };
    let record = with_own_endpoint(session, |endpoint| {
        endpoint.open(ServiceQueue::Feedback)?;
        look(endpoint, &own)
    })?;
    if let Some(record) = record {
        return Ok(Step::Done(output(&recipient, &watch, &record)));
    }
    watch.looks += 1;
    watch.looked = now(session);
    if watch.looked >= watch.expires && watch.looks >= LOOKS {
        return Ok(Step::Done(unknown(&recipient, &watch, NO_RECORD)));
    }
    let after = if watch.looked >= watch.expires { LATE_PAUSE } else { SHORTEST_PAUSE };
    Ok(pause(&watch, after, "The hub has not reported yet how the message ended"))
}

/// Why the outcome is not known.
const NO_RECORD: &str = "The message has expired by now, and the queue of feedback had no record about it: another reader of the queue has probably taken the record. \
                         Let only one workflow of a hub read feedback, or use the trigger Cloud-to-device message feedback instead of waiting.";

/// How many messages wait for the device or module, as its twin says. A recipient that is gone has none.
fn waiting(session: &Session, recipient: &Identity) -> Result<u64> {
    match session.hub().twin_of(recipient) {
        Ok(twin) => Ok(twin.document.get("cloudToDeviceMessageCount").and_then(Value::as_u64).unwrap_or_default()),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// The message that was sent.
struct Own<'w> {
    message: &'w str,
    device: &'w str,
}

impl Own<'_> {
    fn is_in(&self, record: &Value) -> bool {
        let is = |name: &str, own: &str| member_in_any_case(record, name).and_then(Value::as_str) == Some(own);
        is("originalMessageId", self.message) && is("deviceId", self.device)
    }

    /// The record about the message in a message of the queue, and whether that has no other records.
    fn find(&self, body: &[u8]) -> (Option<Value>, bool) {
        let records = match json::parse(body) {
            Ok(Value::Array(records)) => records,
            Ok(record) => vec![record],
            Err(_) => return (None, false),
        };
        let alone = records.iter().all(|record| self.is_in(record));
        (records.into_iter().find(|record| self.is_in(record)), alone)
    }
}

/// The queue, as a look uses it.
trait Queue {
    fn next(&mut self, wait: Duration) -> Result<Option<Notice>>;
    /// Ends the reading. Returns the messages that had arrived by then.
    fn rest(&mut self) -> Vec<Notice>;
    fn accept(&mut self, notice: &Notice);
    fn give_back(&mut self, notice: &Notice);
    fn remaining(&self) -> Duration;
}

impl Queue for ServiceEndpoint<'_> {
    fn next(&mut self, wait: Duration) -> Result<Option<Notice>> {
        ServiceEndpoint::next(self, wait)
    }
    fn rest(&mut self) -> Vec<Notice> {
        ServiceEndpoint::rest(self)
    }
    fn accept(&mut self, notice: &Notice) {
        ServiceEndpoint::accept(self, notice);
    }
    fn give_back(&mut self, notice: &Notice) {
        ServiceEndpoint::give_back(self, notice);
    }
    fn remaining(&self) -> Duration {
        ServiceEndpoint::remaining(self)
    }
}

/// Looks for the record about the message. Messages of the queue are given back only after the reading has ended,
/// because the hub would deliver them to this reader again.
fn look(queue: &mut dyn Queue, own: &Own) -> Result<Option<Value>> {
    // Half of the time is kept for ending the reading and closing the connection.
    let begun = queue.remaining();
    let patience = LOOK.min(begun / 2);
    let mut seen = Vec::new();
    let mut found = false;
    while !found && seen.len() < LOOK_MESSAGES {
        let waited = begun.saturating_sub(queue.remaining());
        let Some(notice) = queue.next(patience.saturating_sub(waited))? else { break };
        found = own.find(&notice.body).0.is_some();
        seen.push(notice);
    }
    seen.extend(queue.rest());
    let mut result = None;
    for notice in &seen {
        let (record, alone) = own.find(&notice.body);
        if record.is_some() && alone {
            queue.accept(notice);
        } else {
            queue.give_back(notice);
        }
        result = result.or(record);
    }
    Ok(result)
}

fn output(recipient: &Identity, watch: &Watch, record: &Value) -> Value {
    let status = feedback_status(record);
    let known = OUTCOMES.iter().find(|(name, _)| Some(*name) == status.as_deref());
    let Some((_, outcome)) = known else {
        let reason = format!("The hub reports the status \"{}\".", status.as_deref().unwrap_or("(none)"));
        return unknown(recipient, watch, &reason);
    };
    let mut output = ended(recipient, watch, outcome);
    for (name, member) in [("time", "enqueuedTimeUtc"), ("description", "description")] {
        if let Some(text) = member_in_any_case(record, member).and_then(Value::as_str) {
            output[name] = text.into();
        }
    }
    output
}

fn unknown(recipient: &Identity, watch: &Watch, reason: &str) -> Value {
    let mut output = ended(recipient, watch, "unknown");
    output["reason"] = reason.into();
    output
}

fn ended(recipient: &Identity, watch: &Watch, outcome: &str) -> Value {
    let mut output =
        json!({ "deviceId": recipient.device.as_str(), "messageId": watch.message_id, "outcome": outcome });
    if let Some(module) = &recipient.module {
        output["moduleId"] = module.as_str().into();
    }
    output
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A queue with these bodies, and what was done with each.
    #[derive(Default)]
    struct Script {
        bodies: VecDeque<Vec<u8>>,
        /// What has arrived beyond what was read when the reading ends.
        late: Vec<Vec<u8>>,
        reading: bool,
        accepted: Vec<String>,
        given_back: Vec<String>,
    }

    fn text(notice: &Notice) -> String {
        String::from_utf8_lossy(&notice.body).into_owned()
    }

    impl Queue for Script {
        fn next(&mut self, _wait: Duration) -> Result<Option<Notice>> {
            self.reading = true;
            Ok(self.bodies.pop_front().map(Notice::of))
        }
        fn rest(&mut self) -> Vec<Notice> {
            self.reading = false;
            std::mem::take(&mut self.late).into_iter().map(Notice::of).collect()
        }
        fn accept(&mut self, notice: &Notice) {
            assert!(!self.reading, "settled while the hub has credit");
            self.accepted.push(text(notice));
        }
        fn give_back(&mut self, notice: &Notice) {
            assert!(!self.reading, "given back while the hub has credit");
            self.given_back.push(text(notice));
        }
        fn remaining(&self) -> Duration {
            Duration::from_secs(30)
        }
    }

    const OWN: Own = Own { message: "m1", device: "press-17" };

    fn record(message: &str, device: &str) -> String {
        json!({ "originalMessageId": message, "deviceId": device, "statusCode": "Success" }).to_string()
    }

    #[test]
    fn a_look_takes_only_what_is_its_own() {
        let own = format!("[{}]", record("m1", "press-17"));
        let shared = format!("[{},{}]", record("m2", "press-17"), record("m1", "press-17"));
        let foreign = format!("[{},{}]", record("m2", "press-17"), record("m1", "press-18"));
        let old = r#"{"OriginalMessageId":"m1","DeviceId":"press-17","Description":"Success"}"#.to_owned();
        // The bodies, whether the record is found, what is completed; all else is given back.
        let table: [(Vec<&String>, bool, Vec<&String>); 6] = [
            (vec![], false, vec![]),
            (vec![&foreign], false, vec![]),
            (vec![&own], true, vec![&own]),
            (vec![&shared], true, vec![]),
            (vec![&foreign, &own], true, vec![&own]),
            (vec![&old], true, vec![&old]),
        ];
        for (bodies, found, accepted) in table {
            let mut queue = Script {
                bodies: bodies.iter().map(|body| body.as_bytes().to_vec()).collect(),
                late: vec![b"not JSON".to_vec(), b"7".to_vec()],
                ..Script::default()
            };
            let record = look(&mut queue, &OWN).expect("no error");
            assert_eq!(record.is_some(), found, "{bodies:?}");
            assert_eq!(queue.accepted.iter().collect::<Vec<_>>(), accepted);
            assert_eq!(queue.accepted.len() + queue.given_back.len(), bodies.len() + 2, "each is settled once");
        }
    }

    #[test]
    fn a_look_ends_with_its_record_and_takes_a_bounded_number() {
        let own = format!("[{}]", record("m1", "press-17")).into_bytes();
        let foreign = format!("[{}]", record("m2", "press-17")).into_bytes();
        let mut queue = Script { bodies: [own.clone(), foreign.clone()].into(), ..Script::default() };
        assert!(look(&mut queue, &OWN).expect("no error").is_some());
        assert_eq!(queue.bodies.len(), 1, "what comes after it is left alone");
        let mut queue = Script { bodies: vec![foreign; 100].into(), ..Script::default() };
        assert!(look(&mut queue, &OWN).expect("no error").is_none());
        assert_eq!((queue.given_back.len(), queue.bodies.len()), (LOOK_MESSAGES, 100 - LOOK_MESSAGES));
    }

    fn watch() -> Watch {
        Watch { message_id: "m1".into(), sent: 0, expires: 600_000, waiting: None, looks: 0, looked: 0 }
    }

    #[test]
    fn a_look_has_a_reason() {
        let of = |waiting: Option<u64>, looks: u32, looked: u64| Watch { waiting, looks, looked, ..watch() };
        let pause = |seconds| Next::Pause(Duration::from_secs(seconds));
        let table = [
            (of(None, 0, 0), 5_000, 1, pause(5), "it still waits"),
            (of(Some(2), 0, 0), 100_000, 2, pause(25), "nothing was taken"),
            (of(Some(2), 0, 0), 590_000, 2, pause(10), "never past the expiry"),
            (of(None, 0, 0), 5_000, 0, Next::Look, "nothing waits"),
            (of(Some(3), 0, 0), 9_000, 2, Next::Look, "one less"),
            (of(Some(0), 1, 9_000), 14_000, 0, pause(5), "not at once again"),
            (of(Some(0), 1, 9_000), 19_000, 0, Next::Look, "after 10 seconds"),
            (of(Some(0), 2, 20_000), 39_000, 0, pause(9), "not at once again"),
            (of(Some(0), 2, 20_000), 40_000, 0, Next::Look, "after 20 seconds"),
            (of(Some(0), 3, 40_000), 500_000, 0, pause(60), "the early looks are used up"),
            (of(Some(1), 0, 0), 600_000, 0, Next::Look, "it has expired"),
            (of(Some(0), 3, 599_000), 600_000, 0, Next::Look, "the looks before do not delay it"),
            (of(Some(0), 4, 600_000), 610_000, 0, pause(20), "the last one comes later"),
            (of(Some(0), 4, 600_000), 630_000, 0, Next::Look, "the last one"),
            (of(Some(0), 5, 630_000), 640_000, 0, Next::GiveUp, "no more"),
        ];
        for (watch, now, waiting, expected, why) in table {
            let found = watch.next(now, waiting);
            match (found, expected) {
                (Next::Pause(found), Next::Pause(expected)) => assert_eq!(found.as_secs(), expected.as_secs(), "{why}"),
                _ => assert_eq!(found, expected, "{why}"),
            }
        }
    }

    #[test]
    fn every_end_has_a_name() {
        let recipient = Identity {
            device: crate::iothub::DeviceId::parse("press-17", "").expect("an id"),
            module: Some(crate::iothub::ModuleId::parse("filter", "").expect("an id")),
        };
        for (status, outcome) in OUTCOMES {
            let record = json!({ "statusCode": status, "description": "said", "enqueuedTimeUtc": "then" });
            let expected = json!({
                "deviceId": "press-17", "moduleId": "filter", "messageId": "m1", "outcome": outcome,
                "time": "then", "description": "said",
            });
            assert_eq!(output(&recipient, &watch(), &record), expected);
        }
        for odd in [json!({ "statusCode": "Abandoned" }), json!({})] {
            let output = output(&recipient, &watch(), &odd);
            assert!(output["outcome"] == "unknown" && output["reason"].is_string(), "{output}");
        }
    }
}
