//! The collection triggers through the built component: every change is delivered once, with many pages, faults,
//! crashes and upgrades.

#[path = "../../host-harness/emulator/tests/common/mod.rs"]
mod common;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use azure_iot_emulator::{Credential, EmulatorOptions};
use connector_host::interface::metadata::{Stored, StoredCursor};
use connector_host::interface::trigger::{Event, LostPolicy, Payload, PollRequest, Start};
use connector_host::interface::types::{Cursor, ErrorCode};
use connector_tests::World;
use serde_json::{Value, json};

const ENROLLMENTS: &str = "individual-enrollment-changed";
const REGISTRATIONS: &str = "registration-status-changed";
const CONFIGURATIONS: &str = "service-configuration-changed";
const TWINS: &str = "device-twin-changed";

fn data(event: &Event) -> Value {
    match &event.data {
        Payload::Json(text) => serde_json::from_str(text).expect("an event's data is JSON"),
        other => panic!("not JSON: {other:?}"),
    }
}

/// The change and the id of each event, sorted.
fn changes(events: &[Event]) -> Vec<(String, String)> {
    let mut changes: Vec<_> = events
        .iter()
        .map(|event| (data(event)["change"].as_str().unwrap_or_default().to_owned(), event.order_key.clone()))
        .collect();
    changes.sort();
    changes
}

fn expected(changes: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut expected: Vec<_> = changes.iter().map(|(change, id)| ((*change).to_owned(), (*id).to_owned())).collect();
    expected.sort();
    expected
}

async fn enroll(world: &World, ids: impl IntoIterator<Item = String>) -> Result<()> {
    let client = common::dps(&world.emulator, "connector");
    for id in ids {
        let body = json!({ "registrationId": id, "attestation": { "type": "symmetricKey", "symmetricKey": {} } });
        client.put(&format!("/enrollments/{id}"), body).await.expect(200);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn enrollments_are_told_once_over_pages_and_faults() -> Result<()> {
    let options = EmulatorOptions { max_page_size: 100, ..EmulatorOptions::default() };
    let world = World::with(options).await?;
    enroll(&world, (0..650).map(|index| format!("press-{index:04}"))).await?;

    let (events, cursor) = world.drain(ENROLLMENTS, json!({}), Start::Now, None).await?;
    assert!(events.is_empty(), "the first scan fires no event");

    // Each way in which reading a page can fail happens once, in the middle of a scan.
    for fault in [
        "dps:POST /enrollments/query=429+1x1",
        "dps:POST /enrollments/query=500x1",
        "dps:POST /enrollments/query=dropx1",
        "dps:POST /enrollments/query=truncatex1",
        "dps:GET /enrollments/*=503x1",
    ] {
        world.emulator.faults().add_text(fault)?;
    }
    let client = common::dps(&world.emulator, "connector");
    client.delete("/enrollments/press-0007").await.expect(204);
    client.delete("/enrollments/press-0649").await.expect(204);
    let changed = json!({ "registrationId": "press-0300", "provisioningStatus": "disabled", "attestation": { "type": "symmetricKey" } });
    client.put_if("/enrollments/press-0300", "*", changed).await.expect(200);
    enroll(&world, ["oven-1".to_owned()]).await?;
    let (events, cursor) = world.drain(ENROLLMENTS, json!({}), Start::Now, Some(cursor)).await?;
    let all = [("created", "oven-1"), ("deleted", "press-0007"), ("deleted", "press-0649"), ("updated", "press-0300")];
    assert_eq!(changes(&events), expected(&all));
    assert!(world.emulator.faults().fired() >= 5, "the faults happened");
    let created = events.iter().find(|event| event.order_key == "oven-1").expect("an event about oven-1");
    assert!(data(created)["enrollment"]["attestation"].get("symmetricKey").is_none(), "no keys in events");

    let (events, again) = world.drain(ENROLLMENTS, json!({}), Start::Now, Some(cursor.clone())).await?;
    assert!(events.is_empty());
    assert_eq!(again, cursor, "a poll without a change keeps the cursor");

    // The stored cursor can be used after an upgrade, and after a conversion to JSON and back.
    let stored: Cursor = serde_json::from_str(&serde_json::to_string(&cursor)?)?;
    let item = Stored::Cursor(StoredCursor { trigger: ENROLLMENTS.to_owned(), revision: 1, value: stored });
    let Stored::Cursor(migrated) = world.connector.migrate(&world.tenant, "0.1.0", item).await? else {
        panic!("another case")
    };
    client.delete("/enrollments/oven-1").await.expect(204);
    let (events, _) = world.drain(ENROLLMENTS, json!({}), Start::Now, Some(migrated.value)).await?;
    assert_eq!(changes(&events), expected(&[("deleted", "oven-1")]));
    world.emulator.shutdown().await;
    Ok(())
}

/// An engine that stops after every event, and continues from the cursor that it committed.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_crashes_after_every_event_misses_and_repeats_none() -> Result<()> {
    let options = EmulatorOptions { max_page_size: 10, ..EmulatorOptions::default() };
    let world = World::with(options).await?;
    enroll(&world, (0..35).map(|index| format!("press-{index:02}"))).await?;
    let mut cursor: Option<Cursor> = None;
    let mut seen: Vec<(String, String)> = Vec::new();
    loop {
        let page = world.poll(ENROLLMENTS, json!({}), Start::Earliest, cursor.clone()).await?;
        match page.events.first() {
            Some(event) => {
                seen.push((event.id.clone(), event.order_key.clone()));
                cursor = Some(event.cursor(cursor.as_ref()));
            }
            None if page.more => cursor = Some(page.next),
            None => break,
        }
    }
    let ids: BTreeSet<_> = seen.iter().map(|(id, _)| id).collect();
    let keys: BTreeSet<_> = seen.iter().map(|(_, key)| key).collect();
    assert_eq!((seen.len(), ids.len(), keys.len()), (35, 35, 35));
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_changes_makes_the_cursor_another_matter() -> Result<()> {
    let world = World::start().await?;
    enroll(&world, ["press-1".to_owned(), "oven-1".to_owned()]).await?;
    let (_, cursor) = world.drain(ENROLLMENTS, json!({ "registrationIds": "PRESS-*" }), Start::Now, None).await?;
    enroll(&world, ["press-2".to_owned(), "oven-2".to_owned()]).await?;
    let (events, cursor) =
        world.drain(ENROLLMENTS, json!({ "registrationIds": "PRESS-*" }), Start::Now, Some(cursor)).await?;
    assert_eq!(changes(&events), expected(&[("created", "press-2")]));

    let error = world
        .poll(ENROLLMENTS, json!({ "registrationIds": "oven-*" }), Start::Now, Some(cursor.clone()))
        .await
        .expect_err("stop");
    assert_eq!(error.connector().context("typed")?.code, ErrorCode::PositionLost);
    let request = PollRequest {
        trigger: ENROLLMENTS.to_owned(),
        partition: "all".to_owned(),
        config: json!({ "registrationIds": "oven-*" }).to_string(),
        start: Start::Now,
        on_position_lost: LostPolicy::Earliest,
        cursor: Some(cursor),
        budget: connector_host::interface::trigger::Budget::default(),
    };
    let page = world.account().poll(&request).await?;
    assert_eq!(page.notices.iter().map(|notice| notice.code.as_str()).collect::<Vec<_>>(), ["position-lost"]);
    let (events, _) =
        world.drain(ENROLLMENTS, json!({ "registrationIds": "oven-*" }), Start::Now, Some(page.next)).await?;
    assert_eq!(changes(&events), expected(&[("created", "oven-1"), ("created", "oven-2")]));
    world.emulator.shutdown().await;
    Ok(())
}

async fn key_of(client: &common::Client, entity: &str) -> Result<String> {
    let answer = client.call("POST", &format!("{entity}/attestationmechanism"), &[], None).await.expect(200);
    answer.body["symmetricKey"]["primaryKey"].as_str().map(str::to_owned).context("a key")
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_of_groups_and_of_individuals() -> Result<()> {
    let options = EmulatorOptions { max_page_size: 3, ..EmulatorOptions::default() };
    let world = World::with(options).await?;
    let client = common::dps(&world.emulator, "connector");
    let group =
        json!({ "enrollmentGroupId": "presses", "attestation": { "type": "symmetricKey", "symmetricKey": {} } });
    client.put("/enrollmentGroups/presses", group).await.expect(200);
    enroll(&world, ["oven-1".to_owned(), "oven-2".to_owned()]).await?;
    let group_key = key_of(&client, "/enrollmentGroups/presses").await?;
    let oven_key = key_of(&client, "/enrollments/oven-1").await?;
    let (events, cursor) = world.drain(REGISTRATIONS, json!({}), Start::Now, None).await?;
    assert!(events.is_empty());

    let devices = world.emulator.devices();
    for index in 0..7 {
        let id = format!("press-{index}");
        let credential = Credential::derived(&group_key, &id).context("a key")?;
        devices.provision(&id, credential).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    }
    devices
        .provision("oven-1", Credential::SymmetricKey(oven_key))
        .await
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let (events, cursor) = world.drain(REGISTRATIONS, json!({}), Start::Now, Some(cursor)).await?;
    let mut wanted: Vec<(String, String)> =
        (0..7).map(|index| ("created".to_owned(), format!("press-{index}"))).collect();
    wanted.push(("created".to_owned(), "oven-1".to_owned()));
    wanted.sort();
    assert_eq!(changes(&events), wanted);
    let by_id: BTreeMap<&str, Value> = events.iter().map(|event| (event.order_key.as_str(), data(event))).collect();
    assert_eq!(by_id["press-3"]["enrollmentGroupId"], "presses");
    assert_eq!((&by_id["press-3"]["status"], &by_id["press-3"]["deviceId"]), (&json!("assigned"), &json!("press-3")));
    assert!(by_id["oven-1"].get("enrollmentGroupId").is_none());

    client.delete("/registrations/press-2").await.expect(204);
    let again = Credential::derived(&group_key, "press-5").context("a key")?;
    devices.provision("press-5", again).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let (events, cursor) = world.drain(REGISTRATIONS, json!({}), Start::Now, Some(cursor)).await?;
    assert_eq!(changes(&events), expected(&[("deleted", "press-2"), ("updated", "press-5")]));

    // Deleting an enrollment group also deletes its registrations.
    client.delete("/enrollmentGroups/presses").await.expect(204);
    let (events, _) = world.drain(REGISTRATIONS, json!({}), Start::Now, Some(cursor)).await?;
    assert!(events.iter().all(|event| data(event)["change"] == "deleted"), "{:?}", changes(&events));
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations() -> Result<()> {
    let world = World::start().await?;
    let client = common::hub(&world.emulator, "connector");
    let body = |priority: u32| {
        json!({ "id": "interval", "targetCondition": "tags.site='north'", "priority": priority,
                "content": { "deviceContent": { "properties.desired.interval": 30 } } })
    };
    let (events, cursor) = world.drain(CONFIGURATIONS, json!({}), Start::Now, None).await?;
    assert!(events.is_empty());
    client.put("/configurations/interval", body(1)).await;
    let (events, cursor) = world.drain(CONFIGURATIONS, json!({}), Start::Now, Some(cursor)).await?;
    assert_eq!(changes(&events), expected(&[("created", "interval")]));
    client.put_if("/configurations/interval", "\"*\"", body(2)).await.expect(200);
    let (events, cursor) = world.drain(CONFIGURATIONS, json!({}), Start::Now, Some(cursor)).await?;
    assert_eq!(changes(&events), expected(&[("updated", "interval")]));
    assert_eq!(data(&events[0])["configuration"]["priority"], 2);
    client.call("DELETE", "/configurations/interval", &[("if-match", "\"*\"")], None).await.expect(204);
    let (events, _) = world.drain(CONFIGURATIONS, json!({ "changes": ["deleted"] }), Start::Now, Some(cursor)).await?;
    assert_eq!(changes(&events), expected(&[("deleted", "interval")]));
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_by_the_parts_that_count() -> Result<()> {
    let world = World::start().await?;
    for id in ["press-1", "press-2", "it's", "oven-1"] {
        world.done("create-device", json!({ "deviceId": id })).await?;
    }
    let devices = world.emulator.devices();
    let report = |id: &'static str, patch: Value| {
        let devices = devices.clone();
        async move { devices.report(id, patch).await.map_err(|error| anyhow::anyhow!("{error:?}")) }
    };
    let reported = json!({ "parts": ["reported"] });
    let tags = json!({ "parts": ["tags"] });
    let (_, mut by_reported) = world.drain(TWINS, reported.clone(), Start::Now, None).await?;
    let (_, mut by_tags) = world.drain(TWINS, tags.clone(), Start::Now, None).await?;

    report("press-1", json!({ "temperature": 80 })).await?;
    world.done("update-twin", json!({ "deviceId": "press-2", "tags": { "site": "north" } })).await?;
    let (events, next) = world.drain(TWINS, reported.clone(), Start::Now, Some(by_reported)).await?;
    assert_eq!(changes(&events), expected(&[("updated", "press-1")]));
    let changed = data(&events[0]);
    assert_eq!(changed["twin"]["properties"]["reported"]["temperature"], 80);
    let noted = &changed["twin"]["properties"]["reported"]["$metadata"]["$lastUpdated"];
    assert_eq!(
        (&changed["changedParts"], &changed["changedAt"]),
        (&json!(["reported"]), &json!({ "reported": noted }))
    );
    assert_eq!(events[0].time.as_deref(), noted.as_str(), "the change's own time");
    by_reported = next;
    let (events, next) = world.drain(TWINS, tags.clone(), Start::Now, Some(by_tags)).await?;
    assert_eq!(changes(&events), expected(&[("updated", "press-2")]));
    assert_eq!((&data(&events[0])["changedParts"], &events[0].time), (&json!(["tags"]), &None), "tags have no time");
    by_tags = next;

    world.done("delete-device", json!({ "deviceId": "it's" })).await?;
    let (events, _) = world.drain(TWINS, reported, Start::Now, Some(by_reported)).await?;
    assert_eq!(changes(&events), expected(&[("deleted", "it's")]));
    let (events, _) = world.drain(TWINS, tags, Start::Now, Some(by_tags)).await?;
    assert_eq!(changes(&events), expected(&[("deleted", "it's")]));
    world.emulator.shutdown().await;
    Ok(())
}

/// The service itself uses such ids. In an earlier version, the look-up refused them, which stopped three triggers for
/// good.
#[tokio::test(flavor = "multi_thread")]
async fn ids_that_end_in_a_dash() -> Result<()> {
    let world = World::start().await?;
    enroll(&world, ["press-".to_owned(), "press".to_owned()]).await?;
    let (_, cursor) = world.drain(ENROLLMENTS, json!({}), Start::Now, None).await?;
    for id in ["press-", "press"] {
        world.done("delete-individual-enrollment", json!({ "registrationId": id })).await?;
    }
    let (events, _) = world.drain(ENROLLMENTS, json!({}), Start::Now, Some(cursor)).await?;
    assert_eq!(changes(&events), expected(&[("deleted", "press"), ("deleted", "press-")]));

    let group = json!({ "enrollmentGroupId": "ovens-", "attestation": { "type": "symmetricKey" } });
    world.emulator.create_enrollment_group("ovens-", group).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let (events, _) = world.drain(REGISTRATIONS, json!({}), Start::Now, None).await?;
    assert_eq!(changes(&events), []);
    let (events, _) = world.drain(REGISTRATIONS, json!({ "enrollmentGroupIds": ["ovens-"] }), Start::Now, None).await?;
    assert_eq!(changes(&events), []);
    world.emulator.shutdown().await;
    Ok(())
}

/// Twins with numbers that a double cannot hold keep all digits when they are written and read.
#[tokio::test(flavor = "multi_thread")]
async fn twins_with_long_numbers() -> Result<()> {
    let world = World::start().await?;
    world.done("create-device", json!({ "deviceId": "press-1" })).await?;
    let (_, cursor) = world.drain(TWINS, json!({}), Start::Now, None).await?;
    let tags = r#"{"n":0.1000000000000000055,"price":1.10}"#;
    let input: Value = serde_json::from_str(&format!(r#"{{"deviceId":"press-1","tags":{tags}}}"#))?;
    let output = world.done("update-twin", input).await?;
    assert_eq!(output["tags"].to_string(), tags);
    assert_eq!(world.done("get-twin", json!({ "deviceId": "press-1" })).await?["tags"].to_string(), tags);
    let (events, cursor) = world.drain(TWINS, json!({}), Start::Now, Some(cursor)).await?;
    assert_eq!(data(&events[0])["twin"]["tags"].to_string(), tags);
    let other: Value = serde_json::from_str(r#"{"deviceId":"press-1","tags":{"n":0.1000000000000000056}}"#)?;
    world.done("update-twin", other).await?;
    let (events, _) = world.drain(TWINS, json!({}), Start::Now, Some(cursor)).await?;
    assert_eq!(changes(&events), expected(&[("updated", "press-1")]), "a change in the last digit is a change");
    world.emulator.shutdown().await;
    Ok(())
}

/// With a condition, a twin that begins to meet it is reported as created. A twin that no longer meets it is forgotten
/// without an event.
#[tokio::test(flavor = "multi_thread")]
async fn twins_by_a_condition() -> Result<()> {
    let world = World::start().await?;
    for id in ["press-1", "press-2"] {
        world.done("create-device", json!({ "deviceId": id })).await?;
        world.done("update-twin", json!({ "deviceId": id, "tags": { "site": "north" } })).await?;
    }
    let config = json!({ "condition": "tags.site = 'south'" });
    let (_, cursor) = world.drain(TWINS, config.clone(), Start::Now, None).await?;
    let move_to = |site: &'static str| json!({ "deviceId": "press-1", "tags": { "site": site } });
    world.done("update-twin", move_to("south")).await?;
    let (events, cursor) = world.drain(TWINS, config.clone(), Start::Now, Some(cursor)).await?;
    assert_eq!(changes(&events), expected(&[("created", "press-1")]));
    world.done("update-twin", move_to("north")).await?;
    let (events, cursor) = world.drain(TWINS, config.clone(), Start::Now, Some(cursor)).await?;
    assert!(events.is_empty(), "{:?}", changes(&events));
    world.done("update-twin", move_to("south")).await?;
    let (events, _) = world.drain(TWINS, config, Start::Now, Some(cursor)).await?;
    assert_eq!(changes(&events), expected(&[("created", "press-1")]));

    let error =
        world.poll(TWINS, json!({ "condition": "tags.site == (" }), Start::Now, None).await.expect_err("no query");
    assert_eq!(error.connector().context("typed")?.code, ErrorCode::InvalidInput);
    world.emulator.shutdown().await;
    Ok(())
}

/// Samples show the account's records without a cursor. Where there are none, the static example is returned.
#[tokio::test(flavor = "multi_thread")]
async fn samples() -> Result<()> {
    let world = World::start().await?;
    let account = world.account();
    let sample = |trigger: &'static str| account.sample(trigger, "{}", 5);
    for trigger in [ENROLLMENTS, REGISTRATIONS, CONFIGURATIONS, TWINS] {
        let events = sample(trigger).await?;
        assert_eq!((events.len(), events[0].id.as_str()), (1, format!("sample-{trigger}").as_str()));
    }
    enroll(&world, ["press-1".to_owned()]).await?;
    let events = sample(ENROLLMENTS).await?;
    assert_eq!(data(&events[0])["registrationId"], "press-1");
    world.emulator.shutdown().await;
    Ok(())
}

/// The event of the same state has the same id in another instance and in another poll.
#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_event_has_the_same_id() -> Result<()> {
    let world = World::start().await?;
    enroll(&world, (0..5).map(|index| format!("press-{index}"))).await?;
    let ids = |events: Vec<Event>| events.into_iter().map(|event| event.id).collect::<Vec<_>>();
    let first = ids(world.drain(ENROLLMENTS, json!({}), Start::Earliest, None).await?.0);
    let second = ids(world.drain(ENROLLMENTS, json!({}), Start::Earliest, None).await?.0);
    assert_eq!((first.len(), &first), (5, &second));
    world.emulator.shutdown().await;
    Ok(())
}
