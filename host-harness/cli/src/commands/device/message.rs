//! Messages to the device, and how they are settled.
//!
//! Over MQTT a device can only complete a message, or leave it: the lock then ends after some time, and the hub delivers
//! the message again. Rejecting and abandoning need HTTPS.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::https::{Answer, HubApi};
use super::identity::escaped;
use super::line::{Line, content};

/// The pause between two requests for a message: short, because a person waits for the line.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

const PROPERTY_PREFIX: &str = "iothub-app-";

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnMessage {
    /// Complete it: the hub removes it.
    Complete,
    /// Reject it: the hub removes it, and the sender's feedback says so. Messages are then received over HTTPS.
    Reject,
    /// Abandon it: the hub delivers it again. Messages are then received over HTTPS.
    Abandon,
    /// Leave it locked: the hub delivers it again after the lock has ended.
    Ignore,
}

impl OnMessage {
    /// Whether MQTT has this answer.
    pub(super) fn by_mqtt(self) -> bool {
        matches!(self, Self::Complete | Self::Ignore)
    }

    fn done(self) -> &'static str {
        match self {
            Self::Complete => "completed",
            Self::Reject => "rejected",
            Self::Abandon => "abandoned",
            Self::Ignore => "ignored",
        }
    }
}

/// A message that came over MQTT. Names of system properties begin with `$.` or `iothub-`.
pub(super) fn line(properties: Vec<(String, String)>, body: &[u8], settled: OnMessage) -> Line {
    let (system, own): (Map<_, _>, Map<_, _>) = {
        let is_system = |name: &str| name.starts_with("$.") || name.starts_with("iothub-");
        let (system, own): (Vec<_>, Vec<_>) = properties.into_iter().partition(|(name, _)| is_system(name));
        let values = |pairs: Vec<(String, String)>| pairs.into_iter().map(|(name, value)| (name, json!(value)));
        (values(system).collect(), values(own).collect())
    };
    let id = system.get("$.mid").cloned().unwrap_or(Value::Null);
    written(&id, system, own, body, settled)
}

fn written(id: &Value, system: Map<String, Value>, own: Map<String, Value>, body: &[u8], settled: OnMessage) -> Line {
    let (kind, value) = content(body);
    let text = format!("{value} {} ({})", Value::Object(own.clone()), settled.done());
    let mut members = json!({ "messageId": id, "properties": own, "system": system, "settled": settled.done() });
    members[kind] = value;
    Line::new("message", members, text)
}

/// Receives a message over HTTPS and settles it; `None` if no message waits.
///
/// # Errors
/// If the hub refuses a request or cannot be reached.
pub(super) async fn receive(hub: &HubApi<'_>, settle: OnMessage) -> Result<Option<Line>> {
    let path = "/messages/deviceBound";
    let answer = hub.ask(Method::GET, path, "", None).await?;
    if answer.status == StatusCode::NO_CONTENT {
        return Ok(None);
    }
    let answer = answer.successful("a message could not be received")?;
    let lock = answer.header("etag").context("the message has no lock token: the header ETag is missing")?;
    let lock = escaped(lock.trim_matches('"'));
    let settled = match settle {
        OnMessage::Complete => (Method::DELETE, format!("{path}/{lock}"), ""),
        OnMessage::Reject => (Method::DELETE, format!("{path}/{lock}"), "&reject"),
        OnMessage::Abandon => (Method::POST, format!("{path}/{lock}/abandon"), ""),
        OnMessage::Ignore => return Ok(Some(from_headers(&answer, settle))),
    };
    let (method, path, query) = settled;
    hub.ask(method, &path, query, None).await?.successful("a message could not be settled")?;
    Ok(Some(from_headers(&answer, settle)))
}

fn from_headers(answer: &Answer, settled: OnMessage) -> Line {
    let (mut system, mut own) = (Map::new(), Map::new());
    for (name, value) in &answer.headers {
        let Ok(value) = value.to_str() else { continue };
        if let Some(name) = name.as_str().strip_prefix(PROPERTY_PREFIX) {
            own.insert(name.to_owned(), json!(value));
        } else if name.as_str().starts_with("iothub-") {
            system.insert(name.as_str().to_owned(), json!(value));
        }
    }
    let id = system.get("iothub-messageid").cloned().unwrap_or(Value::Null);
    written(&id, system, own, &answer.body, settled)
}
