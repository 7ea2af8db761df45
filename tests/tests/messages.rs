//! Cloud-to-device and device-to-cloud messages, their feedback and uploaded files, through the built component.
//! Messages arrive as they were sent. No feedback is lost, completed too early or left in the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_iot_emulator::{EmulatorOptions, FileUpload};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector_host::interface::action::{Call, Outcome};
use connector_host::interface::metadata::StartMode;
use connector_host::interface::trigger::{Budget, Event, LostPolicy, Page, Payload, PollRequest, Start};
use connector_host::interface::types::{Cursor, EffectState, Error, ErrorCode, Retry};
use connector_host::{Account, CallError};
use connector_tests::{World, link, values};
use serde_json::{Value, json};

#[path = "../../host-harness/emulator/tests/common/mod.rs"]
mod raw;

const SEND: &str = "send-cloud-to-device-message";
const FEEDBACK: &str = "cloud-to-device-message-feedback";
const FILES: &str = "file-upload-notifications";

/// A hub that sends feedback without waiting for more, and these devices.
async fn world(devices: &[&str]) -> Result<World> {
    world_with(EmulatorOptions::default(), devices).await
}

async fn world_with(mut options: EmulatorOptions, devices: &[&str]) -> Result<World> {
    options.amqp.feedback_wait = Duration::ZERO;
    let world = World::with(options).await?;
    for device in devices {
        world.done("create-device", json!({ "deviceId": device })).await?;
    }
    Ok(world)
}

fn data(event: &Event) -> Value {
    match &event.data {
        Payload::Json(text) => serde_json::from_str(text).expect("JSON"),
        other => panic!("{other:?}"),
    }
}

fn request(trigger: &str, config: &Value, events: u32, cursor: Option<Cursor>) -> PollRequest {
    PollRequest {
        trigger: trigger.to_owned(),
        partition: "all".to_owned(),
        config: config.to_string(),
        start: Start::Earliest,
        on_position_lost: LostPolicy::Stop,
        cursor,
        // The waiting time is long enough for the hub to notice a dropped instance and to give its messages again.
        budget: Budget { events, bytes: 8 << 20, wait_ms: 400 },
    }
}

/// A poll in a new instance.
async fn poll(world: &World, trigger: &str, cursor: Option<Cursor>) -> Result<Page, CallError> {
    let request = request(trigger, &json!({}), 1_000, cursor);
    world.account().poll(&request).await
}

/// Polls until this many events were delivered. Each poll is a new instance and has the last cursor.
async fn collect(
    world: &World,
    trigger: &str,
    count: usize,
    mut cursor: Option<Cursor>,
) -> Result<(Vec<Event>, Cursor)> {
    let mut events = Vec::new();
    for _ in 0..200 {
        let page = poll(world, trigger, cursor).await?;
        events.extend(page.events);
        if events.len() >= count {
            return Ok((events, page.next));
        }
        cursor = Some(page.next);
    }
    anyhow::bail!("{} of {count} events", events.len())
}

/// Polls with a committed cursor until the hub's queue is empty. No event may be delivered.
async fn settle(world: &World, trigger: &str, mut cursor: Cursor) -> Result<Cursor> {
    for _ in 0..200 {
        let left =
            if trigger == FEEDBACK { world.emulator.feedback_left() } else { world.emulator.file_notices_left() };
        if left == 0 {
            return Ok(cursor);
        }
        let page = poll(world, trigger, Some(cursor)).await?;
        ensure!(page.events.is_empty(), "delivered again: {:?}", page.events);
        cursor = page.next;
    }
    anyhow::bail!("the hub's queue never becomes empty")
}

fn typed(error: CallError) -> Result<Error> {
    error.connector().cloned().with_context(|| format!("not the connector's own: {error:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_given_the_message_as_it_was_sent() -> Result<()> {
    let odd = "odd%1#?('$;@:.+,=*!)_-";
    let world = world(&["press-17", odd]).await?;
    let hub = raw::hub(&world.emulator, "iothubowner");
    hub.put("/devices/press-17/modules/m%3A1", json!({ "deviceId": "press-17", "moduleId": "m:1" })).await.expect(201);
    let sent = world
        .done(
            SEND,
            json!({
                "deviceId": "press-17",
                "body": { "command": "cool-down" },
                "properties": { "priority": "high", "Step": 3, "dry": false },
                "messageId": "m-1",
                "correlationId": "c-1",
                "expiresAfterSeconds": 600,
            }),
        )
        .await?;
    assert_eq!(sent, json!({ "deviceId": "press-17", "messageId": "m-1" }));
    world.done(SEND, json!({ "deviceId": "press-17", "body": "plain words" })).await?;
    world.done(SEND, json!({ "deviceId": "press-17", "body": "/wCA", "bodyEncoding": "base64" })).await?;
    world.done(SEND, json!({ "deviceId": "press-17", "moduleId": "m:1", "body": 1 })).await?;
    world.done(SEND, json!({ "deviceId": odd, "body": 2, "contentType": "application/vnd.plant+json" })).await?;

    let messages = world.emulator.devices().take_messages("press-17").await?;
    let text = |at: usize| String::from_utf8_lossy(&messages[at].body).into_owned();
    let labels = |at: usize| (messages[at].content_type.as_deref(), messages[at].content_encoding.as_deref());
    assert_eq!(messages.len(), 4);
    let first = &messages[0];
    assert_eq!((first.message_id.as_str(), first.correlation_id.as_deref()), ("m-1", Some("c-1")));
    let properties: BTreeMap<&str, &str> =
        first.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(properties, BTreeMap::from([("priority", "high"), ("Step", "3"), ("dry", "false")]));
    assert_eq!(
        (text(0).as_str(), labels(0)),
        ("{\"command\":\"cool-down\"}", (Some("application/json"), Some("utf-8")))
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let expires = u64::try_from(first.expires.context("an expiry")?.unix_timestamp())?;
    assert!((1..=600).contains(&(expires - now)), "{expires} at {now}");
    assert_eq!((text(1).as_str(), labels(1)), ("plain words", (Some("text/plain"), Some("utf-8"))));
    assert_eq!(messages[1].message_id.len(), 32, "a message without an id gets a new id");
    assert_eq!(
        (messages[2].body.as_ref(), labels(2)),
        (&[0xff, 0, 0x80][..], (Some("application/octet-stream"), None))
    );
    assert_eq!((messages[3].module_id.as_deref(), messages[2].module_id.as_deref()), (Some("m:1"), None));
    let messages = world.emulator.devices().take_messages(odd).await?;
    assert_eq!(messages[0].content_type.as_deref(), Some("application/vnd.plant+json"));
    assert_eq!(world.emulator.feedback_left(), 0, "nobody asked for an acknowledgement");
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_breaks_say_what_was_done() -> Result<()> {
    let world = world(&["press-17"]).await?;
    let to = |device: &str| json!({ "deviceId": device, "body": 1 });
    let error = world.refused(SEND, to("missing")).await?;
    assert_eq!((error.code, error.effect), (ErrorCode::NotFound, EffectState::None), "{error:?}");
    assert!(error.message.contains("missing"), "{}", error.message);
    assert_eq!(error.service.and_then(|service| service.status), Some(404));

    for _ in 0..50 {
        world.done(SEND, to("press-17")).await?;
    }
    let error = world.refused(SEND, to("press-17")).await?;
    assert_eq!((error.code, error.retry), (ErrorCode::QuotaExceeded, Retry::Backoff), "{error:?}");
    assert_eq!(error.service.and_then(|service| service.code).as_deref(), Some("403004 amqp:resource-limit-exceeded"));
    let purged = world.done("purge-cloud-to-device-messages", json!({ "deviceId": "press-17" })).await?;
    assert_eq!(purged, json!({ "deviceId": "press-17", "totalMessagesPurged": 50 }));

    // The connection drops after the message was sent but before it is confirmed; then before the message is sent.
    world.emulator.faults().add_text("hub-amqp:SEND /*=drop")?;
    let error = world.refused(SEND, to("press-17")).await?;
    assert_eq!((error.code, error.effect), (ErrorCode::Unavailable, EffectState::Unknown), "{error:?}");
    world.emulator.faults().clear();
    world.emulator.faults().add_text("hub-amqp:ATTACH /messages/devicebound=drop")?;
    let error = world.refused(SEND, to("press-17")).await?;
    assert_eq!((error.code, error.effect), (ErrorCode::Unavailable, EffectState::None), "{error:?}");
    world.emulator.faults().clear();

    // An account with a wrong key, then an account without the permission.
    let mut wrong = values(&world.emulator, "connector", "connector")?;
    wrong["sharedAccessKey"] = "d3Jvbmcga2V5LCB3cm9uZyBrZXksIHdyb25nIQ==".into();
    for (connection, code) in [
        (link(wrong), ErrorCode::AuthFailed),
        (world.linked_by("registryRead", "connector")?, ErrorCode::PermissionDenied),
    ] {
        let input = to("press-17").to_string();
        let refused = world.connector.account(&world.tenant, &connection).invoke(SEND, &input, &Call::default()).await;
        let error = typed(refused.expect_err("refused"))?;
        assert_eq!((error.code, error.effect), (code, EffectState::None), "{error:?}");
        let missing = error.missing_permission.map(|missing| missing.permission);
        assert_eq!(missing.is_some_and(|id| id == "service-connect"), code == ErrorCode::PermissionDenied);
    }
    let dry = Call { dry_run: true, ..Call::default() };
    let input = to("press-17").to_string();
    let planned = world.account().invoke(SEND, &input, &dry).await?;
    ensure!(matches!(planned, Outcome::Planned(_)), "{planned:?}");
    assert_eq!(world.emulator.devices().take_messages("press-17").await?.len(), 0, "none of these messages was sent");
    world.emulator.shutdown().await;
    Ok(())
}

/// A warm instance keeps its connection for the next message, and opens a new one after the hub has closed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_warm_instance_keeps_its_connection_and_gets_over_its_loss() -> Result<()> {
    let world = world(&["press-17"]).await?;
    let warm = world.connector.open(&world.tenant, &world.connection).await?;
    world.emulator.faults().add_text("hub-amqp:OPEN /*=latency:0")?;
    let send = |number: u32| {
        let input = json!({ "deviceId": "press-17", "body": number }).to_string();
        let warm = warm.clone();
        async move { warm.invoke(SEND, &input, &Call::default()).await }
    };
    for number in 0..10 {
        send(number).await?;
    }
    assert_eq!(world.emulator.faults().fired(), 1, "one connection for ten messages");
    // The hub first drops the connection before the next message is sent, then treats the token as expired.
    for (fault, numbers) in [("dropx1", 10..15), ("expirex1", 15..20)] {
        world.emulator.faults().add_text(&format!("hub-amqp:ATTACH /messages/devicebound={fault}"))?;
        for number in numbers {
            send(number).await?;
        }
    }
    let messages = world.emulator.devices().take_messages("press-17").await?;
    let bodies: Vec<String> =
        messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect();
    assert_eq!(
        bodies,
        (0..20).map(|number| number.to_string()).collect::<Vec<_>>(),
        "each message is delivered once and in order"
    );
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback_arrives_and_is_completed_once_it_is_committed() -> Result<()> {
    let world = world(&["press-1", "press-2", "press-3"]).await?;
    let devices = world.emulator.devices();
    let send = |device: &str, id: &str, acknowledgement: &str| json!({ "deviceId": device, "messageId": id, "body": id, "acknowledgement": acknowledgement });
    for acknowledgement in ["none", "positive", "negative", "full"] {
        world.done(SEND, send("press-1", &format!("taken-{acknowledgement}"), acknowledgement)).await?;
        world.done(SEND, send("press-2", &format!("rejected-{acknowledgement}"), acknowledgement)).await?;
        world.done(SEND, send("press-3", &format!("purged-{acknowledgement}"), acknowledgement)).await?;
    }
    devices.take_messages("press-1").await?;
    devices.reject_messages("press-2").await?;
    world.done("purge-cloud-to-device-messages", json!({ "deviceId": "press-3" })).await?;

    let (events, _) = collect(&world, FEEDBACK, 6, None).await?;
    let delivered: BTreeSet<(String, String)> = events
        .iter()
        .map(|event| {
            let data = data(event);
            let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
            (text("originalMessageId"), text("statusCode"))
        })
        .collect();
    let expected = [
        ("taken-positive", "Success"),
        ("taken-full", "Success"),
        ("rejected-negative", "Rejected"),
        ("rejected-full", "Rejected"),
        ("purged-negative", "Purged"),
        ("purged-full", "Purged"),
    ];
    assert_eq!(delivered, expected.map(|(id, status)| (id.to_owned(), status.to_owned())).into());
    let first = &events[0];
    assert_eq!(first.event_type, "azure.iot.hub.cloud-to-device-message.success");
    assert_eq!(first.subject.as_deref(), Some("devices/press-1"));
    assert!(first.source.ends_with("/messages/serviceBound/feedback"), "{}", first.source);
    assert!(first.time.as_deref().is_some_and(|time| time.ends_with('Z')), "{:?}", first.time);
    assert_eq!(world.emulator.feedback_left(), 6, "delivery alone completes no message");

    // That cursor was not kept, so all events come again with the same ids.
    let ids = |events: &[Event]| events.iter().map(|event| event.id.clone()).collect::<BTreeSet<_>>();
    let (again, cursor) = collect(&world, FEEDBACK, 6, None).await?;
    assert_eq!(ids(&again), ids(&events));
    assert_eq!(world.emulator.feedback_left(), 6);

    // This cursor is committed: the hub completes the messages, and no later poll receives them again.
    let cursor = settle(&world, FEEDBACK, cursor).await?;
    assert!(poll(&world, FEEDBACK, None).await?.events.is_empty());
    world.done(SEND, send("press-1", "late", "full")).await?;
    devices.take_messages("press-1").await?;
    let (late, _) = collect(&world, FEEDBACK, 1, Some(cursor)).await?;
    assert_eq!(data(&late[0])["originalMessageId"], "late");
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_told_filtered_and_completed() -> Result<()> {
    let world = world(&["press-1", "oven-1"]).await?;
    for (device, name) in [("press-1", "a.jpg"), ("oven-1", "b.jpg"), ("press-1", "c.txt"), ("press-1", "d.jpg")] {
        let blob_name = format!("{device}/{name}");
        let blob_uri = format!("https://plant.blob.core.windows.net/uploads/{blob_name}");
        let file = FileUpload { device_id: device.to_owned(), blob_uri, blob_name, size: 1_024 };
        world.emulator.devices().upload_file(file).await?;
    }
    let config = json!({ "deviceIds": ["press-*"], "blobNames": ["*.jpg"] });
    let one = |cursor| {
        let request = request(FILES, &config, 1_000, cursor);
        let World { connector, tenant, connection, .. } = &world;
        async move { connector.account(tenant, connection).poll(&request).await }
    };
    let page = one(None).await?;
    let names: Vec<Value> = page.events.iter().map(|event| data(event)["blobName"].clone()).collect();
    assert_eq!(names, ["press-1/a.jpg", "press-1/d.jpg"]);
    let first = &page.events[0];
    assert_eq!(
        (first.event_type.as_str(), first.subject.as_deref()),
        ("azure.iot.hub.file-uploaded", Some("devices/press-1"))
    );
    assert_eq!(data(first)["blobSizeInBytes"], 1_024);
    let mut cursor = page.next;
    while world.emulator.file_notices_left() > 0 {
        let page = one(Some(cursor)).await?;
        ensure!(page.events.is_empty(), "{:?}", page.events);
        cursor = page.next;
    }
    world.emulator.shutdown().await;
    Ok(())
}

/// Fills the feedback queue: sends a message for each number, and lets the device take it.
async fn give_feedback(world: &World, device: &str, ids: std::ops::Range<u32>) -> Result<()> {
    for number in ids {
        let message =
            json!({ "deviceId": device, "messageId": number.to_string(), "body": number, "acknowledgement": "full" });
        // The connection may break before the message was sent. It is then sent again.
        while let Err(error) = world.invoke(SEND, message.clone()).await {
            let error = typed(error)?;
            ensure!(error.effect == EffectState::None, "{error:?}");
        }
        if number % 7 == 6 {
            world.emulator.devices().take_messages(device).await?;
        }
    }
    world.emulator.devices().take_messages(device).await?;
    Ok(())
}

fn message_ids(events: &[Event]) -> Vec<u32> {
    events
        .iter()
        .map(|event| data(event)["originalMessageId"].as_str().and_then(|id| id.parse().ok()).expect("a number"))
        .collect()
}

async fn warm_poll(warm: &Account, events: u32, cursor: Option<Cursor>) -> Result<Page, CallError> {
    warm.poll(&request(FEEDBACK, &json!({}), events, cursor)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_instance_holds_what_it_told_until_it_is_committed() -> Result<()> {
    let world = world(&["press-1"]).await?;
    give_feedback(&world, "press-1", 0..20).await?;
    let warm = world.connector.open(&world.tenant, &world.connection).await?;
    world.emulator.faults().add_text("hub-amqp:OPEN /*=latency:0")?;
    let page = warm_poll(&warm, 1_000, None).await?;
    assert_eq!(message_ids(&page.events), (0..20).collect::<Vec<_>>());
    // The same instance polls again without the new cursor: the events are the same, and no message is completed.
    let again = warm_poll(&warm, 1_000, None).await?;
    assert_eq!(message_ids(&again.events), (0..20).collect::<Vec<_>>());
    assert_eq!(world.emulator.feedback_left(), 20);
    let next = warm_poll(&warm, 1_000, Some(again.next)).await?;
    assert!(next.events.is_empty());
    while world.emulator.feedback_left() > 0 {
        // The hub takes a moment to process the acknowledgement.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.emulator.faults().fired(), 1, "all polls used one connection");
    world.emulator.shutdown().await;
    Ok(())
}

/// Pages get lost, instances are killed between polls, connections drop in the middle of frames, and pages are
/// committed event by event. Each record must be delivered, twice only if its commit was lost, and the hub's queue must
/// be empty at the end.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_whatever_breaks() -> Result<()> {
    for seed in [1_u64, 2, 3] {
        let world =
            world_with(EmulatorOptions { fault_seed: seed, ..EmulatorOptions::default() }, &["press-1"]).await?;
        for fault in [
            "hub-amqp:TRANSFER /messages/serviceBound/*=half@0.05",
            "hub-amqp:TRANSFER /messages/serviceBound/*=drop@0.05",
            "hub-amqp:TRANSFER /messages/serviceBound/*=detach:amqp:link:detach-forced@0.05",
            "hub-amqp:ATTACH /messages/serviceBound/*=detach:amqp:internal-error@0.05",
            "hub-amqp:OPEN /*=drop@0.05",
        ] {
            world.emulator.faults().add_text(fault)?;
        }
        let warm = world.connector.open(&world.tenant, &world.connection).await?;
        let mut chance = seed;
        let mut draw = move |of: u64| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) % of
        };
        let mut committed: Option<Cursor> = None;
        let mut done: BTreeMap<u32, u32> = BTreeMap::new();
        let (mut lost, mut failures, mut polls, mut given) = (0, 0, 0, 0);
        while done.len() < 120 || world.emulator.feedback_left() > 0 {
            polls += 1;
            // Feedback is given in small portions, so that there are many notices.
            if given < 120 {
                let more = u32::try_from(1 + draw(4))?.min(120 - given);
                give_feedback(&world, "press-1", given..given + more).await?;
                given += more;
            }
            ensure!(polls < 500, "{} of 120, {} left", done.len(), world.emulator.feedback_left());
            let events = u32::try_from(1 + draw(40))?;
            let page = match warm_poll(&warm, events, committed.clone()).await {
                Ok(page) => page,
                Err(error) => {
                    let error = typed(error)?;
                    ensure!(matches!(error.retry, Retry::Backoff | Retry::After(_)), "{error:?}");
                    failures += 1;
                    continue;
                }
            };
            if draw(3) == 0 {
                warm.discard().await;
            }
            match draw(4) {
                // The engine stops before it has processed any event of the page.
                0 => lost += 1,
                // The engine stops in the middle of the page.
                1 if !page.events.is_empty() => {
                    let count = usize::try_from(draw(page.events.len() as u64))? + 1;
                    message_ids(&page.events[..count]).into_iter().for_each(|id| *done.entry(id).or_default() += 1);
                    committed = Some(page.events[count - 1].cursor(committed.as_ref()));
                    lost += 1;
                }
                _ => {
                    message_ids(&page.events).into_iter().for_each(|id| *done.entry(id).or_default() += 1);
                    committed = Some(page.next);
                }
            }
        }
        let twice = done.values().filter(|count| **count > 1).count();
        println!(
            "seed {seed}: 120 records in {polls} polls, {lost} pages lost, {failures} failures met, {} faults, {twice} done twice",
            world.emulator.faults().fired()
        );
        assert_eq!(done.keys().copied().collect::<Vec<_>>(), (0..120).collect::<Vec<_>>());
        // Committed records are in the cursor, so no fault can repeat them.
        assert_eq!(twice, 0);
        ensure!(world.emulator.faults().fired() > 3, "only {} faults happened", world.emulator.faults().fired());
        world.emulator.shutdown().await;
    }
    Ok(())
}

/// The hub gives a message only a limited number of times. An engine that takes one event at a time must not reach that
/// limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_told_one_by_one() -> Result<()> {
    let world = world(&["press-1"]).await?;
    for number in 0..30 {
        let message =
            json!({ "deviceId": "press-1", "messageId": number.to_string(), "body": 1, "acknowledgement": "full" });
        world.done(SEND, message).await?;
    }
    world.emulator.devices().take_messages("press-1").await?;
    world.emulator.faults().add_text("hub-amqp:TRANSFER /messages/serviceBound/*=latency:0")?;
    let mut cursor = None;
    let mut seen = Vec::new();
    while seen.len() < 30 {
        let one = request(FEEDBACK, &json!({}), 1, cursor);
        let page = world.account().poll(&one).await?;
        ensure!(page.events.len() <= 1, "{:?}", page.events);
        seen.extend(message_ids(&page.events));
        cursor = Some(page.next);
    }
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
    let given = world.emulator.faults().fired();
    assert!(given <= 3, "the batch was given {given} times");
    settle(&world, FEEDBACK, cursor.context("a cursor")?).await?;
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_now_clears_what_waits() -> Result<()> {
    let world = world(&["press-1"]).await?;
    give_feedback(&world, "press-1", 0..5).await?;
    let mut now = request(FEEDBACK, &json!({}), 100, None);
    now.start = Start::Now;
    // The first cursor is not kept, so the queue must be unchanged, and the next poll must return the same page.
    for _ in 0..2 {
        let page = world.account().poll(&now).await?;
        assert_eq!((page.events.len(), world.emulator.feedback_left()), (0, 5));
    }
    let page = world.account().poll(&now).await?;
    assert_eq!(page.events, []);
    let said: Vec<(&str, bool)> =
        page.notices.iter().map(|notice| (notice.code.as_str(), notice.message.starts_with("5 records"))).collect();
    assert_eq!(said, [("cleared", true)]);
    give_feedback(&world, "press-1", 5..8).await?;
    let (events, cursor) = collect(&world, FEEDBACK, 3, Some(page.next)).await?;
    assert_eq!(message_ids(&events), [5, 6, 7]);
    settle(&world, FEEDBACK, cursor).await?;
    world.emulator.shutdown().await;
    Ok(())
}

/// In an earlier version, one poll deleted the waiting messages, with the default start or with a filter.
#[tokio::test(flavor = "multi_thread")]
async fn polls_that_nobody_commits_leave_the_queues_as_they_were() -> Result<()> {
    let world = world(&["press-1"]).await?;
    give_feedback(&world, "press-1", 0..5).await?;
    for name in ["a.jpg", "b.jpg"] {
        world.emulator.give_file_notice(json!({ "deviceId": "press-1", "blobName": name }).to_string());
    }
    let triggers = &world.connector.descriptor().triggers;
    for (trigger, config) in [
        (FEEDBACK, json!({})),
        (FEEDBACK, json!({ "deviceIds": ["none"] })),
        (FEEDBACK, json!({ "statuses": ["Purged"] })),
        (FILES, json!({})),
        (FILES, json!({ "blobNames": ["*.txt"] })),
    ] {
        let declared = triggers.iter().find(|declared| declared.operation.id == trigger).context("declared")?;
        assert_eq!(declared.start_modes[0], StartMode::Earliest, "the first is the default");
        for start in [Start::Earliest, Start::Now, Start::AtTime("2100-01-01T00:00:00Z".to_owned())] {
            let asked = PollRequest { start, ..request(trigger, &config, 100, None) };
            world.account().poll(&asked).await?;
            assert_eq!(
                (world.emulator.feedback_left(), world.emulator.file_notices_left()),
                (5, 2),
                "{trigger} {config}"
            );
        }
    }
    let (events, cursor) = collect(&world, FEEDBACK, 5, None).await?;
    assert_eq!(message_ids(&events), [0, 1, 2, 3, 4]);
    settle(&world, FEEDBACK, cursor).await?;
    let (_, cursor) = collect(&world, FILES, 2, None).await?;
    settle(&world, FILES, cursor).await?;
    world.emulator.shutdown().await;
    Ok(())
}

/// In an earlier version, any filter on the status held back records in the oldest form, and they were lost.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_every_shape_are_told() -> Result<()> {
    let world = world(&[]).await?;
    let old = json!([
        { "OriginalMessageId": "m1", "DeviceId": "press-1", "Description": "Success", "EnqueuedTimeUtc": "2015-07-28T16:24:48.789Z" },
        { "OriginalMessageId": "m2", "DeviceId": "press-1", "StatusCode": 1, "Description": "Message expired" },
        { "originalMessageId": "m3", "deviceId": "press-1" },
        { "somethingElse": 1.1 },
    ]);
    let raw = "[]";
    world.emulator.give_feedback(old.to_string());
    world.emulator.give_feedback(raw);
    let config = json!({ "statuses": ["Success", "Rejected"], "deviceIds": ["press-*"] });
    let page = world.account().poll(&request(FEEDBACK, &config, 100, None)).await?;
    let delivered: Vec<(&str, Value)> = page
        .events
        .iter()
        .map(|event| {
            let data = data(event);
            let what = if data["rawBody"].is_null() { &data["originalMessageId"] } else { &data["rawBody"] };
            (event.event_type.rsplit('.').next().unwrap_or_default(), what.clone())
        })
        .collect();
    let bytes = |text: &str| Value::from(STANDARD.encode(text));
    let expected = [
        ("success", json!("m1")),
        ("unknown", json!("m3")),
        ("unreadable-notice", bytes(r#"{"somethingElse":1.1}"#)),
        ("unreadable-notice", bytes(raw)),
    ];
    assert_eq!(delivered, expected);
    assert_eq!(data(&page.events[0])["statusCode"], "Success");
    let mut cursor = page.next;
    for _ in 0..100 {
        let next = request(FEEDBACK, &config, 100, Some(cursor));
        let page = world.account().poll(&next).await?;
        assert_eq!(page.events, []);
        cursor = page.next;
        if world.emulator.feedback_left() == 0 {
            break;
        }
    }
    assert_eq!(world.emulator.feedback_left(), 0);
    world.emulator.shutdown().await;
    Ok(())
}

/// The telemetry trigger delivers messages that an action sent as a device.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_as_a_device_is_telemetry() -> Result<()> {
    let options = EmulatorOptions { partitions: 1, ..EmulatorOptions::default() };
    let world = world_with(options, &["press-17", "off-1"]).await?;
    let action = "send-device-to-cloud-message";
    let input = json!({
        "deviceId": "press-17",
        "body": { "temperature": 81.5 },
        "properties": { "Level": "warning" },
        "messageId": "m-1",
        "correlationId": "c-1",
    });
    assert_eq!(world.done(action, input).await?, json!({ "deviceId": "press-17", "messageId": "m-1" }));
    world.done(action, json!({ "deviceId": "press-17", "body": "/wCA", "bodyEncoding": "base64" })).await?;
    let page = world.poll_partition("device-telemetry", "0", json!({}), Start::Earliest, None).await?;
    assert_eq!(page.events.len(), 2);
    let delivered = data(&page.events[0]);
    assert_eq!(delivered["body"], json!({ "temperature": 81.5 }));
    assert_eq!(delivered["properties"], json!({ "level": "warning" }));
    for (name, value) in [
        ("deviceId", "press-17"),
        ("messageId", "m-1"),
        ("correlationId", "c-1"),
        ("contentType", "application/json"),
        ("contentEncoding", "utf-8"),
    ] {
        assert_eq!(delivered[name], value, "{name} in {delivered}");
    }
    let delivered = data(&page.events[1]);
    assert_eq!((delivered["body"].as_str(), delivered["bodyEncoding"].as_str()), (Some("/wCA"), Some("base64")));

    world.done("update-device", json!({ "deviceId": "off-1", "status": "disabled" })).await?;
    let error = world.refused(action, json!({ "deviceId": "off-1", "body": 1 })).await?;
    assert_eq!((error.code, error.retry), (ErrorCode::DeviceOffline, Retry::AfterReconfiguration), "{error:?}");
    let input = json!({ "deviceId": "press-17", "body": 1 }).to_string();
    let lacking = world.linked_by("service", "connector")?;
    let refused = world.connector.account(&world.tenant, &lacking).invoke(action, &input, &Call::default()).await;
    let error = typed(refused.expect_err("refused"))?;
    assert_eq!(error.missing_permission.map(|missing| missing.permission).as_deref(), Some("device-connect"));
    world.emulator.shutdown().await;
    Ok(())
}

const SEND_AND_WAIT: &str = "send-cloud-to-device-message-and-wait";

/// Sends a message, and returns the token that waits for its end.
async fn begin(world: &World, device: &str, expires: u32) -> Result<String> {
    let message = json!({ "deviceId": device, "body": 1, "messageId": "900", "expiresAfterSeconds": expires });
    match world.invoke(SEND_AND_WAIT, message).await? {
        Outcome::Pending(pending) => Ok(pending.token),
        other => anyhow::bail!("it answered {other:?}"),
    }
}

/// Asks until the action ends.
async fn end(world: &World, mut token: String) -> Result<Value> {
    for _ in 0..100 {
        match world.account().resume(SEND_AND_WAIT, &token, &Call::default()).await? {
            Outcome::Done(output) => return Ok(serde_json::from_str(&output)?),
            Outcome::Pending(pending) => token = pending.token,
            other => anyhow::bail!("it answered {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    anyhow::bail!("it never ends")
}

/// The record that the action waits for arrives among records of others. The action returns its outcome, and a trigger
/// still receives every record of others.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_feedback_takes_nothing_from_others() -> Result<()> {
    let world = world(&["press-1", "press-2"]).await?;
    let token = begin(&world, "press-2", 600).await?;
    give_feedback(&world, "press-1", 0..10).await?;
    let took = world.emulator.devices().take_messages("press-2").await?;
    assert_eq!(took.len(), 1);
    let output = end(&world, token).await?;
    assert_eq!((&output["outcome"], &output["messageId"]), (&json!("delivered"), &json!("900")), "{output}");
    let (events, cursor) = collect(&world, FEEDBACK, 10, None).await?;
    let mut ids = message_ids(&events);
    ids.sort_unstable();
    ids.retain(|id| *id != 900);
    assert_eq!(ids, (0..10).collect::<Vec<_>>());
    settle(&world, FEEDBACK, cursor).await?;

    // A batch with nothing but the own record is completed.
    let token = begin(&world, "press-2", 600).await?;
    world.emulator.devices().reject_messages("press-2").await?;
    assert_eq!(end(&world, token).await?["outcome"], "rejected");
    assert_eq!(world.emulator.feedback_left(), 0, "nothing is left behind");
    world.emulator.shutdown().await;
    Ok(())
}

/// While the device takes nothing, the queue of feedback is not looked at; after the expiry the end is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_takes_expires() -> Result<()> {
    let world = world(&["press-1"]).await?;
    let token = begin(&world, "press-1", 1).await?;
    let output = end(&world, token).await?;
    assert_eq!((&output["outcome"], &output["reason"]), (&json!("expired"), &Value::Null), "{output}");
    assert_eq!(world.emulator.feedback_left(), 0);
    world.emulator.shutdown().await;
    Ok(())
}

/// The hub's operations for feedback over HTTPS work as custom requests: receive, abandon, receive again, complete.
#[tokio::test(flavor = "multi_thread")]
async fn feedback_is_read_over_https_by_custom_requests() -> Result<()> {
    let world = world(&["press-1"]).await?;
    give_feedback(&world, "press-1", 0..1).await?;
    let path = "/messages/serviceBound/feedback";
    let receive = json!({ "method": "GET", "path": path });
    let mut batch = world.done("custom-request", receive.clone()).await?;
    ensure!(batch["status"] == 200, "{batch}");
    let token = |batch: &Value| batch["headers"]["etag"].as_str().unwrap_or_default().trim_matches('"').to_owned();
    let abandon = json!({ "method": "POST", "path": format!("{path}/{}/abandon", token(&batch)) });
    ensure!(world.done("custom-request", abandon).await?["status"] == 204);
    batch = world.done("custom-request", receive.clone()).await?;
    ensure!(batch["body"][0]["deviceId"] == "press-1", "{batch}");
    let complete = json!({ "method": "DELETE", "path": format!("{path}/{}", token(&batch)) });
    ensure!(world.done("custom-request", complete).await?["status"] == 204);
    ensure!(world.emulator.feedback_left() == 0, "the batch is still in the queue");
    let empty = world.done("custom-request", receive).await?;
    ensure!(empty["status"] == 204 && empty["body"].is_null(), "{empty}");
    world.emulator.shutdown().await;
    Ok(())
}
