//! Accounts of each generation: a classic hub, a hub that is linked to Device Registry, and provisioning services with
//! and without version 2026-11-01. The emulator clears members that an older PUT does not know, so a lost member is
//! noticed.

use std::time::Duration;

use anyhow::{Context as _, Result};
use azure_iot_emulator::{DeviceRegistry, DpsApi, EmulatorOptions, HubApi};
use connector_host::interface::trigger::{Payload, Start};
use connector_host::interface::types::{EffectState, ErrorCode};
use connector_tests::World;
use serde_json::{Value, json};

#[path = "../../host-harness/emulator/tests/common/mod.rs"]
mod raw;

const HUB: &str = "api-version=2026-11-01-preview";
const DPS: &str = "api-version=2026-11-01";
const ENROLL: &str = "create-or-update-individual-enrollment";

fn linked(hub_api: HubApi) -> EmulatorOptions {
    let registry = DeviceRegistry { namespace: "plant".to_owned(), delay: Duration::ZERO };
    EmulatorOptions { hub_api, device_registry: Some(registry), ..EmulatorOptions::default() }
}

fn older_dps() -> EmulatorOptions {
    EmulatorOptions { dps_api: DpsApi::V2021_10_01, ..EmulatorOptions::default() }
}

/// The members of an identity that an update of other members must not change.
fn precious(device: &Value) -> Value {
    json!([
        device["attributes"],
        device["authentication"]["policyResourceId"],
        device["authentication"]["x509CaValidation"],
        device["adrDeviceProperties"],
    ])
}

#[tokio::test]
async fn a_linked_device_loses_nothing_by_any_change() -> Result<()> {
    let world = World::with(linked(HubApi::default())).await?;
    let hub = raw::hub(&world.emulator, "iothubowner");
    let path = format!("/devices/press-1?{HUB}");
    let device = json!({
        "deviceId": "press-1",
        "authentication": {
            "type": "sas",
            "policyResourceId": "/subscriptions/s/policies/p",
            "x509CaValidation": { "scheme": "s", "value": { "a": [1, null] } },
        },
        "attributes": { "line": "3", "adrDeviceProperties": "a user's own" },
    });
    hub.call("PUT", &path, &[], Some(device)).await.expect(200);
    let before = hub.get(&path).await.expect(200).body;
    assert!(before["adrDeviceProperties"]["uuid"].is_string() && before["armSyncStatus"].is_object());
    for change in [
        json!({ "status": "disabled", "statusReason": "Lost" }),
        json!({ "status": "enabled", "statusReason": "" }),
        json!({ "keys": "regenerateSecondary" }),
        json!({ "keys": "swap" }),
        json!({ "edge": true }),
    ] {
        let mut input = change.clone();
        input["deviceId"] = json!("press-1");
        let output = world.done("update-device", input).await?;
        assert_eq!(precious(&output), precious(&before), "{change}: the output");
        let after = hub.get(&path).await.expect(200).body;
        assert_eq!(precious(&after), precious(&before), "{change}");
        assert_ne!(after["etag"], before["etag"], "{change}: it was written");
    }
    // A device that the connector created itself also has members of the registry.
    world.done("create-device", json!({ "deviceId": "press-2" })).await?;
    let output = world.done("update-device", json!({ "deviceId": "press-2", "status": "disabled" })).await?;
    assert_eq!((&output["adrDeviceProperties"]["name"], &output["status"]), (&json!("press-2"), &json!("disabled")));
    Ok(())
}

#[tokio::test]
async fn hubs_of_each_age_take_an_update() -> Result<()> {
    for (hub_api, requests) in [(HubApi::V2021_04_12, 4), (HubApi::V2024_03_31, 3), (HubApi::V2026_11_01_preview, 2)] {
        let world = World::with(EmulatorOptions { hub_api, ..EmulatorOptions::default() }).await?;
        world.done("create-device", json!({ "deviceId": "press-1" })).await?;
        world.emulator.traffic().record(true);
        let input = json!({ "deviceId": "press-1", "status": "disabled" });
        assert_eq!(world.done("update-device", input).await?["status"], "disabled");
        let seen = world.emulator.traffic().take();
        assert_eq!(seen.len(), requests, "{hub_api}");
        let last = seen.last().context("a request")?;
        assert_eq!((last.method.as_str(), last.query.as_str()), ("PUT", "api-version=2021-04-12"), "{hub_api}");
    }
    // Attributes are older than Device Registry, so an older version has them too.
    let world = World::with(linked(HubApi::V2024_03_31)).await?;
    let hub = raw::hub(&world.emulator, "iothubowner");
    let path = "/devices/press-1?api-version=2024-03-31";
    hub.call("PUT", path, &[], Some(json!({ "deviceId": "press-1", "attributes": { "line": "3" } }))).await.expect(200);
    world.done("update-device", json!({ "deviceId": "press-1", "status": "disabled" })).await?;
    assert_eq!(hub.get(path).await.expect(200).body["attributes"], json!({ "line": "3" }));
    Ok(())
}

fn certificates() -> Value {
    json!({ "namespaceName": "plant", "certificateAuthorityName": "Factory-CA", "certificatePolicyName": "short-lived" })
}

fn with(mut input: Value, members: &Value) -> Value {
    if let (Some(input), Some(members)) = (input.as_object_mut(), members.as_object()) {
        input.extend(members.clone());
    }
    input
}

fn named(enrollment: &Value) -> Value {
    let names = ["namespaceName", "certificateAuthorityName", "certificatePolicyName"];
    names.iter().map(|name| enrollment[*name].clone()).collect()
}

#[tokio::test]
async fn certificates_of_an_enrollment_are_set_shown_and_kept() -> Result<()> {
    let world = World::start().await?;
    let all = json!(["plant", "Factory-CA", "short-lived"]);
    let trigger = "individual-enrollment-changed";
    let (_, cursor) = world.drain(trigger, json!({}), Start::Now, None).await?;
    for (id, mode) in [("loom-1", "create"), ("loom-2", "createOrUpdate")] {
        let input = json!({ "registrationId": id, "mode": mode, "attestation": { "type": "symmetricKey" } });
        let output = world.done(ENROLL, with(input, &certificates())).await?;
        assert_eq!(named(&output), all, "{mode}");
    }
    for change in [
        json!({ "provisioningStatus": "disabled" }),
        json!({ "deviceId": "other" }),
        json!({ "attestation": { "type": "symmetricKey" } }),
        json!({ "initialTwin": { "tags": { "site": "north" } } }),
    ] {
        let output = world.done(ENROLL, with(json!({ "registrationId": "loom-1" }), &change)).await?;
        assert_eq!(named(&output), all, "{change}");
    }
    let one = json!({ "registrationId": "loom-1", "certificatePolicyName": "long-lived" });
    let output = world.done(ENROLL, one).await?;
    assert_eq!(named(&output), json!(["plant", "Factory-CA", "long-lived"]));

    let got = world.done("get-individual-enrollment", json!({ "registrationId": "loom-2" })).await?;
    assert_eq!(named(&got), all);
    let found = world.done("query-individual-enrollments", json!({})).await?;
    assert_eq!(named(&found["items"][1]), all);
    let (events, _) = world.drain(trigger, json!({}), Start::Now, Some(cursor)).await?;
    let data = events.iter().map(|event| match &event.data {
        Payload::Json(text) => serde_json::from_str::<Value>(text).map_err(Into::into),
        other => anyhow::bail!("{other:?}"),
    });
    let shown: Vec<Value> = data.map(|data| Ok(named(&data?["enrollment"]))).collect::<Result<_>>()?;
    assert_eq!(shown, [json!(["plant", "Factory-CA", "long-lived"]), all]);
    Ok(())
}

#[tokio::test]
async fn an_older_provisioning_service_is_served_and_never_drops_silently() -> Result<()> {
    let world = World::with(older_dps()).await?;
    let input =
        |mode: &str| json!({ "registrationId": "loom-1", "mode": mode, "attestation": { "type": "symmetricKey" } });
    for mode in ["create", "createOrUpdate"] {
        let error = world.refused(ENROLL, with(input(mode), &certificates())).await?;
        assert_eq!((error.code, error.effect), (ErrorCode::Unsupported, EffectState::None), "{mode}: {error:?}");
        let pointers: Vec<&str> = error.fields.iter().map(|field| field.pointer.as_str()).collect();
        assert_eq!(pointers, ["/namespaceName", "/certificateAuthorityName", "/certificatePolicyName"]);
        assert!(error.message.contains("2026-11-01"), "{}", error.message);
        let error = world.refused("get-individual-enrollment", json!({ "registrationId": "loom-1" })).await?;
        assert_eq!(error.code, ErrorCode::NotFound, "no enrollment was created");
    }
    // Every other operation still works.
    world.done(ENROLL, input("createOrUpdate")).await?;
    world.done(ENROLL, json!({ "registrationId": "loom-1", "provisioningStatus": "disabled" })).await?;
    let update = json!({ "registrationId": "loom-1", "certificatePolicyName": "long-lived" });
    assert_eq!(world.refused(ENROLL, update).await?.fields[0].pointer, "/certificatePolicyName");
    let got = world.done("get-individual-enrollment", json!({ "registrationId": "loom-1" })).await?;
    assert_eq!(got["provisioningStatus"], "disabled");
    let found = world.done("query-individual-enrollments", json!({})).await?;
    assert_eq!(found["items"][0]["registrationId"], "loom-1");
    let (events, _) = world.drain("individual-enrollment-changed", json!({}), Start::Earliest, None).await?;
    assert_eq!(events.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_refused_create_leaves_an_enrollment_of_the_portal_alone() -> Result<()> {
    // Another client created the enrollment with the newer version. A PUT with the older version would clear the names.
    let world = World::start().await?;
    let dps = raw::dps(&world.emulator, "connector");
    let body = with(json!({ "registrationId": "loom-1", "attestation": { "type": "symmetricKey" } }), &certificates());
    dps.call("PUT", &format!("/enrollments/loom-1?{DPS}"), &[], Some(body)).await.expect(200);
    let create = json!({ "registrationId": "loom-1", "mode": "create", "attestation": { "type": "symmetricKey" } });
    assert_eq!(world.refused(ENROLL, create).await?.code, ErrorCode::Conflict);
    world.done(ENROLL, json!({ "registrationId": "loom-1", "provisioningStatus": "disabled" })).await?;
    let found = dps.get(&format!("/enrollments/loom-1?{DPS}")).await.expect(200).body;
    assert_eq!(
        (named(&found), &found["provisioningStatus"]),
        (json!(["plant", "Factory-CA", "short-lived"]), &json!("disabled"))
    );
    Ok(())
}

#[tokio::test]
async fn a_hub_is_named_to_the_service_exactly_as_it_is_linked() -> Result<()> {
    let link = "plant.device.azure-devices.net";
    let world = World::with(EmulatorOptions { hub_link: Some(link.to_owned()), ..EmulatorOptions::default() }).await?;
    let input = json!({ "registrationId": "loom-1", "attestation": { "type": "symmetricKey" }, "iotHubs": [link], "includeKeys": true });
    let output = world.done(ENROLL, input).await?;
    assert_eq!(output["iotHubs"], json!([link]));
    let key = output["attestation"]["symmetricKey"]["primaryKey"].as_str().context("a key")?.to_owned();
    world.emulator.devices().provision("loom-1", azure_iot_emulator::Credential::SymmetricKey(key)).await?;
    let state = world.done("get-registration-state", json!({ "registrationId": "loom-1" })).await?;
    assert_eq!((&state["status"], &state["assignedHub"]), (&json!("assigned"), &json!(link)));
    Ok(())
}

#[tokio::test]
async fn an_id_with_an_apostrophe_is_found_by_a_query() -> Result<()> {
    let world = World::start().await?;
    let twins = "device-twin-changed";
    for id in ["o'hara", "other"] {
        world.done("create-device", json!({ "deviceId": id })).await?;
        world.done("update-twin", json!({ "deviceId": id, "tags": { "group": "north", "my-tag": 1 } })).await?;
    }
    let config = json!({ "condition": "tags.[[group]] = 'north' AND tags.[[my-tag]] = 1" });
    let (_, cursor) = world.drain(twins, config.clone(), Start::Now, None).await?;
    let listed =
        world.done("list-devices", json!({ "condition": r"deviceId = 'o\'hara'", "select": "summary" })).await?;
    assert_eq!(listed["items"][0]["deviceId"], "o'hara");
    let reserved = world.refused("list-devices", json!({ "condition": "tags.group = 'north'" })).await?;
    assert_eq!(reserved.code, ErrorCode::InvalidInput);

    // The device no longer meets the condition. The trigger forgets it, and fires no event for a deletion.
    world.done("update-twin", json!({ "deviceId": "o'hara", "tags": { "group": "south" } })).await?;
    let (events, cursor) = world.drain(twins, config.clone(), Start::Now, Some(cursor)).await?;
    assert_eq!(events.len(), 0);
    world.done("update-twin", json!({ "deviceId": "o'hara", "tags": { "group": "north" } })).await?;
    let (events, _) = world.drain(twins, config, Start::Now, Some(cursor)).await?;
    let types: Vec<&str> = events.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types, ["azure.iot.hub.twin.created"], "a device that left the condition comes back as a new one");
    Ok(())
}
