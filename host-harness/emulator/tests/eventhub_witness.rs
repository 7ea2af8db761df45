//! Microsoft's own clients as witnesses that the AMQP endpoints behave like the service.

mod common;
#[path = "common/python.rs"]
mod python;

use std::path::PathBuf;

use azure_iot_emulator::{Emulator, EmulatorOptions, EventBody, EventPosition, Service, TelemetryEvent};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use common::start_with;
use python::{report, run_script, virtual_environment};
use serde_json::{Value, json};
use time::OffsetDateTime;

const EVENTS: usize = 24_000;
/// Fewer events over WebSockets, because only the transport differs, not the events.
const EVENTS_OVER_WEB_SOCKETS: usize = 1_600;
const GROUP: &str = "witness";

/// A temporary folder for the certificate authority and the list of sent events.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("azure-iot-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("temporary directory");
        Self(folder)
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("file");
        path.to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Event number `n`. The kinds of body take turns, with properties of every sort. A few events are longer than a frame.
fn event(n: usize, start: OffsetDateTime) -> TelemetryEvent {
    let device = format!("device-{}", n % 97);
    let text = format!("{{\"number\":{n},\"text\":\"täglich {}\"}}", n * 7);
    let body = match n % 8 {
        0..=3 => EventBody::Data(Bytes::from(text)),
        4 => EventBody::Data(Bytes::from((0..n % 300).map(|byte| byte as u8).collect::<Vec<_>>())),
        5 => EventBody::MultipleData(vec![Bytes::from(text), Bytes::from_static(b"\x00\xff")]),
        6 => EventBody::Value(json!({"number": n, "list": [1.5, true, null, "x"]})),
        _ => EventBody::Sequence(vec![vec![json!(n), json!("eins")], vec![json!(-1)]]),
    };
    let body = if n % 1000 == 500 { EventBody::Data(Bytes::from(vec![b'z'; 200_000])) } else { body };
    let at = start + time::Duration::milliseconds(n as i64 / 5);
    let mut event = TelemetryEvent::new(device, body).enqueued(at);
    if n.is_multiple_of(3) {
        event = event.json().message_id(format!("message-{n}")).property("ordinal", n.to_string());
        event.correlation_id = Some(format!("correlation-{n}"));
    }
    if n.is_multiple_of(5) {
        event = event.property("überschrift", "größer").property("empty", "");
        event.model_id = Some("dtmi:example:press;1".to_owned());
        event.component = Some("thermostat".to_owned());
        event.module_id = Some("module-1".to_owned());
    }
    event
}

/// The line that tells the witness what to expect of an event.
fn line(event: &TelemetryEvent, position: &EventPosition) -> String {
    let (kind, body) = match &event.body {
        EventBody::Data(data) => ("data", json!(STANDARD.encode(data))),
        EventBody::MultipleData(parts) => {
            ("multiple", parts.iter().map(|part| STANDARD.encode(part)).collect::<Vec<_>>().into())
        }
        EventBody::Value(value) => ("value", value.clone()),
        EventBody::Sequence(lists) => ("sequence", json!(lists)),
        _ => panic!("another kind"),
    };
    let enqueued = event.enqueued.expect("time").unix_timestamp_nanos() / 1_000_000;
    let mut annotations = json!({
        "iothub-connection-device-id": event.device_id,
        "iothub-message-source": "Telemetry",
        "x-opt-offset": position.offset,
    });
    for (name, value) in [
        ("iothub-connection-module-id", &event.module_id),
        ("dt-dataschema", &event.model_id),
        ("dt-subject", &event.component),
    ] {
        if let Some(value) = value {
            annotations[name] = json!(value);
        }
    }
    json!({
        "partition": position.partition,
        "sequence": position.sequence_number,
        "offset": position.offset,
        "enqueued": i64::try_from(enqueued).expect("time"),
        "kind": kind,
        "body": body,
        "contentType": event.content_type,
        "contentEncoding": event.content_encoding,
        "messageId": event.message_id,
        "correlationId": event.correlation_id,
        "properties": event.properties.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "annotations": annotations,
    })
    .to_string()
}

async fn emulator() -> Emulator {
    let options = EmulatorOptions {
        consumer_groups: vec![GROUP.to_owned()],
        event_hub_plaintext_port: Some(0),
        ..EmulatorOptions::default()
    };
    start_with(options).await
}

/// Sends tens of thousands of events with bodies of every kind over four partitions. The Python client for Event Hubs
/// reads them from every position, as several consumers and with owner levels, and provokes every refusal.
#[tokio::test(flavor = "multi_thread")]
async fn the_event_hubs_sdk_works_unchanged() {
    let emulator = emulator().await;
    let endpoint = format!("sb://{}", emulator.event_hub_host());
    run_the_event_hubs_sdk(&emulator, "eventhub-witness", EVENTS, "Amqp", endpoint).await;
    came_as_to_the_service(&emulator, Service::EventHub);
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_hubs_sdk_works_unchanged_over_web_sockets() {
    let emulator = emulator().await;
    emulator.traffic().record(true);
    let endpoint = format!("https://{}", emulator.hub_host());
    let events = EVENTS_OVER_WEB_SOCKETS;
    run_the_event_hubs_sdk(&emulator, "web-socket-witness", events, "AmqpOverWebsocket", endpoint).await;
    came_as_to_the_service(&emulator, Service::Hub);
    let handshakes = emulator.tls_handshakes();
    assert!(handshakes.iter().all(|handshake| handshake.service != Service::EventHub), "a client used no WebSocket");
    let exchanges = emulator.traffic().exchanges();
    let opened = exchanges.iter().filter(|exchange| exchange.status == Some(101)).count();
    assert!(opened > 10, "{opened} WebSockets");
    emulator.shutdown().await;
}

async fn run_the_event_hubs_sdk(emulator: &Emulator, name: &str, events: usize, transport: &str, endpoint: String) {
    let python = tokio::task::spawn_blocking(virtual_environment).await.expect("virtual environment");
    let start = OffsetDateTime::now_utc() - time::Duration::hours(1);
    let start = start.replace_nanosecond(0).expect("whole seconds");
    let events: Vec<_> = (0..events).map(|n| event(n, start)).collect();
    let positions = emulator.telemetry().send_all(events.clone());
    let sent: Vec<_> = events.iter().zip(&positions).map(|(event, position)| line(event, position)).collect();

    let client = common::hub(emulator, "connector");
    let device = client.put("/devices/https-device", json!({"deviceId": "https-device"})).await.expect(200).body;
    let key = device["authentication"]["symmetricKey"]["primaryKey"].as_str().expect("key");
    let resource = format!("{}/devices/https-device", emulator.hub_host());

    let folder = Folder::new(name);
    let connection = emulator.event_hub_connection_string("service").expect("policy");
    // The client gets the name that the endpoint would have in Azure, and separately the real address.
    let connection = connection.replace(&emulator.event_hub_host(), "ihsuprod-witness.servicebus.windows.net");
    let environment = vec![
        ("EVENT_HUB_CONNECTION_STRING", connection),
        ("EVENT_HUB_ENDPOINT", endpoint),
        ("TRANSPORT_TYPE", transport.to_owned()),
        ("CA_FILE", folder.file("ca.pem", emulator.ca_pem())),
        ("PLAINTEXT_HOST", emulator.event_hub_plaintext_host().expect("plaintext")),
        ("CONSUMER_GROUP", GROUP.to_owned()),
        ("SENT_JSONL", folder.file("sent.jsonl", &sent.join("\n"))),
        ("DEVICE_URL", format!("https://{resource}/messages/events?api-version=2021-04-12")),
        ("DEVICE_TOKEN", common::token(&resource, key, None, 3600)),
    ];
    let output = run_script(&python, "eventhub_sdk.py", environment).await;
    report(&output, " 0 failed");
}

/// Checks that every client of this endpoint agreed on a TLS suite that the services document.
fn came_as_to_the_service(emulator: &Emulator, service: Service) {
    let handshakes = emulator.tls_handshakes();
    let mut to_it = handshakes.iter().filter(|handshake| handshake.service == service).peekable();
    assert!(to_it.peek().is_some(), "no client came to {service:?}");
    for handshake in to_it {
        assert!(handshake.suite.contains("_AES_") && handshake.suite.contains("_GCM_"), "{handshake:?}");
    }
}

/// The client for C2D messages always uses port 5671.
const AMQPS: u16 = 5671;

#[tokio::test(flavor = "multi_thread")]
async fn the_iot_hub_sdk_sends_to_devices() {
    let python = tokio::task::spawn_blocking(virtual_environment).await.expect("virtual environment");
    let options = EmulatorOptions { hub_amqp_port: AMQPS, ..EmulatorOptions::default() };
    let emulator = match Emulator::start(options).await {
        Ok(emulator) => emulator,
        Err(error) => {
            println!("SKIPPED: the client for C2D messages knows port {AMQPS} only, and {error}");
            return;
        }
    };
    let client = common::hub(&emulator, "connector");
    client.put("/devices/press-17", json!({"deviceId": "press-17"})).await.expect(200);
    let folder = Folder::new("c2d-witness");
    let policy = emulator.hub_policy("service").expect("policy");
    let environment = vec![
        ("HUB_KEY_NAME", policy.name.clone()),
        ("HUB_KEY", policy.primary_key.clone()),
        ("EVENT_HUB_ADDRESS", format!("amqps://{}/{}", emulator.event_hub_host(), emulator.event_hub_name())),
        ("CA_FILE", folder.file("ca.pem", emulator.ca_pem())),
    ];
    let output = run_script(&python, "c2d_sdk.py", environment).await;
    report(&output, " 0 failed");
    came_as_to_the_service(&emulator, Service::HubAmqp);
    let messages = emulator.devices().take_messages("press-17").await.expect("messages");
    let bodies: Vec<_> = messages.iter().map(|message| String::from_utf8_lossy(&message.body)).collect();
    assert_eq!(bodies.len(), 12, "{bodies:?}");
    assert_eq!(bodies[0], "plain");
    let second = &messages[1];
    assert_eq!(second.message_id, "id-2");
    assert_eq!(second.correlation_id.as_deref(), Some("correlation-2"));
    assert_eq!(second.content_type.as_deref(), Some("application/json"));
    assert_eq!(second.content_encoding.as_deref(), Some("utf-8"));
    assert_eq!(second.properties, [("colour".to_owned(), "blue".to_owned())]);
    let expires = second.expires.expect("expiry").unix_timestamp() - OffsetDateTime::now_utc().unix_timestamp();
    assert!((500..=600).contains(&expires), "{expires}");
    let records: Value = feedback(&client).await;
    assert_eq!(records[0]["originalMessageId"], "id-2");
    assert_eq!(records[0]["statusCode"], "Success");
    emulator.shutdown().await;
}

async fn feedback(client: &common::Client) -> Value {
    let answer = client.get("/messages/serviceBound/feedback").await.expect(200);
    let token = answer.header("etag").expect("lock token").trim_matches('"').to_owned();
    client.delete(&format!("/messages/serviceBound/feedback/{token}")).await.expect(204);
    answer.body
}
