//! Devices by MQTT, on the wire.

mod common;

#[path = "common/mqtt.rs"]
mod mqtt;

use std::collections::BTreeSet;
use std::time::Duration;

use azure_iot_emulator::{DevicesOnline, Emulator, EmulatorOptions, EventBody, EventSource, TelemetryEvent};
use common::{Client, hub, start, start_with, token};
use mqtt::{Mqtt, connect, device_token, hub_connect, json as body_of, text};
use mqtt_proto::v3::{ConnectReturnCode, Packet};
use mqtt_proto::{Pid, QoS, QosPid};
use serde_json::{Value, json};

async fn with_device(options: EmulatorOptions) -> (Emulator, Client) {
    let emulator = start_with(options).await;
    let client = hub(&emulator, "connector");
    client.put("/devices/d", json!({"deviceId": "d"})).await.expect(200);
    (emulator, client)
}

fn events(emulator: &Emulator) -> Vec<TelemetryEvent> {
    let telemetry = emulator.telemetry();
    let all = (0..telemetry.partition_count()).flat_map(|partition| telemetry.events(partition));
    all.map(|(_, _, event)| event).collect()
}

/// Waits until a condition holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..200 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what} did not happen");
}

#[tokio::test]
async fn telemetry_arrives_with_its_properties() {
    let (emulator, client) = with_device(EmulatorOptions::default()).await;
    client.put("/devices/d/modules/m", json!({"deviceId": "d", "moduleId": "m"})).await.expect(201);
    let key = key_of(&client, "/devices/d").await;
    let user = format!(
        "{}/d/?api-version=2021-04-12&model-id=dtmi:example:press;1&DeviceClientType=test",
        emulator.hub_host()
    );
    let password = device_token(&emulator, "d", &key);
    let mut device = Mqtt::open(&emulator, connect("d", &user, Some(&password))).await.expect("connected");
    let properties = "%24.mid=m1&%24.cid=c1&%24.ct=application%2Fjson&%24.ce=utf-8&%24.sub=press&a%20b=c%26d&n=";
    assert!(device.publish(&format!("devices/d/messages/events/{properties}"), "{\"t\":1}").await);
    device.publish_as("devices/d/messages/events/", "plain", QosPid::Level0).await;

    let key = key_of(&client, "/devices/d/modules/m").await;
    let password = device_token(&emulator, "d/modules/m", &key);
    let mut module = Mqtt::open(&emulator, hub_connect(&emulator, "d/m", Some(&password))).await.expect("connected");
    assert!(module.publish("devices/d/modules/m/messages/events/%24.on=out1/", "{}").await);
    device.ping().await;

    let events = events(&emulator);
    assert_eq!(events.len(), 3);
    let first = &events[0];
    assert_eq!((first.message_id.as_deref(), first.correlation_id.as_deref()), (Some("m1"), Some("c1")));
    assert_eq!(
        (first.content_type.as_deref(), first.content_encoding.as_deref()),
        (Some("application/json"), Some("utf-8"))
    );
    assert_eq!((first.component.as_deref(), first.model_id.as_deref()), (Some("press"), Some("dtmi:example:press;1")));
    assert_eq!(first.properties, [("a b".to_owned(), "c&d".to_owned()), ("n".to_owned(), String::new())]);
    assert_eq!(first.body, EventBody::Data("{\"t\":1}".into()));
    let of_module = events.iter().find(|event| event.module_id.is_some()).expect("the module's event");
    assert_eq!((of_module.device_id.as_str(), of_module.module_id.as_deref()), ("d", Some("m")));
}

async fn key_of(client: &Client, path: &str) -> String {
    let identity = client.get(path).await.expect(200).body;
    identity["authentication"]["symmetricKey"]["primaryKey"].as_str().expect("key").to_owned()
}

#[tokio::test]
async fn a_method_goes_to_the_device_and_back() {
    let options = EmulatorOptions { devices_online: DevicesOnline::Registered, ..EmulatorOptions::default() };
    let (emulator, client) = with_device(options).await;
    let mut device = Mqtt::device(&emulator, "d").await;
    let call = json!({"methodName": "reboot", "payload": {"in": 5}, "responseTimeoutInSeconds": 10});
    // Connected, but not subscribed to methods.
    client.post("/twins/d/methods", call.clone()).await.expect(404);
    device.subscribe("$iothub/methods/POST/#", QoS::Level0).await;
    let answers = async {
        let method = device.received().await;
        let request = method.topic_name.strip_prefix("$iothub/methods/POST/reboot/?$rid=").expect("topic").to_owned();
        assert_eq!(body_of(&method), json!({"in": 5}));
        let topic = format!("$iothub/methods/res/207/?$rid={request}");
        device.publish_as(&topic, "{\"done\":true}", QosPid::Level0).await;
    };
    let (answer, ()) = tokio::join!(client.post("/twins/d/methods", call.clone()), answers);
    assert_eq!(answer.expect(200).body, json!({"status": 207, "payload": {"done": true}}));
    // An unsubscribed device is offline for methods again.
    let filter = mqtt_proto::TopicFilter::try_from("$iothub/methods/POST/#").expect("filter");
    let packet = mqtt_proto::v3::Unsubscribe::new(Pid::try_from(9).expect("pid"), vec![filter]);
    device.send(&packet.into()).await;
    assert!(matches!(device.packet().await, Some(Packet::Unsuback(_))));
    client.post("/twins/d/methods", call).await.expect(404);
}

#[tokio::test]
async fn a_twin_is_read_reported_and_desired() {
    let (emulator, client) = with_device(EmulatorOptions::default()).await;
    client.patch("/twins/d", json!({"properties": {"desired": {"speed": 3}}})).await.expect(200);
    let mut device = Mqtt::device(&emulator, "d").await;
    device.subscribe("$iothub/twin/res/#", QoS::Level0).await;
    device.publish_as("$iothub/twin/GET/?$rid=r1", " ", QosPid::Level0).await;
    let answer = device.received().await;
    assert_eq!(&*answer.topic_name, "$iothub/twin/res/200/?$rid=r1");
    assert_eq!(body_of(&answer), json!({"desired": {"speed": 3, "$version": 2}, "reported": {"$version": 1}}));

    assert!(device.publish("$iothub/twin/PATCH/properties/reported/?$rid=r2", "{\"temperature\":20}").await);
    assert_eq!(&*device.received().await.topic_name, "$iothub/twin/res/204/?$rid=r2&$version=2");
    assert!(device.publish("$iothub/twin/PATCH/properties/reported/?$rid=r3", "{\"a.b\":20}").await);
    let refused = device.received().await;
    assert_eq!(&*refused.topic_name, "$iothub/twin/res/400/?$rid=r3");
    assert_eq!(body_of(&refused)["errorCode"], 400_004);
    assert_eq!(emulator.twin("d").expect("twin")["properties"]["reported"]["temperature"], 20);

    device.subscribe("$iothub/twin/PATCH/properties/desired/#", QoS::Level1).await;
    client.patch("/twins/d", json!({"properties": {"desired": {"speed": null, "mode": "x"}}})).await.expect(200);
    let change = device.received().await;
    assert_eq!(&*change.topic_name, "$iothub/twin/PATCH/properties/desired/?$version=3");
    assert_eq!(body_of(&change), json!({"speed": null, "mode": "x", "$version": 3}));
    assert!(matches!(change.qos_pid, QosPid::Level1(_)));
    // Tags are none of the device's business.
    client.patch("/twins/d", json!({"tags": {"floor": 1}})).await.expect(200);
    device.ping().await;
}

#[tokio::test]
async fn messages_are_completed_by_their_acknowledgement() {
    let (emulator, client) = with_device(EmulatorOptions::default()).await;
    let send = |text: &'static str| {
        let headers = [("iothub-messageid", text), ("iothub-app-colour", "blue & red")];
        let client = &client;
        async move { client.call("POST", "/devices/d/messages/deviceBound", &headers, Some(json!(text))).await.expect(204) }
    };
    send("one").await;
    let mut device = Mqtt::device(&emulator, "d").await;
    device.subscribe("devices/d/messages/devicebound/#", QoS::Level1).await;
    let first = device.received().await;
    assert_eq!(
        &*first.topic_name,
        "devices/d/messages/devicebound/%24.mid=one&%24.to=%2Fdevices%2Fd%2Fmessages%2FdeviceBound&colour=blue%20%26%20red"
    );
    assert_eq!(text(&first), "\"one\"");
    let waiting = || async {
        let device = client.get("/devices/d").await.expect(200).body;
        device["cloudToDeviceMessageCount"].as_u64().expect("count")
    };
    assert_eq!(waiting().await, 1);
    device.acknowledge(&first).await;
    assert_eq!(waiting().await, 0);
    send("two").await;
    let second = device.received().await;
    assert_eq!(text(&second), "\"two\"");
    // What was not acknowledged comes again, after a connection that keeps its subscriptions.
    drop(device);
    let mut device = Mqtt::device(&emulator, "d").await;
    assert!(device.session_present);
    let again = device.received().await;
    assert_eq!(text(&again), "\"two\"");
    device.acknowledge(&again).await;
    assert_eq!(waiting().await, 0);
}

#[tokio::test]
async fn the_hub_says_who_is_connected() {
    let routes = BTreeSet::from([EventSource::DeviceConnectionState]);
    let (emulator, client) =
        with_device(EmulatorOptions { system_event_routes: routes, ..EmulatorOptions::default() }).await;
    let mut device = Mqtt::device(&emulator, "d").await;
    assert_eq!(client.get("/devices/d").await.expect(200).body["connectionState"], "Connected");
    device.send(&Packet::Disconnect).await;
    assert!(device.is_closed().await);
    until("the disconnection", || events(&emulator).len() == 2).await;
    let kinds: Vec<_> = events(&emulator)
        .iter()
        .map(|event| event.properties.iter().find(|(name, _)| name == "opType").expect("opType").1.clone())
        .collect();
    assert_eq!(kinds, ["deviceConnected", "deviceDisconnected"]);
    assert_eq!(client.get("/devices/d").await.expect(200).body["connectionState"], "Disconnected");
}

#[tokio::test]
async fn a_second_connection_takes_over_and_a_disabled_device_is_cut_off() {
    let (emulator, client) = with_device(EmulatorOptions::default()).await;
    let mut first = Mqtt::device(&emulator, "d").await;
    let mut second = Mqtt::device(&emulator, "d").await;
    assert!(first.is_closed().await);
    second.ping().await;
    assert_eq!(client.get("/devices/d").await.expect(200).body["connectionState"], "Connected");

    let etag = [("if-match", "*")];
    let change = |body: Value| client.call("PUT", "/devices/d", &etag, Some(body));
    change(json!({"deviceId": "d", "status": "disabled"})).await.expect(200);
    assert!(second.is_closed().await);
    let key = key_of(&client, "/devices/d").await;
    let password = device_token(&emulator, "d", &key);
    let refused = Mqtt::open(&emulator, hub_connect(&emulator, "d", Some(&password))).await.err();
    assert_eq!(refused, Some(ConnectReturnCode::NotAuthorized));

    change(json!({"deviceId": "d", "status": "enabled"})).await.expect(200);
    let mut third = Mqtt::device(&emulator, "d").await;
    let other = "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI=";
    let keys = json!({"type": "sas", "symmetricKey": {"primaryKey": other, "secondaryKey": other}});
    change(json!({"deviceId": "d", "authentication": keys})).await.expect(200);
    assert!(third.is_closed().await);
    let mut fourth = Mqtt::device(&emulator, "d").await;
    client.call("DELETE", "/devices/d", &etag, None).await.expect(204);
    assert!(fourth.is_closed().await);
}

#[tokio::test]
async fn wrong_connections_get_their_code() {
    let (emulator, client) = with_device(EmulatorOptions::default()).await;
    let key = key_of(&client, "/devices/d").await;
    let good = device_token(&emulator, "d", &key);
    let refused = |connect| {
        let emulator = &emulator;
        async move { Mqtt::open(emulator, connect).await.err() }
    };
    use ConnectReturnCode::{BadUserNameOrPassword, IdentifierRejected, NotAuthorized, UnacceptableProtocolVersion};
    let of = |password: Option<&str>| hub_connect(&emulator, "d", password);
    let host = emulator.hub_host();
    let wrong_key = device_token(&emulator, "d", "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI=");
    assert_eq!(refused(of(Some(&wrong_key))).await, Some(NotAuthorized));
    assert_eq!(refused(of(None)).await, Some(NotAuthorized));
    let expired = token(&format!("{host}/devices/d"), &key, None, -3600);
    assert_eq!(refused(of(Some(&expired))).await, Some(NotAuthorized));
    let elsewhere = token("elsewhere.azure-devices.net/devices/d", &key, None, 3600);
    assert_eq!(refused(of(Some(&elsewhere))).await, Some(NotAuthorized));
    let missing = hub_connect(&emulator, "missing", Some(&good));
    assert_eq!(refused(missing).await, Some(NotAuthorized));
    let mut another_id = of(Some(&good));
    another_id.client_id = "e".into();
    assert_eq!(refused(another_id).await, Some(IdentifierRejected));
    let mut no_name = of(Some(&good));
    no_name.username = Some("somebody".into());
    assert_eq!(refused(no_name).await, Some(BadUserNameOrPassword));
    let mut old = of(Some(&good));
    old.protocol = mqtt_proto::Protocol::V310;
    assert_eq!(refused(old).await, Some(UnacceptableProtocolVersion));
    // A policy's token is accepted, if the policy permits it.
    let policy = |name: &str| {
        let policy = emulator.hub_policy(name).expect("policy");
        token(&format!("{host}/devices/d"), &policy.primary_key, Some(name), 60)
    };
    assert_eq!(refused(of(Some(&policy("device")))).await, None);
    assert_eq!(refused(of(Some(&policy("service")))).await, Some(NotAuthorized));
}

#[tokio::test]
async fn what_the_service_does_not_know_ends_the_connection() {
    let (emulator, client) = with_device(EmulatorOptions::default()).await;
    for topic in ["devices/e/messages/events/", "somewhere", "$iothub/twin/GET/"] {
        let mut device = Mqtt::device(&emulator, "d").await;
        assert!(!device.publish(topic, "x").await, "{topic}");
    }
    let mut device = Mqtt::device(&emulator, "d").await;
    device.publish_as("devices/d/messages/events/", "x", QosPid::Level2(Pid::default())).await;
    assert!(device.is_closed().await);
    let mut device = Mqtt::device(&emulator, "d").await;
    let filter = mqtt_proto::TopicFilter::try_from("#").expect("filter");
    device.send(&mqtt_proto::v3::Subscribe::new(Pid::default(), vec![(filter, QoS::Level1)]).into()).await;
    assert!(device.is_closed().await);
    // The connection ends when its token does, and when the client is silent for too long.
    let key = key_of(&client, "/devices/d").await;
    let tolerant = token(&format!("{}/devices/d", emulator.hub_host()), &key, None, -298);
    let mut device = Mqtt::open(&emulator, hub_connect(&emulator, "d", Some(&tolerant))).await.expect("connected");
    assert!(device.is_closed().await);
    let password = device_token(&emulator, "d", &key);
    let mut silent = hub_connect(&emulator, "d", Some(&password));
    silent.keep_alive = 1;
    let mut device = Mqtt::open(&emulator, silent).await.expect("connected");
    assert!(device.is_closed().await);
    assert!(events(&emulator).is_empty());
}

#[tokio::test]
async fn fault_rules_end_connections() {
    let (emulator, _client) = with_device(EmulatorOptions::default()).await;
    emulator.faults().add_text("device:PUBLISH /messages/events=dropx1").expect("rule");
    let mut device = Mqtt::device(&emulator, "d").await;
    assert!(!device.publish("devices/d/messages/events/", "lost").await);
    let mut device = Mqtt::device(&emulator, "d").await;
    assert!(device.publish("devices/d/messages/events/", "kept").await);
    assert_eq!(events(&emulator).len(), 1);
    assert_eq!(emulator.faults().fired(), 1);
}

#[tokio::test]
async fn a_device_leaves_a_will() {
    let (emulator, client) = with_device(EmulatorOptions::default()).await;
    let key = key_of(&client, "/devices/d").await;
    let password = device_token(&emulator, "d", &key);
    let mut connect = hub_connect(&emulator, "d", Some(&password));
    connect.last_will = Some(mqtt_proto::v3::LastWill {
        qos: QoS::Level1,
        retain: false,
        topic_name: mqtt_proto::TopicName::try_from("devices/d/messages/events/").expect("topic"),
        message: "gone".into(),
    });
    drop(Mqtt::open(&emulator, connect).await.expect("connected"));
    until("the will", || !events(&emulator).is_empty()).await;
    let will = &events(&emulator)[0];
    assert_eq!(will.properties, [("iothub-MessageType".to_owned(), "Will".to_owned())]);
}

#[tokio::test]
async fn a_device_registers_and_connects() {
    let emulator = start().await;
    let key = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0";
    let attestation = json!({"type": "symmetricKey", "symmetricKey": {"primaryKey": key, "secondaryKey": key}});
    let service = common::dps(&emulator, "connector");
    let body = json!({"registrationId": "r1", "attestation": attestation});
    service.put("/enrollments/r1", body).await.expect(200);
    let scope = emulator.id_scope();
    let resource = format!("{scope}/registrations/r1");
    let user = format!("{resource}/api-version=2019-03-31&ClientVersion=test");
    let password = token(&resource, key, Some("registration"), 60);
    let wrong = token(&resource, "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI=", Some("registration"), 60);
    let refused = Mqtt::open(&emulator, connect("r1", &user, Some(&wrong))).await.err();
    assert_eq!(refused, Some(ConnectReturnCode::NotAuthorized));
    let mut device = Mqtt::open(&emulator, connect("r1", &user, Some(&password))).await.expect("connected");
    device.subscribe("$dps/registrations/res/#", QoS::Level1).await;
    let register = "$dps/registrations/PUT/iotdps-register/?$rid=a1";
    assert!(device.publish(register, "{\"registrationId\":\"r1\",\"payload\":null}").await);
    let first = device.received().await;
    assert_eq!(&*first.topic_name, "$dps/registrations/res/202/?$rid=a1&retry-after=3");
    let first = body_of(&first);
    assert_eq!(first["status"], "assigning");
    let operation = first["operationId"].as_str().expect("operation");
    let ask =
        |operation: &str| format!("$dps/registrations/GET/iotdps-get-operationstatus/?$rid=a2&operationId={operation}");
    assert!(device.publish(&ask(operation), " ").await);
    let second = device.received().await;
    assert_eq!(&*second.topic_name, "$dps/registrations/res/200/?$rid=a2");
    let second = body_of(&second);
    assert_eq!((&second["status"], &second["operationId"]), (&json!("assigned"), &json!(operation)));
    let state = &second["registrationState"];
    assert_eq!((&state["substatus"], &state["deviceId"]), (&json!("initialAssignment"), &json!("r1")));
    assert_eq!(state["assignedHub"], json!(emulator.hub_host()));
    assert!(device.publish(&ask("5.x.y"), " ").await);
    let third = device.received().await;
    assert_eq!(&*third.topic_name, "$dps/registrations/res/404/?$rid=a2");
    let mut device = Mqtt::device(&emulator, "r1").await;
    assert!(device.publish("devices/r1/messages/events/", "{}").await);
}
