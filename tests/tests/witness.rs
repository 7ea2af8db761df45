//! Microsoft's own clients as independent witnesses. They read what the component wrote, and they must read the same as
//! the component reads.

#[path = "../../host-harness/emulator/tests/common/python.rs"]
mod python;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use connector_tests::World;
use connector_tests::faults::events::{Record, mixed};
use connector_tests::witnessed::{compare, read_all};
use python::{report, run, run_script, virtual_environment};
use serde_json::{Value, json};

/// The members of a device identity that do not change by themselves.
fn identity(device: &Value) -> Value {
    json!({
        "deviceId": device["deviceId"],
        "etag": device["etag"],
        "generationId": device["generationId"],
        "status": device["status"],
        "authentication": { "type": device["authentication"]["type"] },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_reads_back_what_the_component_wrote() -> Result<()> {
    let python = tokio::task::spawn_blocking(virtual_environment).await?;
    let world = World::start().await?;
    let mut devices = BTreeMap::new();
    let mut twins = BTreeMap::new();

    // Identities with every kind of authentication, one with a name that must be encoded.
    let thumbprint = "0123456789ABCDEF0123456789ABCDEF01234567";
    let inputs = [
        json!({ "deviceId": "press-1" }),
        json!({ "deviceId": "press#2?", "status": "disabled", "statusReason": "spare part" }),
        json!({ "deviceId": "oven-1", "authentication": "selfSigned", "primaryThumbprint": thumbprint }),
        json!({ "deviceId": "oven-2", "authentication": "certificateAuthority" }),
    ];
    for input in inputs {
        let device = world.done("create-device", input).await?;
        devices.insert(device["deviceId"].as_str().context("an id")?.to_owned(), identity(&device));
    }

    // A change of status, and new keys. The Microsoft client receives the new keys.
    let before = world.done("get-device", json!({ "deviceId": "press-1" })).await?;
    let rotated = world.done("update-device", json!({ "deviceId": "press-1", "keys": "regeneratePrimary" })).await?;
    let key = |device: &Value, name: &str| device["authentication"]["symmetricKey"][name].clone();
    ensure!(key(&before, "primaryKey") != key(&rotated, "primaryKey"), "the primary key is new");
    ensure!(key(&before, "secondaryKey") == key(&rotated, "secondaryKey"), "the secondary key is the same");
    // The hub counts the messages that wait for the device.
    for number in 0..3 {
        world.done("send-cloud-to-device-message", json!({ "deviceId": "press-1", "body": { "n": number } })).await?;
    }
    let mut expected = identity(&rotated);
    expected["cloudToDeviceMessageCount"] = 3.into();
    expected["authentication"]["symmetricKey"] = rotated["authentication"]["symmetricKey"].clone();
    devices.insert("press-1".to_owned(), expected);

    // Twins with tags and desired properties, one of which is removed again.
    world.done("update-twin", json!({ "deviceId": "press-1", "tags": { "site": "north", "line": 3 }, "desired": { "interval": 30, "unit": "s" } })).await?;
    let twin = world
        .done(
            "update-twin",
            json!({ "deviceId": "press-1", "tags": { "line": null }, "desired": { "nested": { "a": [1, 2] } } }),
        )
        .await?;
    twins.insert(
        "press-1",
        json!({
            "etag": twin["etag"],
            "version": twin["version"],
            "tags": { "site": "north" },
            "properties": { "desired": { "interval": 30, "unit": "s", "nested": { "a": [1, 2] } } },
        }),
    );

    // A device that is created and deleted.
    world.done("create-device", json!({ "deviceId": "gone" })).await?;
    world.done("delete-device", json!({ "deviceId": "gone" })).await?;

    let folder = std::env::temp_dir().join(format!("connector-witness-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let written = folder.join("written.json");
    std::fs::write(&written, json!({ "devices": devices, "twins": twins, "absent": ["gone"] }).to_string())?;
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, world.emulator.ca_pem())?;
    let connection = world.emulator.hub_connection_string("connector").context("a policy")?;
    let checks = devices.len() + twins.len() + 1;
    let output = run(&python, &connection, &ca, Some(&written)).await;
    report(&output, &format!("{checks} passed, 0 failed"));
    std::fs::remove_dir_all(&folder)?;
    world.emulator.shutdown().await;
    Ok(())
}

/// Microsoft's Event Hubs client and the component read from the same emulator, and must read the same events.
#[tokio::test(flavor = "multi_thread")]
async fn the_event_hubs_sdk_and_the_component_read_the_same() -> Result<()> {
    const EVENTS: usize = 20_000;
    let python = tokio::task::spawn_blocking(virtual_environment).await?;
    let world = World::start().await?;
    let record = Record::send(&world.emulator, mixed(11, EVENTS))?;

    let folder = tempfile::tempdir()?;
    let (ca, received) = (folder.path().join("ca.pem"), folder.path().join("received.jsonl"));
    std::fs::write(&ca, world.emulator.ca_pem())?;
    let connection = world.emulator.event_hub_connection_string("service").context("a policy")?;
    let environment = vec![
        ("EVENT_HUB_CONNECTION_STRING", connection),
        ("EVENT_HUB_ENDPOINT", format!("sb://{}", world.emulator.event_hub_host())),
        ("CA_FILE", ca.to_string_lossy().into_owned()),
        ("CONSUMER_GROUP", "$Default".to_owned()),
        ("EVENTS", EVENTS.to_string()),
        ("RECEIVED_JSONL", received.to_string_lossy().into_owned()),
    ];
    let output = run_script(&python, "eventhub_dump.py", environment).await;
    report(&output, &format!("{EVENTS} events written"));
    let witness: Vec<Value> =
        std::fs::read_to_string(&received)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;

    let mut compared = 0;
    for partition in record.partitions() {
        let delivered = read_all(&world.connector, &world.tenant, &world.connection, &partition.to_string()).await?;
        let count = compare(partition, &delivered, &witness)?;
        ensure!(count == record.of(partition).len(), "partition {partition}: {count}");
        compared += count;
    }
    assert_eq!(compared, EVENTS);
    world.emulator.shutdown().await;
    Ok(())
}
