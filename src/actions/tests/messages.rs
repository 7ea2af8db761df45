//! Tests of messages to devices and in the name of devices.

use serde_json::json;

use super::*;
use crate::bindings::workflow::connector::types::EffectState;

/// The path, the headers and the body of the only request.
fn only(platform: &FakePlatform) -> (String, Vec<(String, String)>, Vec<u8>) {
    let requests = platform.requests.borrow();
    assert_eq!(requests.len(), 1);
    let headers = requests[0].headers.iter().map(|(name, value)| (name.to_string(), value.clone()));
    let headers = headers.filter(|(name, _)| !matches!(name.as_str(), "accept" | "user-agent")).collect();
    (requests[0].path_with_query.clone(), headers, requests[0].body.clone().unwrap_or_default())
}

fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_device_to_cloud_message_has_the_headers_of_a_devices_own() {
    let platform = platform();
    platform.then_status(204, &[], "");
    let input = json!({
        "deviceId": "press-17",
        "body": "text, not JSON",
        "properties": { "Level": "warning", "line": 3 },
        "messageId": "m-1",
        "correlationId": "c-1",
    });
    let output = done(invoke(&platform, "send-device-to-cloud-message", input));
    assert_eq!(output, json!({ "deviceId": "press-17", "messageId": "m-1" }));
    let (path, headers, body) = only(&platform);
    assert_eq!(path, format!("/devices/press-17/messages/events?{HUB}"));
    assert_eq!(body, b"text, not JSON");
    let expected = [
        // The hub could read another content type as its own format for batches.
        ("content-type", "application/octet-stream"),
        ("iothub-messageid", "m-1"),
        ("iothub-correlationid", "c-1"),
        ("iothub-contenttype", "text/plain"),
        ("iothub-contentencoding", "utf-8"),
        ("iothub-app-level", "warning"),
        ("iothub-app-line", "3"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn a_content_type_is_the_messages_and_not_the_requests() {
    let platform = platform();
    platform.then_status(204, &[], "");
    let batch = "application/vnd.microsoft.iothub.json";
    let input = json!({ "deviceId": "d", "body": [], "contentType": batch });
    done(invoke(&platform, "send-device-to-cloud-message", input));
    let (_, headers, _) = only(&platform);
    assert_eq!(header(&headers, "content-type"), Some("application/octet-stream"));
    assert_eq!(header(&headers, "iothub-contenttype"), Some(batch));
}

#[test]
fn a_device_to_cloud_message_without_an_answer_is_not_sent_again() {
    let platform = platform();
    refusal(&platform, 500, "ServerError");
    let input = json!({ "deviceId": "d", "body": 1 });
    let error = fails(invoke(&platform, "send-device-to-cloud-message", input));
    assert_eq!((error.code(), error.record().effect), (ErrorCode::Unavailable, EffectState::Unknown));
    assert_eq!(platform.requests.borrow().len(), 1);
}

#[test]
fn a_retry_has_the_same_message_id() {
    let platform = platform();
    let keyed = Call { idempotency_key: Some("run-7/step-2".into()), ..call(false) };
    let mut ids = Vec::new();
    for body in ["a", "a", "b"] {
        platform.then_status(204, &[], "");
        let input = json!({ "deviceId": "d", "body": body }).to_string();
        let outcome = crate::actions::invoke(&platform, &connection(), "send-device-to-cloud-message", &input, &keyed);
        ids.push(done(outcome)["messageId"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
    let sent = platform.requests.borrow()[0].headers.iter().any(|(_, value)| *value == ids[0]);
    assert!(sent, "it is the id that is sent");
}

#[test]
fn what_cannot_be_sent_is_named() {
    for action in ["send-device-to-cloud-message", "send-cloud-to-device-message"] {
        let bad = |input: Value| problems(&platform(), action, input);
        assert_eq!(bad(json!({ "deviceId": "d" })), pairs(&[("/body", "missing")]));
        let input = json!({ "deviceId": "d", "body": 1, "properties": { "a": "x y", "b": [] } });
        assert_eq!(bad(input), pairs(&[("/properties/a", "characters"), ("/properties/b", "wrong-type")]));
        let input = json!({ "deviceId": "d", "body": 1, "properties": { "iothub-messageid": "x" } });
        assert_eq!(bad(input), pairs(&[("/properties/iothub-messageid", "reserved")]));
        let input = json!({ "deviceId": "d", "body": 1, "contentType": "text/plain\r\nx: y", "messageId": "a b" });
        assert_eq!(bad(input), pairs(&[("/contentType", "characters"), ("/messageId", "characters")]));
        let input = json!({ "deviceId": "d", "body": {}, "bodyEncoding": "base64" });
        assert_eq!(bad(input), pairs(&[("/body", "wrong-type")]));
        let error = fails(invoke(&platform(), action, json!({ "deviceId": "d", "body": "x".repeat(256 * 1024 + 1) })));
        assert_eq!((error.code(), error.record().effect), (ErrorCode::PayloadTooLarge, EffectState::None));
    }
    let bad = |input: Value| problems(&platform(), "send-cloud-to-device-message", input);
    let input = json!({ "deviceId": "d", "body": 1, "expiresAfterSeconds": 172_801, "acknowledgement": "some" });
    assert_eq!(bad(input), pairs(&[("/acknowledgement", "not-allowed"), ("/expiresAfterSeconds", "too-large")]));
    assert_eq!(
        bad(json!({ "deviceId": "d", "moduleId": "..", "body": 1 })),
        pairs(&[("/moduleId", "not-addressable")])
    );
    let error = fails(invoke(
        &platform(),
        "send-cloud-to-device-message",
        json!({ "deviceId": "d", "body": "x".repeat(65_537) }),
    ));
    assert_eq!(error.code(), ErrorCode::PayloadTooLarge);
}

#[test]
fn a_dry_run_shows_the_message() {
    let platform = platform();
    let input = json!({
        "deviceId": "a#1",
        "moduleId": "m",
        "body": "AP8=",
        "bodyEncoding": "base64",
        "properties": { "colour": "blue" },
        "acknowledgement": "full",
        "expiresAfterSeconds": 60,
        "messageId": "m-1",
        "correlationId": "c-1",
    });
    let plan = dry_run(&platform, "send-cloud-to-device-message", input);
    let expected = json!({
        "method": "TRANSFER",
        "url": "amqps://actions.azure-devices.net:5671/messages/devicebound",
        "headers": {
            "to": "/devices/a%231/modules/m/messages/devicebound",
            "message-id": "m-1",
            "correlation-id": "c-1",
            "content-type": "application/octet-stream",
            "absolute-expiry-time": (NOW + 60) * 1_000,
            "iothub-ack": "full",
            "application-properties": { "colour": "blue" },
        },
        "body": "AP8=",
    });
    assert_eq!(plan, expected);
    let plan = dry_run(&platform, "send-device-to-cloud-message", json!({ "deviceId": "d", "body": { "a": 1 } }));
    assert_eq!((plan["method"].as_str(), plan["body"].as_str()), (Some("POST"), Some("{\"a\":1}")));
    let plan = dry_run(&platform, "purge-cloud-to-device-messages", json!({ "deviceId": "d" }));
    assert_eq!(plan["method"], "DELETE");
    assert!(platform.requests.borrow().is_empty());
}

#[test]
fn purging_answers_how_many_there_were() {
    let platform = platform();
    platform.then_status(200, &[], r#"{"totalMessagesPurged":3,"deviceId":"d","moduleId":null}"#);
    let output = done(invoke(&platform, "purge-cloud-to-device-messages", json!({ "deviceId": "d" })));
    assert_eq!(output, json!({ "deviceId": "d", "totalMessagesPurged": 3 }));
    assert_eq!(requests(&platform), [sent(&format!("DELETE hub/devices/d/commands?{HUB}"), &[], None)]);

    platform.then_status(200, &[], "{}");
    let error = fails(invoke(&platform, "purge-cloud-to-device-messages", json!({ "deviceId": "d" })));
    assert_eq!((error.code(), error.record().effect), (ErrorCode::Protocol, EffectState::Applied));

    refusal(&platform, 500, "ServerError");
    let error = fails(invoke(&platform, "purge-cloud-to-device-messages", json!({ "deviceId": "d" })));
    assert_eq!(error.record().effect, EffectState::Unknown, "a second time would count what came in between");
    assert_eq!(platform.requests.borrow().len(), 3);
}
