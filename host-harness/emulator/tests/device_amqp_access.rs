//! Who may attach where over AMQP: devices, modules, back ends, and devices that register.

#[path = "common/amqp.rs"]
mod amqp;
mod common;
#[path = "common/device.rs"]
mod device;

use amqp::{Client, within};
use common::token;
use device::{anonymous, audience, device, http_status, json_of, key, message, next, receiver, refusal, sender, start};
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp_types::messaging::{ApplicationProperties, Outcome, Properties};
use fe2o3_amqp_types::primitives::SimpleValue;
use serde_json::json;

#[tokio::test]
async fn a_device_attaches_at_its_own_addresses_only() {
    let emulator = start().await;
    let mut client = device(&emulator, "d").await;
    sender(&mut client, "/devices/d/messages/events", "").await.expect("its own address");
    for (address, receives) in [
        ("/devices/e/messages/events", false),
        ("/devices/D/messages/events", false),
        ("/devices/d/modules/m/messages/events", false),
        ("/devices/d/modules/m/twin", true),
        ("/messages/devicebound", false),
        ("/messages/serviceBound/feedback", true),
    ] {
        let error = refusal(&mut client, address, receives).await;
        assert!(error.contains("UnauthorizedAccess"), "{address}: {error}");
    }
    for (address, receives) in [("/devices/d/messages/events", true), ("/devices/d/files", false)] {
        let error = refusal(&mut client, address, receives).await;
        assert!(error.contains("NotFound"), "{address}: {error}");
    }
    let mut module = device(&emulator, "d/m").await;
    sender(&mut module, "/devices/d/modules/m/messages/events", "").await.expect("its own address");
    let error = refusal(&mut module, "/devices/d/messages/events", false).await;
    assert!(error.contains("UnauthorizedAccess"), "{error}");

    // A back end has no claim to the addresses of devices, unless its policy has `DeviceConnect` and names the device.
    let mut back_end = anonymous(&emulator).await;
    let host = emulator.hub_amqp_host();
    let service = common::policy_token(&host, emulator.hub_policy("service").expect("policy"), 600);
    assert_eq!(back_end.put_token(&host, &service).await.0, 200);
    let error = refusal(&mut back_end, "/devices/e/messages/events", false).await;
    assert!(error.contains("UnauthorizedAccess"), "{error}");
    assert_eq!(back_end.put_token(&audience(&emulator, "e"), &service).await.0, 401);
    let gateway = common::policy_token(&host, emulator.hub_policy("device").expect("policy"), 600);
    assert_eq!(back_end.put_token(&audience(&emulator, "e"), &gateway).await.0, 200);
    sender(&mut back_end, "/devices/e/messages/events", "").await.expect("a gateway");
}

#[tokio::test]
async fn only_the_key_of_a_device_opens_its_addresses() {
    let emulator = start().await;
    let mut client = anonymous(&emulator).await;
    let own = audience(&emulator, "d");
    for (audience_of, resource, key_of, lifetime) in [
        (own.clone(), own.clone(), "e", 600),
        (own.clone(), own.clone(), "d/m", 600),
        (own.clone(), audience(&emulator, "e"), "d", 600),
        (own.clone(), own.clone(), "d", -600),
        (own.clone(), "elsewhere.azure-devices.net/devices/d".to_owned(), "d", 600),
        (audience(&emulator, "missing"), audience(&emulator, "missing"), "d", 600),
    ] {
        let token = token(&resource, &key(&emulator, key_of), None, lifetime);
        let (status, description) = client.put_token(&audience_of, &token).await;
        assert_eq!(status, 401, "{audience_of} {resource} {key_of}: {description}");
    }
    let plain =
        |user: &str, password: &str| SaslProfile::Plain { username: user.to_owned(), password: password.to_owned() };
    let good = token(&own, &key(&emulator, "d"), None, 600);
    let host = emulator.hub_amqp_host();
    let mut logged_in = Client::open(&emulator, &host, plain("d@sas.localhost", &good)).await.expect("open");
    sender(&mut logged_in, "/devices/d/messages/events", "").await.expect("its own address");
    for user in ["e@sas.localhost", "d@sas.root.localhost"] {
        assert!(Client::open(&emulator, &host, plain(user, &good)).await.is_err(), "{user}");
    }
    http_status(&emulator, "d", "disabled").await;
    let (status, _) = client.put_token(&own, &good).await;
    assert_eq!(status, 200, "a token says nothing about the status");
    let error = refusal(&mut client, "/devices/d/messages/events", false).await;
    assert!(error.contains("UnauthorizedAccess") && error.contains("403012"), "{error}");
}

#[tokio::test]
async fn a_device_registers_only_itself() {
    let emulator = start().await;
    let key = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=";
    let dps = common::dps(&emulator, "connector");
    for id in ["r", "s"] {
        let keys = json!({ "primaryKey": key, "secondaryKey": key });
        let attestation = json!({ "type": "symmetricKey", "symmetricKey": keys });
        let enrollment = json!({ "registrationId": id, "attestation": attestation });
        dps.put(&format!("/enrollments/{id}"), enrollment).await.expect(200);
    }
    let scope = emulator.id_scope();
    let host = emulator.hub_amqp_host();
    let login = |scope: &str, id: &str, key: &str| {
        let resource = format!("{scope}/registrations/{id}");
        SaslProfile::Plain { username: resource.clone(), password: token(&resource, key, None, 600) }
    };
    let wrong = "YWJjZGVmZ2hpamtsbW5vcA==";
    for (scope, id, key) in [(scope, "r", wrong), (scope, "missing", key), ("0neother", "r", key)] {
        assert!(Client::open(&emulator, &host, login(scope, id, key)).await.is_err(), "{scope} {id}");
    }
    let mut client = Client::open(&emulator, &host, login(scope, "r", key)).await.expect("open");
    let error = refusal(&mut client, &format!("{scope}/registrations/s"), false).await;
    assert!(error.contains("UnauthorizedAccess"), "{error}");
    let error = refusal(&mut client, "/devices/d/messages/events", false).await;
    assert!(error.contains("UnauthorizedAccess"), "{error}");
    let mut stranger = anonymous(&emulator).await;
    let error = refusal(&mut stranger, &format!("{scope}/registrations/r"), true).await;
    assert!(error.contains("UnauthorizedAccess"), "{error}");

    let address = format!("{scope}/registrations/r");
    let mut requests = sender(&mut client, &address, "").await.expect("sender");
    let mut answers = receiver(&mut client, &address, "").await.expect("receiver");
    let request = |properties: &[(&str, &str)]| {
        let mut request = message(b"{}");
        request.properties = Some(Properties::builder().correlation_id("c".to_owned()).build());
        let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), SimpleValue::from(*value)));
        request.application_properties = Some(ApplicationProperties(properties.collect()));
        request
    };
    within(requests.send(request(&[("iotdps-operation-type", "iotdps-register")]))).await.expect("sent");
    let answer = next(&mut answers).await;
    let application = answer.message().application_properties.as_ref().expect("application properties");
    assert_eq!(application.0.get("retry-after"), Some(&SimpleValue::Int(3)));
    let body = json_of(&answer);
    assert_eq!(body["status"], "assigning");
    let operation = body["operationId"].as_str().expect("an operation");
    let status = [("iotdps-operation-type", "iotdps-get-operationstatus"), ("iotdps-operation-id", operation)];
    within(requests.send(request(&status))).await.expect("sent");
    let body = json_of(&next(&mut answers).await);
    assert_eq!((&body["status"], &body["registrationState"]["deviceId"]), (&json!("assigned"), &json!("r")));
    for wrong in [
        vec![("iotdps-operation-type", "iotdps-burn")],
        vec![("iotdps-operation-type", "iotdps-get-operationstatus"), ("iotdps-operation-id", "other")],
    ] {
        let outcome = within(requests.send(request(&wrong))).await.expect("sent");
        assert!(matches!(outcome, Outcome::Rejected(_)), "{wrong:?}: {outcome:?}");
    }
}
