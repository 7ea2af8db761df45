//! The properties of a message, which are part of its topic: `name=value&name=value`, percent-encoded.
//!
//! Names that begin with `$.` are properties of the protocol, all others are the application's.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::rfc3339;
use crate::event_hub::event::TelemetryEvent;
use crate::operations::receiving::LockedMessage;
use crate::records::identity::Target;
use crate::token::decode;

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The properties in their order. A name without a value has an empty value.
pub(super) fn parse(text: &str) -> Vec<(String, String)> {
    text.trim_matches(['/', '?'])
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// A property's value.
pub(super) fn find(text: &str, name: &str) -> Option<String> {
    parse(text).into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
}

/// A telemetry message from its properties and its body. The device is set later.
pub(super) fn telemetry(text: &str, body: Bytes) -> TelemetryEvent {
    let mut event = TelemetryEvent::new("", body);
    for (name, value) in parse(text) {
        let time = || OffsetDateTime::parse(&value, &Rfc3339).ok();
        match name.as_str() {
            "$.mid" => event.message_id = Some(value),
            "$.cid" => event.correlation_id = Some(value),
            "$.uid" => event.user_id = Some(value.into()),
            "$.to" => event.to = Some(value),
            "$.ct" => event.content_type = Some(value),
            "$.ce" => event.content_encoding = Some(value),
            "$.exp" => event.absolute_expiry_time = time(),
            "$.ctime" | "iothub-creation-time-utc" => event.creation_time = time(),
            "$.sub" => event.component = Some(value),
            // The output of a module means something to an edge hub only, and other names nothing to anybody.
            name if name.starts_with("$.") => {}
            _ => event.properties.push((name, value)),
        }
    }
    event
}

/// The topic of a message to a device or module.
pub(super) fn device_bound_topic(target: &Target, locked: &LockedMessage) -> String {
    let message = &locked.message;
    let path = match &target.module {
        None => format!("devices/{}/messages", target.device),
        Some(module) => format!("devices/{}/modules/{module}/messages", target.device),
    };
    let user = message.user_id.as_ref().map(|id| String::from_utf8_lossy(id).into_owned());
    let system = [
        ("$.mid", Some(message.message_id.clone())),
        ("$.to", Some(format!("/{path}/deviceBound"))),
        ("$.cid", message.correlation_id.clone()),
        ("$.uid", user),
        ("$.ct", message.content_type.clone()),
        ("$.ce", message.content_encoding.clone()),
        ("$.exp", message.expires.filter(|_| locked.has_expiry).map(rfc3339)),
        ("iothub-ack", locked.ack.map(str::to_owned)),
    ];
    let system = system.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let pairs = system.chain(message.properties.iter().cloned());
    let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let pairs: Vec<_> = pairs.map(|(name, value)| format!("{}={}", escape(&name), escape(&value))).collect();
    format!("{path}/devicebound/{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_of_both_kinds_are_read() {
        let event =
            telemetry("%24.mid=m1&%24.ct=application%2Fjson&%24.ce=utf-8&a%20b=c%26d&n=&flag&%24.on=out1/", "1".into());
        assert_eq!(event.message_id.as_deref(), Some("m1"));
        assert_eq!(event.content_type.as_deref(), Some("application/json"));
        assert_eq!(event.content_encoding.as_deref(), Some("utf-8"));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(event.properties, [pair("a b", "c&d"), pair("n", ""), pair("flag", "")]);
        assert_eq!(find("?$rid=7&$version=2", "$version").as_deref(), Some("2"));
    }
}
