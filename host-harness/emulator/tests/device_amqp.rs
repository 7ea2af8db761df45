//! Devices over AMQP, as an independent client sees the endpoint.

#[path = "common/amqp.rs"]
mod amqp;
mod common;
#[path = "common/device.rs"]
mod device;

use std::time::Duration;

use amqp::within;
use azure_iot_emulator::{Emulator, EventSource};
use common::hub;
use device::{anonymous, bytes, device, json_of, message, next, receiver, refusal, sender, start};
use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::messaging::annotations::OwnedKey;
use fe2o3_amqp_types::messaging::{
    Annotations, ApplicationProperties, Body, MessageAnnotations, MessageId, Outcome, Properties,
};
use fe2o3_amqp_types::primitives::SimpleValue;
use serde_amqp::Value;
use serde_json::json;

#[tokio::test]
async fn telemetry_comes_with_what_the_device_says_of_it() {
    let emulator = start().await;
    let mut client = device(&emulator, "d").await;
    let mut events = sender(&mut client, "/devices/d/messages/events", "").await.expect("sender");
    let mut annotations = Annotations::new();
    annotations.insert(OwnedKey::from("dt-subject"), Value::String("thermostat".to_owned()));
    let properties = [("level", SimpleValue::Int(5)), ("on", SimpleValue::Bool(true))];
    let mut sent = message(b"{}");
    sent.message_annotations = Some(MessageAnnotations(annotations));
    sent.properties =
        Some(Properties { message_id: Some(MessageId::Uuid([0xab; 16].into())), ..Properties::default() });
    let properties = properties.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
    sent.application_properties = Some(ApplicationProperties(properties));
    assert!(matches!(within(events.send(sent)).await.expect("sent"), Outcome::Accepted(_)));
    // The link states the limit, which this client keeps.
    let long = within(events.send(message(&vec![0; 256 << 10]))).await.expect_err("too long");
    assert!(format!("{long:?}").contains("max_size: 262144"), "{long:?}");

    let telemetry = emulator.telemetry();
    let events = telemetry.events(telemetry.partition_of("d")).into_iter().map(|(_, _, event)| event);
    let events: Vec<_> = events.filter(|event| event.source == EventSource::Telemetry).collect();
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(event.component.as_deref(), Some("thermostat"));
    assert_eq!(event.message_id.as_deref(), Some("abababab-abab-abab-abab-abababababab"));
    let properties = [("level", "5"), ("on", "true")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(event.properties, properties);
}

#[tokio::test]
async fn messages_are_settled_and_feedback_says_how() {
    let emulator = start().await;
    let mut client = device(&emulator, "d").await;
    let mut messages = receiver(&mut client, "/devices/d/messages/devicebound", "").await.expect("receiver");
    let mut back_end = anonymous(&emulator).await;
    let host = emulator.hub_amqp_host();
    let service = common::policy_token(&host, emulator.hub_policy("service").expect("policy"), 600);
    assert_eq!(back_end.put_token(&host, &service).await.0, 200);
    let mut sending = sender(&mut back_end, "/messages/devicebound", "").await.expect("sender");
    let mut feedback = receiver(&mut back_end, "/messages/serviceBound/feedback", "").await.expect("receiver");
    let to_device = |id: &str| {
        let properties = [("iothub-ack".to_owned(), SimpleValue::from("full"))].into_iter().collect();
        let mut sent = message(id.as_bytes());
        sent.properties =
            Some(Properties::builder().message_id(id.to_owned()).to("/devices/d/messages/devicebound").build());
        sent.application_properties = Some(ApplicationProperties(properties));
        sent
    };
    for id in ["completed", "rejected", "dropped"] {
        assert!(matches!(within(sending.send(to_device(id))).await.expect("sent"), Outcome::Accepted(_)));
    }
    let first = next(&mut messages).await;
    assert_eq!(first.message().header.as_ref().map_or(0, |header| header.delivery_count), 0);
    messages.release(&first).await.expect("release");
    let (mut count, mut left) = (0, vec!["completed", "rejected", "dropped"]);
    while !left.is_empty() {
        let received = next(&mut messages).await;
        let id = String::from_utf8(bytes(&received)).expect("text");
        match id.as_str() {
            "completed" => {
                assert_eq!(received.message().header.as_ref().expect("header").delivery_count, 1);
                messages.accept(&received).await.expect("accept");
            }
            "rejected" => messages.reject(&received, None).await.expect("reject"),
            _ => {
                count += 1;
                messages.release(&received).await.expect("release");
            }
        }
        if id != "dropped" || count == 10 {
            left.retain(|other| *other != id);
        }
    }
    let mut statuses = Vec::new();
    while statuses.len() < 3 {
        let received = next(&mut feedback).await;
        feedback.accept(&received).await.expect("accept");
        for record in json_of(&received).as_array().expect("records") {
            let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            statuses.push((text("originalMessageId"), text("statusCode")));
        }
    }
    statuses.sort();
    let expected = [("completed", "Success"), ("dropped", "DeliveryCountExceeded"), ("rejected", "Rejected")];
    assert_eq!(statuses, expected.map(|(id, status)| (id.to_owned(), status.to_owned())));

    // What a device has not settled comes again when its link ends.
    within(sending.send(to_device("kept"))).await.expect("sent");
    let kept = next(&mut messages).await;
    drop(kept);
    messages.close().await.expect("close");
    let mut again = receiver(&mut client, "/devices/d/messages/devicebound", "again").await.expect("receiver");
    assert_eq!(bytes(&next(&mut again).await), b"kept");
}

/// Asks for something about the twin. Returns the status and the body of the answer.
async fn ask(
    (requests, answers): (&mut Sender, &mut Receiver),
    operation: &str,
    resource: Option<&str>,
    body: &str,
) -> (i32, Vec<u8>) {
    let mut annotations = Annotations::new();
    annotations.insert(OwnedKey::from("operation"), Value::String(operation.to_owned()));
    if let Some(resource) = resource {
        annotations.insert(OwnedKey::from("resource"), Value::String(resource.to_owned()));
    }
    let id = format!("{operation}-{body}");
    let mut request = message(body.as_bytes());
    request.message_annotations = Some(MessageAnnotations(annotations));
    request.properties = Some(Properties::builder().correlation_id(id.clone()).build());
    within(requests.send(request)).await.expect("sent");
    let answer = next(answers).await;
    let correlation = answer.message().properties.as_ref().and_then(|properties| properties.correlation_id.clone());
    assert_eq!(correlation, Some(MessageId::String(id)));
    let Some(Value::Int(status)) = amqp::annotation(answer.message(), "status") else { panic!("no status") };
    (status, bytes(&answer))
}

#[tokio::test]
async fn the_twin_is_read_reported_and_watched() {
    let emulator = start().await;
    let mut client = device(&emulator, "d").await;
    let mut requests = sender(&mut client, "/devices/d/twin", "twin:1").await.expect("sender");
    let mut answers = receiver(&mut client, "/devices/d/twin", "twin:1").await.expect("receiver");
    // Answers go to the link of the same pair.
    let mut other = receiver(&mut client, "/devices/d/twin", "twin:2").await.expect("receiver");
    let (status, body) = ask((&mut requests, &mut answers), "GET", None, " ").await;
    let twin: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((status, twin), (200, json!({ "desired": { "$version": 1 }, "reported": { "$version": 1 } })));
    let reported = Some("/properties/reported");
    let (status, body) = ask((&mut requests, &mut answers), "PATCH", reported, r#"{"speed": 3}"#).await;
    assert_eq!((status, body.as_slice()), (204, &b""[..]));
    assert_eq!(emulator.twin("d").expect("twin")["properties"]["reported"]["speed"], 3);
    for (operation, resource, body) in [
        ("PATCH", reported, "no JSON"),
        ("PATCH", reported, "[1]"),
        ("PATCH", Some("/properties/desired"), "{}"),
        ("BURN", None, " "),
    ] {
        let (status, body) = ask((&mut requests, &mut answers), operation, resource, body).await;
        let error: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert!(status == 400 && error["errorCode"].is_number() && error["message"].is_string(), "{status} {error}");
    }
    let http = hub(&emulator, "connector");
    let desire = async |value: i32| {
        let patch = json!({ "properties": { "desired": { "limit": value } } });
        http.patch("/twins/d", patch).await.expect(200);
    };
    let watch = Some("/notifications/twin/properties/desired");
    desire(1).await;
    assert_eq!(ask((&mut requests, &mut answers), "PUT", watch, " ").await.0, 204);
    desire(2).await;
    let notice = tokio::select! { notice = next(&mut answers) => notice, notice = next(&mut other) => notice };
    assert_eq!(json_of(&notice), json!({ "limit": 2, "$version": 3 }));
    assert!(notice.message().properties.as_ref().is_none_or(|properties| properties.correlation_id.is_none()));
    assert_eq!(ask((&mut requests, &mut answers), "DELETE", watch, " ").await.0, 204);
    desire(3).await;
    let (_, body) = ask((&mut requests, &mut answers), "GET", None, " ").await;
    let twin: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(twin["desired"], json!({ "limit": 3, "$version": 4 }), "no notice came before the answer");
}

#[tokio::test]
async fn a_method_reaches_the_device_and_its_answer_comes_back() {
    let emulator = start().await;
    let http = hub(&emulator, "connector");
    let call = json!({ "methodName": "stop", "payload": [1], "responseTimeoutInSeconds": 5 });
    http.post("/twins/d/methods", call.clone()).await.expect(404);
    let mut client = device(&emulator, "d").await;
    let mut answers = sender(&mut client, "/devices/d/methods/devicebound", "methods:1").await.expect("sender");
    http.post("/twins/d/methods", call.clone()).await.expect(404);
    let mut methods = receiver(&mut client, "/devices/d/methods/devicebound", "methods:1").await.expect("receiver");
    let device = async {
        let method = next(&mut methods).await;
        methods.accept(&method).await.expect("accept");
        let application = method.message().application_properties.as_ref().expect("application properties");
        assert_eq!(application.0.get("IoThub-methodname"), Some(&SimpleValue::from("stop")));
        assert_eq!(json_of(&method), json!([1]));
        let id = method.message().properties.as_ref().and_then(|properties| properties.correlation_id.clone());
        assert!(matches!(id, Some(MessageId::Uuid(_))), "{id:?}");
        let answer = |status: Option<i32>, body: &[u8]| {
            let mut answer = message(body);
            answer.properties = Some(Properties { correlation_id: id.clone(), ..Properties::default() });
            let status = status.map(|status| ("IoThub-status".to_owned(), SimpleValue::Int(status)));
            answer.application_properties = Some(ApplicationProperties(status.into_iter().collect()));
            answer
        };
        for (status, body) in [(None, &b"{}"[..]), (Some(1), b"no JSON")] {
            let outcome = within(answers.send(answer(status, body))).await.expect("sent");
            assert!(matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
        }
        within(answers.send(answer(Some(207), br#"{"was": 1}"#))).await.expect("sent");
    };
    let (called, ()) = tokio::join!(http.post("/twins/d/methods", call.clone()), device);
    assert_eq!(called.expect(200).body, json!({ "status": 207, "payload": { "was": 1 } }));
    methods.close().await.expect("close");
    http.post("/twins/d/methods", call).await.expect(404);
}

/// The connection states of `d` that system events tell of.
fn states(emulator: &Emulator) -> Vec<String> {
    let telemetry = emulator.telemetry();
    let events = telemetry.events(telemetry.partition_of("d"));
    let names = events.iter().flat_map(|(_, _, event)| &event.properties).filter(|(name, _)| name == "opType");
    names.map(|(_, operation)| operation.trim_start_matches("device").to_owned()).collect()
}

#[tokio::test]
async fn a_device_is_connected_from_its_first_link_to_its_last() {
    let emulator = start().await;
    let mut client = device(&emulator, "d").await;
    assert_eq!(states(&emulator), [""; 0], "a token alone connects nothing");
    let events = sender(&mut client, "/devices/d/messages/events", "").await.expect("sender");
    let messages = receiver(&mut client, "/devices/d/messages/devicebound", "").await.expect("receiver");
    assert_eq!(states(&emulator), ["Connected"]);
    events.close().await.expect("close");
    assert_eq!(states(&emulator), ["Connected"]);
    messages.close().await.expect("close");
    until(|| states(&emulator) == ["Connected", "Disconnected"]).await;

    // A second connection takes over without an event.
    let mut messages = receiver(&mut client, "/devices/d/messages/devicebound", "again").await.expect("receiver");
    let mut successor = device(&emulator, "d").await;
    let kept = sender(&mut successor, "/devices/d/messages/events", "").await.expect("sender");
    let error = format!("{:?}", within(messages.recv::<Body<Value>>()).await.expect_err("taken over"));
    assert!(error.contains("Stolen"), "{error}");
    assert_eq!(states(&emulator), ["Connected", "Disconnected", "Connected"]);
    drop((kept, successor));
    until(|| states(&emulator).len() == 4).await;
}

async fn until(done: impl Fn() -> bool) {
    within(async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn links_end_with_their_device_its_keys_and_its_token() {
    let emulator = start().await;
    let http = hub(&emulator, "connector");
    let ended = async |reason: &str, end: &dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        let mut client = device(&emulator, "d").await;
        let mut messages = receiver(&mut client, "/devices/d/messages/devicebound", "").await.expect("receiver");
        end().await;
        let error = format!("{:?}", within(messages.recv::<Body<Value>>()).await.expect_err("ended"));
        assert!(error.contains(reason), "{reason}: {error}");
        let again = refusal(&mut client, "/devices/d/messages/events", false).await;
        assert!(again.contains("UnauthorizedAccess"), "{reason}: {again}");
    };
    let put = |body: serde_json::Value| {
        let http = hub(&emulator, "connector");
        Box::pin(async move {
            http.put_if("/devices/d", "*", body).await.expect(200);
        }) as std::pin::Pin<Box<dyn Future<Output = ()>>>
    };
    ended("disabled", &|| put(json!({ "deviceId": "d", "status": "disabled" }))).await;
    http.put_if("/devices/d", "*", json!({ "deviceId": "d", "status": "enabled" })).await.expect(200);
    let keys = json!({ "primaryKey": "YWJjZGVmZ2hpamtsbW5vcA==", "secondaryKey": "YWJjZGVmZ2hpamtsbW5vcA==" });
    let body = json!({ "deviceId": "d", "authentication": { "type": "sas", "symmetricKey": keys } });
    ended("credentials", &|| put(body.clone())).await;
    let delete = || {
        let http = hub(&emulator, "connector");
        Box::pin(async move {
            http.delete("/devices/d").await.expect(204);
        }) as std::pin::Pin<Box<dyn Future<Output = ()>>>
    };
    ended("deleted", &delete).await;

    let mut client = device(&emulator, "e").await;
    let mut messages = receiver(&mut client, "/devices/e/messages/devicebound", "").await.expect("receiver");
    emulator.faults().add_text("hub-amqp:SEND /devices/e/messages/events=expirex1").expect("rule");
    let mut events = sender(&mut client, "/devices/e/messages/events", "").await.expect("sender");
    let _ = within(events.send(message(b"x"))).await;
    let error = format!("{:?}", within(messages.recv::<Body<Value>>()).await.expect_err("expired"));
    assert!(error.contains("ExpiredToken"), "{error}");
}
