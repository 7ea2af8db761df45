//! Actions on many devices, through the built component: their number, their memory, and lost answers. And what the
//! connector signs for a device opens the device's own endpoint.

#[path = "../../host-harness/emulator/tests/common/mod.rs"]
mod raw;

use anyhow::{Context as _, Result, bail, ensure};
use azure_iot_emulator::EmulatorOptions;
use connector_host::Limits;
use connector_host::interface::action::{Call, Outcome};
use connector_tests::{World, tenant_with};
use serde_json::{Value, json};

/// Calls an action until it is done, and returns all results.
async fn all(world: &World, action: &str, input: Value) -> Result<Vec<Value>> {
    let account = world.connector.account(&world.tenant, &world.connection);
    let mut outcome = account.invoke(action, &input.to_string(), &Call::default()).await;
    let mut results = Vec::new();
    loop {
        let (output, token) = match outcome? {
            Outcome::Done(output) => (output, None),
            Outcome::Page(page) => (page.output, Some(page.token)),
            other => bail!("{action} answered {other:?}"),
        };
        let mut output: Value = serde_json::from_str(&output)?;
        results.append(output["items"].as_array_mut().context("no results")?);
        let Some(token) = token else { return Ok(results) };
        outcome = account.resume(action, &token, &Call::default()).await;
    }
}

fn count(results: &[Value], result: &str) -> usize {
    results.iter().filter(|it| it["result"] == result).count()
}

/// Ten thousand devices need little memory and no more requests than they have to; a lost answer costs its own chunk.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_devices() -> Result<()> {
    let world = World::start().await?;
    let limits = Limits::default().with_memory_bytes(40 << 20);
    let world = World { tenant: tenant_with(&world.emulator, limits)?, ..world };
    world.emulator.faults().add_text("hub:POST /devices=drop-after~30x1")?;
    world.emulator.traffic().record(true);
    let devices: Vec<Value> = (0..10_000)
        .map(|number| json!({ "deviceId": format!("press-{number:05}"), "tags": { "site": "north", "line": number % 7 } }))
        .collect();
    let results = all(&world, "create-devices", json!({ "devices": devices })).await?;
    world.emulator.faults().clear();
    ensure!(results.len() == 10_000);
    ensure!((count(&results, "ok"), count(&results, "unknown")) == (9_900, 100), "{:?}", results.first());
    let places = results.iter().enumerate().all(|(place, it)| it["index"] == place);
    ensure!(places, "the results are in the order of the list");
    let requests = world.emulator.traffic().take().len();
    ensure!(requests <= 110, "{requests} requests");
    let counted = world.done("get-registry-statistics", json!({})).await?;
    ensure!(counted["totalDeviceCount"] == 10_000, "{counted}");

    // The devices whose answer was lost exist, and repeating them is harmless.
    let unknown: Vec<Value> =
        results.iter().filter(|it| it["result"] == "unknown").map(|it| json!({ "deviceId": it["deviceId"] })).collect();
    let again = all(&world, "create-devices", json!({ "devices": unknown, "ifExists": "keep" })).await?;
    ensure!(again.iter().all(|it| it["result"] == "ok" && it["changed"] == false));

    let ids: Vec<Value> = devices.iter().map(|it| json!({ "deviceId": it["deviceId"] })).collect();
    let results = all(&world, "delete-devices", json!({ "devices": ids, "ifMissing": "ignore" })).await?;
    ensure!(count(&results, "ok") == 10_000);
    world.emulator.shutdown().await;
    Ok(())
}

/// After each rotation the keys of the output are those of the registry, even if an answer was lost.
#[tokio::test(flavor = "multi_thread")]
async fn rotated_keys_are_the_registrys() -> Result<()> {
    let world = World::start().await?;
    let devices: Vec<Value> = (0..130).map(|number| json!({ "deviceId": format!("d{number}") })).collect();
    all(&world, "create-devices", json!({ "devices": devices })).await?;
    world.emulator.faults().add_text("hub:POST /devices=drop-after~1x1")?;
    let results = all(&world, "rotate-keys-of-devices", json!({ "devices": devices, "rotate": "both" })).await?;
    ensure!(count(&results, "ok") == 130, "{:?}", results.last());
    for result in results.iter().step_by(43) {
        let device = world.done("get-device", json!({ "deviceId": result["deviceId"] })).await?;
        let keys = json!({ "primaryKey": result["primaryKey"], "secondaryKey": result["secondaryKey"] });
        ensure!(device["authentication"]["symmetricKey"] == keys, "{}", result["deviceId"]);
    }
    world.emulator.shutdown().await;
    Ok(())
}

/// The emulator's endpoint for devices takes the tokens, also of ids that a URL encodes.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_open_the_devices_own_endpoint() -> Result<()> {
    let world = World::with(EmulatorOptions::default()).await?;
    for id in ["press-1", "odd%1#?('$;@:.+,=*!)_-"] {
        world.done("create-device", json!({ "deviceId": id })).await?;
        for slot in ["primary", "secondary"] {
            let made = world.done("create-device-sas-token", json!({ "deviceId": id, "slot": slot })).await?;
            let token = made["token"].as_str().context("no token")?;
            let device = raw::Client::new(&world.emulator, world.emulator.hub_host(), Some(token.to_owned()));
            let path = format!("/devices/{}/messages/events?api-version=2021-04-12", raw::encode(id));
            device.post(&path, json!({ "temperature": 21 })).await.expect(204);
        }
    }
    let made = world.done("create-device-sas-token", json!({ "deviceId": "press-1" })).await?;
    let token = made["token"].as_str().context("no token")?.to_owned();
    world.done("rotate-device-keys", json!({ "deviceId": "press-1", "rotate": "primary" })).await?;
    let device = raw::Client::new(&world.emulator, world.emulator.hub_host(), Some(token));
    device.post("/devices/press-1/messages/events?api-version=2021-04-12", json!({})).await.expect(401);
    world.emulator.shutdown().await;
    Ok(())
}
