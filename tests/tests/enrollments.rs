//! Enrollment groups, lists of enrollments and derived keys, against the emulated provisioning service: what a device
//! can do with them, and what is left after answers were lost.

use anyhow::{Context as _, Result};
use azure_iot_emulator::{Credential, DpsApi, EmulatorOptions};
use connector_host::interface::action::{Call, Outcome};
use connector_tests::World;
use serde_json::{Value, json};

const GROUP: &str = "create-or-update-enrollment-group";

fn outcomes(output: &Value) -> Vec<&str> {
    let items = output["items"].as_array().expect("a list");
    items.iter().map(|item| item["code"].as_str().or(item["result"].as_str()).unwrap_or_default()).collect()
}

/// The number of bulk requests so far.
fn bulk_requests(world: &World) -> usize {
    let exchanges = world.emulator.traffic().exchanges();
    exchanges.iter().filter(|exchange| exchange.method == "POST" && exchange.path == "/enrollments").count()
}

#[tokio::test]
async fn a_device_registers_with_its_derived_key() -> Result<()> {
    let world = World::start().await?;
    let group = json!({ "enrollmentGroupId": "presses", "mode": "create", "attestation": { "type": "symmetricKey" } });
    world.done(GROUP, group).await?;
    for (id, from) in [("Press-1", "primaryKey"), ("press-2", "secondaryKey")] {
        let input = json!({ "enrollmentGroupId": "PRESSES", "registrationId": id, "from": from });
        let output = world.done("derive-device-key", input).await?;
        let key = output["deviceKey"].as_str().context("a key")?.to_owned();
        world.emulator.devices().provision(id, Credential::SymmetricKey(key)).await?;
        let state = world.done("get-registration-state", json!({ "registrationId": id })).await?;
        assert_eq!(state["status"], "assigned");
    }
    // The keys stay the same although a change of the group does not name them.
    let before = world.done("get-enrollment-group-attestation", json!({ "enrollmentGroupId": "presses" })).await?;
    world.done(GROUP, json!({ "enrollmentGroupId": "presses", "provisioningStatus": "disabled" })).await?;
    world
        .done(
            "update-enrollment-groups",
            json!({ "enrollmentGroups": [{ "enrollmentGroupId": "presses", "edge": true }] }),
        )
        .await?;
    let after = world.done("get-enrollment-group-attestation", json!({ "enrollmentGroupId": "presses" })).await?;
    assert_eq!(after, before);
    let shown = world.done("get-enrollment-group", json!({ "enrollmentGroupId": "presses" })).await?;
    assert_eq!((&shown["provisioningStatus"], &shown["capabilities"]["iotEdge"]), (&json!("disabled"), &json!(true)));
    Ok(())
}

#[tokio::test]
async fn lost_answers_leave_no_entry_unknown_and_none_done_twice() -> Result<()> {
    let world = World::start().await?;
    world.emulator.traffic().record(true);
    let ids: Vec<String> = (1..=25).map(|n| format!("press-{n}")).collect();
    let entries = |more: Value| -> Vec<Value> {
        let entry = |id: &String| {
            let mut entry = more.clone();
            entry["registrationId"] = id.as_str().into();
            entry
        };
        ids.iter().map(entry).collect()
    };
    for (action, input) in [
        (
            "create-individual-enrollments",
            json!({ "enrollments": entries(json!({ "attestation": { "type": "symmetricKey" } })) }),
        ),
        (
            "update-individual-enrollments",
            json!({ "enrollments": entries(json!({ "provisioningStatus": "disabled" })) }),
        ),
        ("delete-individual-enrollments", json!({ "registrationIds": ids })),
    ] {
        // The second of three requests is carried out, and its answer is lost.
        world.emulator.faults().add_text("dps:POST /enrollments=drop-afterx1~1")?;
        let before = bulk_requests(&world);
        let output = world.done(action, input).await.with_context(|| action.to_owned())?;
        world.emulator.faults().clear();
        assert_eq!(outcomes(&output), ["ok"; 25], "{action}");
        let sent = bulk_requests(&world) - before;
        // What was deleted is found to be gone by deleting it again.
        assert_eq!(sent, if action.starts_with("delete") { 4 } else { 3 }, "{action}");
        if action.starts_with("update") {
            let found = world.done("query-individual-enrollments", json!({ "pageSize": 100 })).await?;
            let items = found["items"].as_array().context("a list")?;
            assert_eq!(items.iter().filter(|item| item["provisioningStatus"] == "disabled").count(), 25);
        }
    }
    let found = world.done("query-individual-enrollments", json!({})).await?;
    assert_eq!(found["items"], json!([]));
    Ok(())
}

#[tokio::test]
async fn each_entry_fails_for_itself() -> Result<()> {
    let world = World::start().await?;
    let entry = |id: &str| json!({ "registrationId": id, "attestation": { "type": "symmetricKey" } });
    world.done("create-individual-enrollments", json!({ "enrollments": [entry("a"), entry("b")] })).await?;
    let output = world
        .done("create-individual-enrollments", json!({ "enrollments": [entry("c"), entry("B"), entry("-d")] }))
        .await?;
    assert_eq!(outcomes(&output), ["ok", "conflict", "invalid-input"]);
    let input = json!({ "enrollments": [
        { "registrationId": "a", "edge": true, "etag": "stale" },
        { "registrationId": "missing", "edge": true },
        { "registrationId": "b", "edge": true },
    ] });
    let output = world.done("update-individual-enrollments", input).await?;
    assert_eq!(outcomes(&output), ["precondition-failed", "not-found", "ok"]);
    assert_eq!((&output["failed"], &output["unknown"]), (&json!(2), &json!(0)));
    let input = json!({ "registrationIds": ["a", "missing", "b", "c"] });
    let output = world.done("delete-individual-enrollments", input.clone()).await?;
    assert_eq!(outcomes(&output), ["ok", "not-found", "ok", "ok"]);
    let mut input = input;
    input["ifMissing"] = "ignore".into();
    assert_eq!(outcomes(&world.done("delete-individual-enrollments", input).await?), ["ok"; 4]);
    Ok(())
}

#[tokio::test]
async fn an_older_service_takes_what_it_can() -> Result<()> {
    let world = World::with(EmulatorOptions { dps_api: DpsApi::V2021_10_01, ..EmulatorOptions::default() }).await?;
    let entry = |id: &str| json!({ "enrollmentGroupId": id, "attestation": { "type": "symmetricKey" } });
    let mut newer = entry("b");
    newer["namespaceName"] = "plant".into();
    let output = world.done("create-enrollment-groups", json!({ "enrollmentGroups": [entry("a"), newer] })).await?;
    assert_eq!(outcomes(&output), ["ok", "unsupported"]);
    let change = json!({ "enrollmentGroups": [
        { "enrollmentGroupId": "a", "edge": true },
        { "enrollmentGroupId": "a2", "certificatePolicyName": "short-lived" },
    ] });
    let output = world.done("update-enrollment-groups", change).await?;
    assert_eq!(outcomes(&output), ["ok", "not-found"]);
    Ok(())
}

/// A call has not enough time for the whole list: it goes on page by page, and no entry is left out or done twice.
#[tokio::test]
async fn a_long_list_is_done_in_pages() -> Result<()> {
    let world = World::start().await?;
    let ids: Vec<String> = (0..1_200).map(|n| format!("press-{n}")).collect();
    let input = json!({ "registrationIds": ids, "ifMissing": "ignore" });
    let mut outcome = world.invoke("delete-individual-enrollments", input).await?;
    let (mut pages, mut places) = (1, Vec::new());
    loop {
        let (output, token) = match outcome {
            Outcome::Done(output) => (output, None),
            Outcome::Page(page) => (page.output, Some(page.token)),
            other => anyhow::bail!("it answered {other:?}"),
        };
        let output: Value = serde_json::from_str(&output)?;
        places.extend(output["items"].as_array().context("a list")?.iter().filter_map(|item| item["index"].as_u64()));
        let Some(token) = token else { break };
        pages += 1;
        outcome = world.account().resume("delete-individual-enrollments", &token, &Call::default()).await?;
    }
    assert_eq!((pages, places), (3, (0..1_200).collect()));
    Ok(())
}

/// The largest list that the schema allows fits into the memory that a tenant usually has.
#[tokio::test]
async fn the_longest_list_fits_into_memory() -> Result<()> {
    let world = World::start().await?;
    let entry = |n: u32| {
        json!({
            "registrationId": format!("press-{n}"),
            "attestation": { "type": "symmetricKey" },
            "initialTwin": { "tags": { "site": "north", "line": n }, "desired": { "intervalSeconds": 30 } },
        })
    };
    let entries: Vec<Value> = (0..10_000).map(entry).collect();
    let first = world.invoke("create-individual-enrollments", json!({ "enrollments": entries })).await?;
    let Outcome::Page(page) = first else { anyhow::bail!("it answered {first:?}") };
    // The token holds the other entries.
    let next = world.account().resume("create-individual-enrollments", &page.token, &Call::default()).await?;
    let Outcome::Page(next) = next else { anyhow::bail!("it answered {next:?}") };
    for output in [page.output, next.output] {
        let output: Value = serde_json::from_str(&output)?;
        assert_eq!((output["items"].as_array().map(Vec::len), &output["failed"]), (Some(500), &json!(0)));
    }
    Ok(())
}
