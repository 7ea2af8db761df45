//! What devices call over HTTPS, their certificates, and feedback on the messages that they receive.

#[path = "common/amqp.rs"]
mod amqp;
mod common;
#[path = "common/mqtt.rs"]
mod mqtt;

use std::time::Duration;

use amqp::within;
use azure_iot_emulator::{AmqpOptions, Emulator, EmulatorOptions};
use common::{Client, hub, policy_token, start, start_with};
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::messaging::{ApplicationProperties, Body, Message, Properties};
use fe2o3_amqp_types::primitives::SimpleValue;
use mqtt::{Identity, Mqtt, connect, device_token, hub_connect};
use mqtt_proto::QoS;
use mqtt_proto::v3::ConnectReturnCode;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

async fn with_device(options: EmulatorOptions) -> (Emulator, Client, Client) {
    let emulator = start_with(options).await;
    let back_end = hub(&emulator, "connector");
    let made = back_end.put("/devices/d", json!({"deviceId": "d"})).await.expect(200).body;
    let key = made["authentication"]["symmetricKey"]["primaryKey"].as_str().expect("key").to_owned();
    let token = device_token(&emulator, "d", &key);
    let device = Client::new(&emulator, emulator.hub_host(), Some(token));
    (emulator, back_end, device)
}

#[tokio::test]
async fn messages_are_received_under_a_lock() {
    let (_emulator, back_end, device) = with_device(EmulatorOptions::default()).await;
    let queue = "/devices/d/messages/deviceBound";
    device.get(queue).await.expect(204);
    for id in ["one", "two"] {
        let headers = [("iothub-messageid", id), ("iothub-app-colour", "blue")];
        back_end.call("POST", queue, &headers, Some(json!(id))).await.expect(204);
    }
    let first = device.get(queue).await.expect(200);
    assert_eq!(first.header("iothub-messageid"), Some("one"));
    assert_eq!(first.header("iothub-app-colour"), Some("blue"));
    assert_eq!(first.header("iothub-deliverycount"), Some("0"));
    let lock = |answer: &common::Answer| answer.header("etag").expect("lock token").trim_matches('"').to_owned();
    assert_eq!(device.get(queue).await.expect(200).header("iothub-messageid"), Some("two"));
    device.get(queue).await.expect(204);
    device.post(&format!("{queue}/{}/abandon", lock(&first)), Value::Null).await.expect(204);
    let again = device.get(queue).await.expect(200);
    assert_eq!((again.header("iothub-messageid"), again.header("iothub-deliverycount")), (Some("one"), Some("1")));
    device.delete(&format!("{queue}/{}", lock(&first))).await.expect(412);
    device.delete(&format!("{queue}/{}", lock(&again))).await.expect(204);
    let count = back_end.get("/devices/d").await.expect(200).body["cloudToDeviceMessageCount"].clone();
    assert_eq!(count, 1);
    // A device reads no other device's messages.
    device.get("/devices/e/messages/deviceBound").await.expect(401);
}

#[tokio::test]
async fn a_message_that_is_never_completed_is_dropped() {
    let (_emulator, back_end, device) = with_device(EmulatorOptions::default()).await;
    let queue = "/devices/d/messages/deviceBound";
    back_end.call("POST", queue, &[], Some(json!(1))).await.expect(204);
    for _ in 0..10 {
        let received = device.get(queue).await.expect(200);
        let lock = received.header("etag").expect("lock token").trim_matches('"').to_owned();
        device.post(&format!("{queue}/{lock}/abandon"), Value::Null).await.expect(204);
    }
    device.get(queue).await.expect(204);
}

#[tokio::test]
async fn a_file_is_uploaded_and_announced() {
    let (emulator, _back_end, device) = with_device(EmulatorOptions::default()).await;
    let begin = || device.post("/devices/d/files", json!({"blobName": "logs/day 1.txt"}));
    let place = begin().await.expect(200).body;
    assert_eq!(place["hostName"], json!(emulator.hub_host()));
    let text = |name: &str| place[name].as_str().expect("text").to_owned();
    let blob = format!("/{}/{}", text("containerName"), text("blobName").replace(' ', "%20"));
    let store = Client::new(&emulator, emulator.hub_host(), None);
    store.put(&format!("{blob}?sv=1&sig=wrong"), json!("stolen")).await.expect(403);
    let url = format!("{blob}{}", text("sasToken"));
    for (id, part) in [("MQ==", json!(1)), ("Mg==", json!(2))] {
        store.put(&format!("{url}&comp=block&blockid={}", common::encode(id)), part).await.expect(201);
    }
    let list = json!("<BlockList><Latest>MQ==</Latest><Latest>Mg==</Latest></BlockList>");
    store.put(&format!("{url}&comp=blocklist"), list).await.expect(201);
    assert_eq!(emulator.uploaded_file("d", "logs/day 1.txt"), Some("12".into()));
    assert_eq!(store.get(&url).await.expect(200).bytes, b"12");
    let notice = json!({"correlationId": text("correlationId"), "isSuccess": true, "statusCode": 200});
    device.post("/devices/d/files/notifications", notice.clone()).await.expect(204);
    assert_eq!(emulator.file_notices_left(), 1);
    device.post("/devices/d/files/notifications", notice).await.expect(400);
    // An upload that failed is ended, but not announced.
    let place = begin().await.expect(200).body;
    let path = format!("/devices/d/files/notifications/{}%20", place["correlationId"].as_str().expect("id"));
    device.post(&path, json!({"isSuccess": false, "statusCode": 500})).await.expect(204);
    assert_eq!(emulator.file_notices_left(), 1);
    for _ in 0..10 {
        begin().await.expect(200);
    }
    assert_eq!(
        begin().await.expect(403).header("iothub-errorcode"),
        Some("DeviceMaximumActiveFileUploadLimitExceeded")
    );
}

#[tokio::test]
async fn feedback_follows_what_the_device_does() {
    let amqp = AmqpOptions { feedback_wait: Duration::from_millis(100), ..AmqpOptions::default() };
    let (emulator, _back_end, https) = with_device(EmulatorOptions { amqp, ..EmulatorOptions::default() }).await;
    let host = emulator.hub_amqp_host();
    let mut service = amqp::Client::open(&emulator, &host, SaslProfile::Anonymous).await.expect("open");
    let token = policy_token(&host, emulator.hub_policy("service").expect("policy"), 600);
    assert_eq!(service.put_token(&format!("amqps://{host}"), &token).await.0, 200);
    let mut sender = Sender::attach(&mut service.session, "s", "/messages/devicebound").await.expect("sender");
    let mut feedback =
        Receiver::attach(&mut service.session, "f", "/messages/serviceBound/feedback").await.expect("receiver");
    let message = |id: &str| {
        let ack = ("iothub-ack".to_owned(), SimpleValue::from("full"));
        Message::builder()
            .properties(Properties::builder().to("/devices/d/messages/devicebound").message_id(id.to_owned()).build())
            .application_properties(ApplicationProperties([ack].into_iter().collect()))
            .data(serde_amqp::primitives::Binary::from(b"x".to_vec()))
            .build()
    };
    let mut record = async || {
        let delivery = within(feedback.recv::<Body<serde_amqp::Value>>()).await.expect("feedback");
        feedback.accept(&delivery).await.expect("accept");
        let Body::Data(sections) = &delivery.message().body else { panic!("data") };
        let bytes: Vec<u8> = sections.iter().flat_map(|section| section.0.iter().copied()).collect();
        let records: Value = serde_json::from_slice(&bytes).expect("JSON");
        records[0].clone()
    };
    within(sender.send(message("by-mqtt"))).await.expect("sent");
    let mut device = Mqtt::device(&emulator, "d").await;
    device.subscribe("devices/d/messages/devicebound/#", QoS::Level1).await;
    let received = device.received().await;
    assert!(received.topic_name.contains("iothub-ack=full"), "{}", &*received.topic_name);
    device.acknowledge(&received).await;
    let first = record().await;
    assert_eq!((&first["originalMessageId"], &first["statusCode"]), (&json!("by-mqtt"), &json!("Success")));
    drop(device);

    within(sender.send(message("by-https"))).await.expect("sent");
    let queue = "/devices/d/messages/deviceBound";
    let mut received = https.get(queue).await;
    while received.status == 204 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        received = https.get(queue).await;
    }
    assert_eq!(received.header("iothub-ack"), Some("full"));
    let lock = received.header("etag").expect("lock token").trim_matches('"').to_owned();
    https.delete(&format!("{queue}/{lock}?api-version=2021-04-12&reject")).await.expect(204);
    let second = record().await;
    assert_eq!((&second["originalMessageId"], &second["statusCode"]), (&json!("by-https"), &json!("Rejected")));
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn identity(name: &str, issuer: Option<&Issuer<'_, KeyPair>>) -> (Identity, String, String) {
    let key = KeyPair::generate().expect("key");
    let certificate = match issuer {
        Some(issuer) => named(name).signed_by(&key, issuer),
        None => named(name).self_signed(&key),
    }
    .expect("certificate");
    use sha2::Digest as _;
    let thumbprint = sha2::Sha256::digest(certificate.der()).iter().map(|byte| format!("{byte:02x}")).collect();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    (Identity { chain, key }, certificate.pem(), thumbprint)
}

#[tokio::test]
async fn certificates_prove_a_device() {
    let authority_key = KeyPair::generate().expect("key");
    let mut params = named("the plant's authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).expect("certificate").pem();
    let issuer = Issuer::from_params(&params, authority_key);
    let emulator = start_with(EmulatorOptions { device_authorities: vec![authority], ..Default::default() }).await;
    let client = hub(&emulator, "connector");
    let (own, _, thumbprint) = identity("anything", None);
    let (other, ..) = identity("anything", None);
    let authentication = json!({"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": thumbprint}});
    client.put("/devices/own", json!({"deviceId": "own", "authentication": authentication})).await.expect(200);
    let authentication = json!({"type": "certificateAuthority"});
    client.put("/devices/issued", json!({"deviceId": "issued", "authentication": authentication})).await.expect(200);
    let open = |id: &'static str, identity: Identity| {
        let emulator = &emulator;
        async move { Mqtt::open_with(emulator, hub_connect(emulator, id, None), Some(identity)).await }
    };
    let mut device = open("own", own).await.expect("connected");
    assert!(device.publish("devices/own/messages/events/", "{}").await);
    assert_eq!(open("own", other).await.err(), Some(ConnectReturnCode::NotAuthorized));
    let (issued, ..) = identity("issued", Some(&issuer));
    assert!(open("issued", issued).await.is_ok());
    let (another_name, ..) = identity("someone", Some(&issuer));
    assert_eq!(open("issued", another_name).await.err(), Some(ConnectReturnCode::NotAuthorized));
    let (self_signed, ..) = identity("issued", None);
    assert_eq!(open("issued", self_signed).await.err(), Some(ConnectReturnCode::NotAuthorized));
}

#[tokio::test]
async fn certificates_register_a_device() {
    let emulator = start().await;
    let service = common::dps(&emulator, "connector");
    let (own, pem, _) = identity("r1", None);
    let (other, ..) = identity("r1", None);
    let x509 = json!({"clientCertificates": {"primary": {"certificate": pem}}});
    let body = json!({"registrationId": "r1", "attestation": {"type": "x509", "x509": x509}});
    service.put("/enrollments/r1", body).await.expect(200);
    let user = format!("{}/registrations/r1/api-version=2019-03-31&ClientVersion=test", emulator.id_scope());
    let open = |identity| Mqtt::open_with(&emulator, connect("r1", &user, None), Some(identity));
    assert_eq!(open(other).await.err(), Some(ConnectReturnCode::NotAuthorized));
    let mut device = open(own).await.expect("connected");
    device.subscribe("$dps/registrations/res/#", QoS::Level1).await;
    assert!(device.publish("$dps/registrations/PUT/iotdps-register/?$rid=1", "{\"registrationId\":\"r1\"}").await);
    let answer = device.received().await;
    assert!(answer.topic_name.starts_with("$dps/registrations/res/202/"), "{}", &*answer.topic_name);
    assert!(emulator.twin("r1").is_some());
}

#[tokio::test]
async fn an_unusable_authority_is_named() {
    let options = EmulatorOptions { device_authorities: vec!["no certificate".to_owned()], ..Default::default() };
    let error = Emulator::start(options).await.err().expect("an error").to_string();
    assert!(error.contains("device_authorities"), "{error}");
}
