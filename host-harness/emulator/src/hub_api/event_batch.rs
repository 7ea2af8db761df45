//! Several messages of a device in one request.
//!
//! Microsoft's HTTPS clients send a batch as a JSON array under a media type of its own. Each message has a `body`, in
//! base64 unless `base64Encoded` is false, and `properties` with the names that a single message has as headers. Source:
//! `sendEventBatch` of azure-iot-device-http 1.14.4, `HttpsBatchMessage` of the Java client.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::messages::PROPERTY_PREFIX;
use crate::clock::now;
use crate::error::{ServiceError, invalid};
use crate::messages::TelemetryMessage;
use crate::web::request::parse_json;

const MEDIA_TYPE: &str = "application/vnd.microsoft.iothub.json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    body: String,
    base64_encoded: Option<bool>,
    #[serde(default)]
    properties: Map<String, Value>,
}

/// Whether the request carries a batch.
pub(super) fn is_batch(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let media_type = media_type.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case(MEDIA_TYPE)
}

/// Reads the messages of a batch, all of them or none.
///
/// # Errors
/// 400006 for a body of another form, 400004 for a message body that is not base64 and for an empty batch.
pub(super) fn read(device_id: &str, body: &Bytes) -> Result<Vec<TelemetryMessage>, ServiceError> {
    let entries: Vec<Entry> = parse_json(body)?;
    if entries.is_empty() {
        return Err(invalid("the batch holds no message"));
    }
    entries.into_iter().enumerate().map(|(index, entry)| message(device_id, index, entry)).collect()
}

fn message(device_id: &str, index: usize, entry: Entry) -> Result<TelemetryMessage, ServiceError> {
    let body = if entry.base64_encoded.unwrap_or(true) {
        STANDARD.decode(&entry.body).map_err(|_| {
            invalid(format!("the body of message {index} is not base64; set base64Encoded to false for plain text"))
        })?
    } else {
        entry.body.into_bytes()
    };
    let mut message = TelemetryMessage {
        device_id: device_id.to_owned(),
        enqueued: now(),
        content_type: None,
        content_encoding: None,
        message_id: None,
        correlation_id: None,
        properties: Vec::new(),
        body: body.into(),
    };
    for (name, value) in entry.properties {
        let value = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "iothub-contenttype" => message.content_type = Some(value),
            "iothub-contentencoding" => message.content_encoding = Some(value),
            "iothub-messageid" => message.message_id = Some(value),
            "iothub-correlationid" => message.correlation_id = Some(value),
            _ if lower.starts_with(PROPERTY_PREFIX) => {
                message.properties.push((name[PROPERTY_PREFIX.len()..].to_owned(), value));
            }
            _ => {}
        }
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_comes_apart() {
        let text = r#"[{"body": "aGk=", "properties": {"iothub-app-Level": "1", "iothub-messageid": "m", "other": 2}},
            {"body": "aGk=", "base64Encoded": false}]"#;
        let messages = read("d", &Bytes::from(text)).expect("messages");
        assert_eq!(messages.iter().map(|message| &message.body[..]).collect::<Vec<_>>(), [&b"hi"[..], b"aGk="]);
        assert_eq!(messages[0].properties, [("Level".to_owned(), "1".to_owned())]);
        assert_eq!((messages[0].message_id.as_deref(), messages[1].message_id.as_deref()), (Some("m"), None));
        for wrong in ["[]", "{}", "[1]", r#"[{"body": "no base64!"}]"#] {
            assert!(read("d", &Bytes::from(wrong)).is_err(), "{wrong}");
        }
    }
}
