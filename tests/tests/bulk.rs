//! Actions on many devices, through the built component: their number, their memory, and lost answers. And what the
//! connector signs for a device opens the device's own endpoint.

#[path = "../../host-harness/emulator/tests/common/mod.rs"]
mod raw;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use azure_iot_emulator::EmulatorOptions;
use connector_host::Limits;
use connector_host::interface::action::{Call, Outcome};
use connector_host::interface::types::ErrorCode;
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

/// An outage in the middle ends the call. Resumed with the same token, the action goes on behind what it has done: each
/// device is sent once more at most where the service refused it, and created once.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_in_the_middle_repeats_nothing() -> Result<()> {
    const DEVICES: usize = 10_000;
    const LEAST_REQUESTS: usize = DEVICES / 100;
    let world = World::start().await?;
    let world = World { tenant: tenant_with(&world.emulator, Limits::default().with_memory_bytes(40 << 20))?, ..world };
    // The outage begins within a page of results.
    world.emulator.faults().add_text("hub:POST /devices=503+600~47")?;
    world.emulator.traffic().record(true);
    let id = |number: usize| format!("press-{number:05}");
    let devices: Vec<Value> = (0..DEVICES).map(|number| json!({ "deviceId": id(number) })).collect();
    let account = world.account();
    let input = json!({ "devices": devices }).to_string();
    let mut outcome = account.invoke("create-devices", &input, &Call::default()).await;
    let (mut results, mut last, mut outages) = (Vec::new(), None::<String>, 0);
    loop {
        let (output, token) = match outcome {
            Ok(Outcome::Done(output)) => (output, None),
            Ok(Outcome::Page(page)) => (page.output, Some(page.token)),
            Ok(other) => bail!("it answered {other:?}"),
            Err(error) => {
                ensure!(error.connector().is_some_and(|it| it.code == ErrorCode::Unavailable), "{error}");
                outages += 1;
                world.emulator.faults().clear();
                let token = last.as_deref().context("nothing was done before the outage")?;
                outcome = account.resume("create-devices", token, &Call::default()).await;
                continue;
            }
        };
        let mut output: Value = serde_json::from_str(&output)?;
        results.append(output["items"].as_array_mut().context("no results")?);
        let Some(token) = token else { break };
        outcome = account.resume("create-devices", &token, &Call::default()).await;
        last = Some(token);
    }
    ensure!(outages == 1, "{outages} outages");
    let places = results.iter().enumerate().all(|(place, it)| it["index"] == place && it["deviceId"] == id(place));
    ensure!(results.len() == DEVICES && places && count(&results, "ok") == DEVICES, "{:?}", results.last());

    let exchanges = world.emulator.traffic().take();
    let mut created = BTreeMap::<String, usize>::new();
    for exchange in exchanges.iter().filter(|exchange| exchange.status == Some(200)) {
        let entries: Vec<Value> = serde_json::from_slice(&exchange.request_body)?;
        for entry in entries {
            *created.entry(entry["id"].as_str().context("an entry without an id")?.to_owned()).or_default() += 1;
        }
    }
    ensure!(created.len() == DEVICES && created.values().all(|times| *times == 1), "{} were created", created.len());
    ensure!(exchanges.len() * 10 <= LEAST_REQUESTS * 11, "{} requests", exchanges.len());
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
