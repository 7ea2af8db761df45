//! Members that came with a version of the API. Versions that know a member show and accept it; a PUT at an older
//! version may clear it.

mod common;

use std::time::Duration;

use azure_iot_emulator::{DeviceRegistry, DpsApi, EmulatorOptions, HubApi, OlderPut};
use common::{Client, dps, hub, start_with};
use serde_json::{Value, json};

const HUB: [&str; 3] = ["2021-04-12", "2024-03-31", "2026-11-01-preview"];

fn linked(delay: Duration) -> EmulatorOptions {
    let registry = DeviceRegistry { namespace: "plant".to_owned(), delay };
    EmulatorOptions { device_registry: Some(registry), ..EmulatorOptions::default() }
}

fn at(path: &str, version: &str) -> String {
    format!("{path}?api-version={version}")
}

async fn put(client: &Client, path: &str, version: &str, body: Value) -> Value {
    let any = [("if-match", "\"*\"")];
    client.call("PUT", &at(path, version), &any, Some(body)).await.expect(200).body
}

fn device() -> Value {
    json!({
        "deviceId": "d",
        "authentication": {
            "type": "certificateAuthority",
            "policyResourceId": "/subscriptions/s/policies/p",
            "x509CaValidation": { "scheme": "s", "value": { "a": 1 } },
        },
        "attributes": { "line": "3" },
    })
}

/// Whether the document has attributes, the policy's members, and the members of Device Registry.
fn shown(device: &Value) -> [bool; 3] {
    let authentication = &device["authentication"];
    [
        !device["attributes"].is_null(),
        !authentication["policyResourceId"].is_null() && !authentication["x509CaValidation"].is_null(),
        ["adrDeviceProperties", "deviceResourceId", "armSyncStatus"].iter().all(|name| !device[*name].is_null()),
    ]
}

#[tokio::test]
async fn an_identity_shows_what_the_version_has() {
    let emulator = start_with(linked(Duration::ZERO)).await;
    let hub = hub(&emulator, "iothubowner");
    hub.call("PUT", &at("/devices/d", HUB[2]), &[], Some(device())).await.expect(200);
    for (version, expected) in HUB.into_iter().zip([[false, false, false], [true, false, false], [true, true, true]]) {
        let found = hub.get(&at("/devices/d", version)).await.expect(200).body;
        assert_eq!(shown(&found), expected, "{version}");
        let list = hub.get(&at("/devices", version)).await.expect(200).body;
        assert_eq!(shown(&list[0]), expected, "{version}");
        let twin = hub.get(&at("/twins/d", version)).await.expect(200).body;
        assert_eq!(twin.get("attributes").is_some(), expected[0], "{version}");
        assert!(twin.get("adrDeviceProperties").is_none(), "a twin never shows this member");
    }
    let found = hub.get(&at("/devices/d", HUB[2])).await.expect(200).body;
    assert_eq!(found["authentication"]["x509CaValidation"], device()["authentication"]["x509CaValidation"]);
    assert_eq!(found["adrDeviceProperties"]["name"], "d");

    hub.call(
        "PUT",
        &at("/devices/d/modules/m", HUB[1]),
        &[],
        Some(json!({ "moduleId": "m", "attributes": { "a": "b" } })),
    )
    .await
    .expect(201);
    for (version, expected) in HUB.into_iter().zip([false, true, true]) {
        let found = hub.get(&at("/devices/d/modules/m", version)).await.expect(200).body;
        assert_eq!(found.get("attributes").is_some(), expected, "{version}");
    }
}

#[tokio::test]
async fn a_put_at_an_older_version_clears_or_keeps() {
    for (older_put, kept) in [(OlderPut::Clears, false), (OlderPut::Keeps, true)] {
        let emulator = start_with(EmulatorOptions { older_put, ..linked(Duration::ZERO) }).await;
        let hub = hub(&emulator, "iothubowner");
        hub.call("PUT", &at("/devices/d", HUB[2]), &[], Some(device())).await.expect(200);
        for (version, known) in HUB.into_iter().zip([[false, false], [true, false], [true, true]]) {
            put(&hub, "/devices/d", HUB[2], device()).await;
            // The same body at each version: members that the version knows are written, all others are ignored.
            let body = device();
            put(&hub, "/devices/d", version, body).await;
            let found = hub.get(&at("/devices/d", HUB[2])).await.expect(200).body;
            assert_eq!(shown(&found), [known[0] || kept, known[1] || kept, true], "{version} {older_put:?}");
        }
        // A PUT at a version that knows the members clears those that the body leaves out.
        put(&hub, "/devices/d", HUB[2], json!({ "deviceId": "d" })).await;
        let found = hub.get(&at("/devices/d", HUB[2])).await.expect(200).body;
        assert_eq!(shown(&found), [false, false, true]);

        let dps = dps(&emulator, "connector");
        for kind in ["enrollments", "enrollmentGroups"] {
            let path = format!("/{kind}/e");
            put_new(&dps, &path, "2026-11-01", enrollment(kind, true)).await;
            assert_eq!(dps.get(&at(&path, "2021-10-01")).await.expect(200).body.get("namespaceName"), None);
            put(&dps, &path, "2021-10-01", enrollment(kind, true)).await;
            let found = dps.get(&at(&path, "2026-11-01")).await.expect(200).body;
            assert_eq!(found.get("certificatePolicyName").is_some(), kept, "{kind} {older_put:?}");
        }
    }
}

async fn put_new(client: &Client, path: &str, version: &str, body: Value) {
    client.call("PUT", &at(path, version), &[], Some(body)).await.expect(200);
}

fn enrollment(kind: &str, certificates: bool) -> Value {
    let id = if kind == "enrollments" { "registrationId" } else { "enrollmentGroupId" };
    let mut body = json!({ id: "e", "attestation": { "type": "symmetricKey" } });
    if certificates {
        body["namespaceName"] = json!("plant");
        body["certificateAuthorityName"] = json!("Factory-CA");
        body["certificatePolicyName"] = json!("short-lived");
    }
    body
}

#[tokio::test]
async fn what_the_registry_keeps_comes_later_and_cannot_be_written() {
    let emulator = start_with(linked(Duration::from_millis(600))).await;
    let hub = hub(&emulator, "iothubowner");
    let created = hub.call("PUT", &at("/devices/d", HUB[2]), &[], Some(device())).await.expect(200).body;
    assert_eq!(shown(&created), [true, true, false], "not yet");
    tokio::time::sleep(Duration::from_millis(700)).await;
    let found = hub.get(&at("/devices/d", HUB[2])).await.expect(200).body;
    assert_eq!(shown(&found), [true, true, true]);
    for version in HUB {
        for name in ["adrDeviceProperties", "deviceResourceId", "armSyncStatus"] {
            let mut body = device();
            body[name] = found[name].clone();
            let refused = hub.call("PUT", &at("/devices/d", version), &[("if-match", "\"*\"")], Some(body)).await;
            assert!(refused.expect(400).message().contains(name), "{version} {name}");
        }
    }
    let entry = json!([{ "id": "d", "importMode": "update", "adrDeviceProperties": { "uuid": "u" } }]);
    hub.call("POST", &at("/devices", HUB[2]), &[], Some(entry)).await.expect(400);
    let entry = json!([{ "id": "d", "importMode": "update", "status": "disabled" }]);
    hub.call("POST", &at("/devices", HUB[2]), &[], Some(entry)).await.expect(200);
    let found = hub.get(&at("/devices/d", HUB[2])).await.expect(200).body;
    assert_eq!(found["attributes"], device()["attributes"], "a bulk entry does not change attributes");
}

#[tokio::test]
async fn a_classic_hub_has_nothing_of_a_registry() {
    let emulator = start_with(EmulatorOptions::default()).await;
    let hub = hub(&emulator, "iothubowner");
    let created = hub.call("PUT", &at("/devices/d", HUB[2]), &[], Some(json!({ "deviceId": "d" }))).await.expect(200);
    assert_eq!(shown(&created.body), [false, false, false]);
}

#[tokio::test]
async fn services_can_be_older() {
    let options =
        EmulatorOptions { hub_api: HubApi::V2021_04_12, dps_api: DpsApi::V2021_10_01, ..EmulatorOptions::default() };
    let emulator = start_with(options).await;
    let hub = hub(&emulator, "iothubowner");
    hub.get("/devices").await.expect(200);
    for version in &HUB[1..] {
        let refused = hub.get(&at("/devices", version)).await.expect(400);
        assert_eq!(refused.message(), "ErrorCode:InvalidProtocolVersion;BadRequest");
    }
    let dps = dps(&emulator, "connector");
    dps.get("/enrollments/e").await.expect(404);
    let refused = dps.get(&at("/enrollments/e", "2026-11-01")).await.expect(400);
    assert_eq!(
        (&refused.body["errorCode"], &refused.body["message"]),
        (&json!(400_004), &json!("Unsupported API version 2026-11-01."))
    );
}

#[tokio::test]
async fn names_of_certificates_are_judged() {
    let emulator = start_with(EmulatorOptions::default()).await;
    let dps = dps(&emulator, "connector");
    for (member, bad) in [
        ("namespaceName", "Plant"),
        ("namespaceName", "pl"),
        ("namespaceName", "plant-"),
        ("certificateAuthorityName", "-ca"),
        ("certificatePolicyName", "a_b"),
    ] {
        let mut body = enrollment("enrollments", true);
        body[member] = json!(bad);
        let refused = dps.call("PUT", &at("/enrollments/e", "2026-11-01"), &[], Some(body)).await.expect(400);
        assert!(refused.body["message"].as_str().expect("a text").contains(member), "{member} {bad}");
    }
    put_new(&dps, "/enrollments/e", "2026-11-01", enrollment("enrollments", true)).await;
    let path = at("/enrollments/query", "2026-11-01");
    let query = json!({ "query": "SELECT * FROM enrollments WHERE certificatePolicyName = 'short-lived'" });
    assert_eq!(dps.post(&path, query).await.expect(200).body[0]["certificateAuthorityName"], "Factory-CA");
}

#[tokio::test]
async fn a_hub_is_named_as_it_is_linked() {
    let link = "plant.device.azure-devices.net";
    let options = EmulatorOptions { hub_link: Some(link.to_owned()), ..EmulatorOptions::default() };
    let emulator = start_with(options).await;
    let dps = dps(&emulator, "connector");
    for (id, hub, status) in [
        ("a", "plant.azure-devices.net", "failed"),
        ("b", link, "assigned"),
        ("c", "plant.service.azure-devices.net", "failed"),
    ] {
        let body = json!({ "registrationId": id, "attestation": { "type": "symmetricKey" }, "iotHubs": [hub] });
        dps.put(&format!("/enrollments/{id}"), body).await.expect(200);
        let keys = dps.post(&format!("/enrollments/{id}/attestationmechanism"), json!({})).await.expect(200).body;
        let key = keys["symmetricKey"]["primaryKey"].as_str().expect("a key").to_owned();
        let state = emulator.devices().provision(id, azure_iot_emulator::Credential::SymmetricKey(key)).await;
        let state = state.expect("a registration");
        assert_eq!(state.status, status, "{hub}");
        assert_eq!(state.assigned_hub.as_deref(), (status == "assigned").then_some(link));
    }
}
