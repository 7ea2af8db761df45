//! What tests of devices over AMQP have in common.
#![allow(dead_code, reason = "not every test binary uses all of it")]

use std::time::Duration;

use azure_iot_emulator::{DevicesOnline, Emulator, EmulatorOptions, EventSource};
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::{Delivery, Receiver, Sender};
use fe2o3_amqp_types::messaging::{Body, Data, Message};
use serde_amqp::Value;
use serde_amqp::primitives::{Binary, OrderedMap, Symbol};
use serde_json::json;

use crate::amqp::{Client, within};
use crate::common;
use crate::common::{hub, start_with, token};

pub type Received = Delivery<Body<Value>>;

/// An emulator with the device `d`, its module `m` and the device `e`, in which devices are online by their links only.
pub async fn start() -> Emulator {
    let mut options = EmulatorOptions {
        devices_online: DevicesOnline::Registered,
        system_event_routes: [EventSource::DeviceConnectionState].into(),
        ..EmulatorOptions::default()
    };
    options.amqp.feedback_wait = Duration::ZERO;
    let emulator = start_with(options).await;
    let http = hub(&emulator, "connector");
    for id in ["d", "e"] {
        http.put(&format!("/devices/{id}"), json!({ "deviceId": id })).await.expect(200);
    }
    http.put("/devices/d/modules/m", json!({ "deviceId": "d", "moduleId": "m" })).await.expect(201);
    emulator
}

/// The primary key of `d` or `d/m`, from its connection string.
pub fn key(emulator: &Emulator, id: &str) -> String {
    let connection = match id.split_once('/') {
        Some((device, module)) => emulator.module_connection_string(device, module),
        None => emulator.device_connection_string(id),
    };
    let connection = connection.expect("a device with a key");
    connection.rsplit_once("SharedAccessKey=").expect("a key").1.to_owned()
}

/// The audience of a device or module, as clients write it.
pub fn audience(emulator: &Emulator, id: &str) -> String {
    format!("{}/devices/{}", emulator.hub_amqp_host(), id.replace('/', "/modules/"))
}

pub async fn anonymous(emulator: &Emulator) -> Client {
    Client::open(emulator, &emulator.hub_amqp_host(), SaslProfile::Anonymous).await.expect("open")
}

/// A connection with a token for a device or module.
pub async fn device(emulator: &Emulator, id: &str) -> Client {
    let mut client = anonymous(emulator).await;
    let audience = audience(emulator, id);
    let token = token(&audience, &key(emulator, id), None, 600);
    assert_eq!(client.put_token(&common::encode(&audience), &token).await.0, 200);
    client
}

pub fn fields(pair: &str) -> OrderedMap<Symbol, Value> {
    let mut fields = OrderedMap::new();
    fields.insert(Symbol::from("com.microsoft:channel-correlation-id"), Value::String(pair.to_owned()));
    fields
}

pub async fn receiver(client: &mut Client, address: &str, pair: &str) -> Result<Receiver, String> {
    let attached = Receiver::builder()
        .name(format!("in-{address}-{pair}"))
        .source(address)
        .properties(fields(pair))
        .auto_accept(false)
        .attach(&mut client.session);
    within(attached).await.map_err(|error| format!("{error:?}"))
}

pub async fn sender(client: &mut Client, address: &str, pair: &str) -> Result<Sender, String> {
    let attached = Sender::builder()
        .name(format!("out-{address}-{pair}"))
        .target(address)
        .properties(fields(pair))
        .attach(&mut client.session);
    within(attached).await.map_err(|error| format!("{error:?}"))
}

/// Why a link is refused: at its attach, or by the detach that follows.
pub async fn refusal(client: &mut Client, address: &str, receives: bool) -> String {
    if receives {
        match receiver(client, address, "").await {
            Ok(mut receiver) => format!("{:?}", within(receiver.recv::<Body<Value>>()).await.expect_err("refused")),
            Err(error) => error,
        }
    } else {
        match sender(client, address, "").await {
            Ok(mut sender) => format!("{:?}", within(sender.send("x")).await.expect_err("refused")),
            Err(error) => error,
        }
    }
}

pub fn message(body: &[u8]) -> Message<Data> {
    Message::builder().data(Binary::from(body.to_vec())).build()
}

pub async fn next(receiver: &mut Receiver) -> Received {
    within(receiver.recv::<Body<Value>>()).await.expect("a message")
}

pub fn bytes(received: &Received) -> Vec<u8> {
    match &received.message().body {
        Body::Data(sections) => sections.iter().flat_map(|section| section.0.iter().copied()).collect(),
        other => panic!("{other:?}"),
    }
}

pub fn json_of(received: &Received) -> serde_json::Value {
    serde_json::from_slice(&bytes(received)).expect("JSON")
}

/// Changes the status of a device.
pub async fn http_status(emulator: &Emulator, id: &str, status: &str) {
    let body = json!({ "deviceId": id, "status": status });
    hub(emulator, "connector").put_if(&format!("/devices/{id}"), "*", body).await.expect(200);
}
