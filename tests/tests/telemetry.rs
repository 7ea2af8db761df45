//! Telemetry through the built component, which speaks AMQP over TLS itself. No event is lost or delivered twice.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use azure_iot_emulator::{EmulatorOptions, SimulatedEvents, SimulatorOptions, TelemetryEvent};
use connector_host::interface::trigger::{Budget, Event, LostPolicy, Page, Payload, PollRequest, Start};
use connector_host::interface::types::{Cursor, ErrorCode, Retry};
use connector_host::{CallError, Connection, Limits};
use connector_tests::{World, link, tenant, tenant_with, values};
use serde_json::{Value, json};
use time::OffsetDateTime;

const TELEMETRY: &str = "device-telemetry";

/// A poll whose settings a test can vary.
struct Poll<'w> {
    world: &'w World,
    connection: Connection,
    partition: String,
    config: Value,
    start: Start,
    lost: LostPolicy,
    events: u32,
}

impl<'w> Poll<'w> {
    fn of(world: &'w World, partition: &str) -> Self {
        Self {
            world,
            connection: world.connection.clone(),
            partition: partition.to_owned(),
            config: json!({}),
            start: Start::Earliest,
            lost: LostPolicy::Stop,
            events: 500,
        }
    }

    async fn once(&self, cursor: Option<Cursor>) -> Result<Page, CallError> {
        let request = PollRequest {
            trigger: TELEMETRY.to_owned(),
            partition: self.partition.clone(),
            config: self.config.to_string(),
            start: self.start.clone(),
            on_position_lost: self.lost,
            cursor,
            budget: Budget { events: self.events, bytes: 8 << 20, wait_ms: 300 },
        };
        self.world.connector.account(&self.world.tenant, &self.connection).poll(&request).await
    }

    /// Polls as an engine does, until there are no more events.
    async fn drain(&self, mut cursor: Option<Cursor>) -> Result<(Vec<Event>, Cursor)> {
        let mut events = Vec::new();
        for _ in 0..1_000 {
            let page = match self.once(cursor.clone()).await {
                Err(error)
                    if error
                        .connector()
                        .is_some_and(|error| matches!(error.retry, Retry::Backoff | Retry::After(_))) =>
                {
                    continue;
                }
                page => page?,
            };
            let done = page.events.is_empty() && !page.more;
            events.extend(page.events);
            cursor = Some(page.next);
            if done {
                return Ok((events, cursor.context("set above")?));
            }
        }
        anyhow::bail!("the end of the partition is never reached")
    }
}

fn data(event: &Event) -> Value {
    match &event.data {
        Payload::Json(text) => serde_json::from_str(text).expect("an event's data is JSON"),
        other => panic!("not JSON: {other:?}"),
    }
}

fn send(world: &World, numbers: std::ops::Range<u32>) {
    let telemetry = world.emulator.telemetry();
    telemetry.send_all(numbers.map(|number| {
        let body = json!({ "n": number, "temperature": 60 + number % 40 }).to_string();
        TelemetryEvent::new(format!("press-{:02}", number % 20), body).json().property("line", (number % 3).to_string())
    }));
}

fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| data(event)["body"]["n"].as_u64().expect("a number")).collect()
}

async fn partitions(world: &World) -> Result<Vec<String>> {
    let found = world.account().partitions(TELEMETRY, "{}").await?;
    Ok(found.into_iter().map(|partition| partition.id).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_every_partition_once_and_in_order() -> Result<()> {
    let world = World::start().await?;
    send(&world, 0..2_000);
    let partitions = partitions(&world).await?;
    assert_eq!(partitions, ["0", "1", "2", "3"]);
    let mut all = BTreeSet::new();
    let mut cursors = BTreeMap::new();
    for partition in &partitions {
        let (events, cursor) = Poll::of(&world, partition).drain(None).await?;
        let sequences: Vec<u64> =
            events.iter().map(|event| data(event)["sequenceNumber"].as_u64().expect("a number")).collect();
        assert_eq!(sequences, (0..events.len() as u64).collect::<Vec<_>>(), "in order, without a gap");
        let ids: BTreeSet<&String> = events.iter().map(|event| &event.id).collect();
        assert_eq!(ids.len(), events.len());
        all.extend(numbers(&events));
        cursors.insert(partition.clone(), cursor);
    }
    assert_eq!(all.len(), 2_000);

    // A later poll continues from the cursor.
    send(&world, 2_000..2_100);
    for (partition, cursor) in cursors {
        let (events, _) = Poll::of(&world, &partition).drain(Some(cursor)).await?;
        all.extend(numbers(&events));
        assert!(numbers(&events).iter().all(|number| *number >= 2_000));
    }
    assert_eq!(all.len(), 2_100);
    world.emulator.shutdown().await;
    Ok(())
}

/// One warm instance reads a full partition with the largest pages that an engine may request. Its memory stays so
/// small that hundreds of such instances fit into one process.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_events_of_1_kb_stream_through_8_mib() -> Result<()> {
    const EVENTS: u64 = 20_000;
    const MEMORY: usize = 8 << 20;
    let world = World::with(EmulatorOptions { partitions: 1, ..EmulatorOptions::default() }).await?;
    world.emulator.telemetry().send_all((0..EVENTS).map(|number| {
        let body = json!({ "n": number, "pad": "x".repeat(1_000) }).to_string();
        TelemetryEvent::new(format!("press-{:02}", number % 20), body).json().property("line", (number % 3).to_string())
    }));
    let mut limits = Limits::default();
    limits.memory_bytes = MEMORY;
    let tenant = tenant_with(&world.emulator, limits)?;
    let warm = world.connector.open(&tenant, &world.connection).await?;
    let mut request = PollRequest {
        trigger: TELEMETRY.to_owned(),
        partition: "0".to_owned(),
        config: "{}".to_owned(),
        start: Start::Earliest,
        on_position_lost: LostPolicy::Stop,
        cursor: None,
        budget: Budget { events: 4_000, bytes: 64 << 20, wait_ms: 300 },
    };
    let (mut count, mut pages) = (0, 0);
    while count < EVENTS {
        let page = warm.poll(&request).await?;
        ensure!(!page.events.is_empty(), "{count} events came");
        for event in &page.events {
            ensure!(data(event)["sequenceNumber"].as_u64() == Some(count), "each event is delivered once and in order");
            count += 1;
        }
        request.cursor = Some(page.next);
        pages += 1;
    }
    let memory = warm.memory_bytes().await.context("the instance is still kept")?;
    println!("{count} events in {pages} pages: {:.2} MiB of linear memory", memory as f64 / f64::from(1 << 20));
    ensure!(memory <= MEMORY, "{memory} bytes");
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_event_by_event_nothing_is_missed_or_repeated() -> Result<()> {
    let world = World::with(EmulatorOptions { partitions: 2, ..EmulatorOptions::default() }).await?;
    send(&world, 0..60);
    let mut seen = Vec::new();
    for partition in ["0", "1"] {
        let mut cursor: Option<Cursor> = None;
        loop {
            let page = Poll::of(&world, partition).once(cursor.clone()).await?;
            let Some(first) = page.events.first() else { break };
            seen.extend(numbers(std::slice::from_ref(first)));
            cursor = Some(first.cursor(cursor.as_ref()));
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_hold_back_and_move_on() -> Result<()> {
    let world = World::with(EmulatorOptions { partitions: 1, ..EmulatorOptions::default() }).await?;
    send(&world, 0..400);
    let mut poll = Poll::of(&world, "0");
    poll.config = json!({
        "deviceIds": ["press-1*"],
        "filter": { "conditions": [
            { "path": "/temperature", "operator": "greaterThan", "value": 90 },
            { "path": "/$properties/line", "operator": "oneOf", "value": ["1", "2"] },
        ] },
        "fields": [{ "name": "temp", "path": "/temperature" }],
    });
    let expected: Vec<u64> = (0..400).filter(|n| n % 20 >= 10 && 60 + n % 40 > 90 && n % 3 != 0).collect();
    let (events, cursor) = poll.drain(None).await?;
    assert_eq!(numbers(&events), expected);
    assert!(!expected.is_empty() && data(&events[0])["fields"]["temp"].as_u64() > Some(90));
    assert_eq!(poll.once(Some(cursor)).await?.lag, Some(0), "held-back events count as read");
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_what_they_say_or_bytes_with_a_note() -> Result<()> {
    let world = World::with(EmulatorOptions { partitions: 1, ..EmulatorOptions::default() }).await?;
    let telemetry = world.emulator.telemetry();
    telemetry.send(TelemetryEvent::new("d", "{\"a\":1}").json());
    telemetry.send(TelemetryEvent::new("d", "plain words"));
    telemetry.send(TelemetryEvent::new("d", bytes::Bytes::from_static(&[0xff, 0x00, 0x80])));
    telemetry.send(TelemetryEvent::new("d", "{\"a\":").json().message_id("broken"));
    let (events, _) = Poll::of(&world, "0").drain(None).await?;
    let delivered: Vec<(Value, bool)> = events
        .iter()
        .map(|event| (data(event)["bodyEncoding"].clone(), data(event).get("bodyNote").is_some()))
        .collect();
    assert_eq!(
        delivered,
        [(json!("json"), false), (json!("text"), false), (json!("base64"), false), (json!("base64"), true)]
    );
    assert_eq!(data(&events[0])["body"], json!({ "a": 1 }));
    assert_eq!(data(&events[3])["messageId"], "broken");
    assert_eq!(events[0].subject.as_deref(), Some("devices/d"));
    assert!(events[0].time.as_deref().is_some_and(|time| time.ends_with('Z')));
    world.emulator.shutdown().await;
    Ok(())
}

/// In an earlier version, the connector read these properties and dropped them.
#[tokio::test(flavor = "multi_thread")]
async fn all_properties_of_a_message_are_told() -> Result<()> {
    let world = World::with(EmulatorOptions { partitions: 1, ..EmulatorOptions::default() }).await?;
    let at = |seconds: i64| OffsetDateTime::from_unix_timestamp(1_700_000_000 + seconds).ok();
    let mut event = TelemetryEvent::new("press-1", "1").json();
    event.user_id = Some("operator".into());
    event.to = Some("/devices/press-1/messages/events".to_owned());
    event.subject = Some("alarm".to_owned());
    event.reply_to = Some("answers".to_owned());
    event.creation_time = at(0);
    event.absolute_expiry_time = at(60);
    event.group = Some(("line-3".to_owned(), 7));
    event.reply_to_group_id = Some("line-4".to_owned());
    event.partition_key = Some("press".to_owned());
    world.emulator.telemetry().send_all([event]);
    let page = world.poll_partition("device-telemetry", "0", json!({}), Start::Earliest, None).await?;
    let delivered = data(&page.events[0]);
    let declared = world.connector.descriptor().triggers.iter().find(|it| it.operation.id == "device-telemetry");
    let schema: Value = serde_json::from_str(&declared.context("declared")?.operation.output_schema)?;
    for (name, value) in [
        ("userId", json!("operator")),
        ("to", json!("/devices/press-1/messages/events")),
        ("subject", json!("alarm")),
        ("replyTo", json!("answers")),
        ("creationTime", json!("2023-11-14T22:13:20.000Z")),
        ("absoluteExpiryTime", json!("2023-11-14T22:14:20.000Z")),
        ("groupId", json!("line-3")),
        ("groupSequence", json!(7)),
        ("replyToGroupId", json!("line-4")),
        ("partitionKey", json!("press")),
    ] {
        assert_eq!(delivered[name], value, "{name} in {delivered}");
        ensure!(schema["properties"].get(name).is_some(), "{name} is not declared");
    }
    world.emulator.shutdown().await;
    Ok(())
}

/// As doubles, the first condition would fit both numbers and the second neither, and named fields would lose digits.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_compared_and_told_to_their_last_digit() -> Result<()> {
    let world = World::with(EmulatorOptions { partitions: 1, ..EmulatorOptions::default() }).await?;
    let sent =
        ["9007199254740992", "9007199254740993", "123456789012345678901234567890", "1e400", "0.1000000000000000055"];
    let events = sent.map(|number| TelemetryEvent::new("press-1", format!("{{\"n\":{number}}}")).json());
    world.emulator.telemetry().send_all(events);
    for (operator, value, expected) in [
        ("equals", "9007199254740992", &sent[..1]),
        ("equals", "9007199254740993.0", &sent[1..2]),
        ("greaterThan", "9007199254740992", &sent[1..4]),
        ("greaterThan", "1e399", &sent[3..4]),
        ("equals", "123456789012345678901234567890", &sent[2..3]),
        ("greaterThan", "0.1", &sent[..]),
        ("lessOrEqual", "0.1", &[]),
    ] {
        let config = format!(
            r#"{{"filter":{{"conditions":[{{"path":"/n","operator":"{operator}","value":{value}}}]}},"fields":[{{"name":"n","path":"/n"}}]}}"#
        );
        let config: Value = serde_json::from_str(&config)?;
        let page = world.poll_partition("device-telemetry", "0", config, Start::Earliest, None).await?;
        let delivered: Vec<String> = page.events.iter().map(|event| data(event)["body"]["n"].to_string()).collect();
        let fields: Vec<String> = page.events.iter().map(|event| data(event)["fields"]["n"].to_string()).collect();
        let expected: Vec<String> = expected.iter().map(|number| number.replace("1e400", "1e+400")).collect();
        assert_eq!((&delivered, &fields), (&expected, &expected), "{operator} {value}");
    }
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn starts() -> Result<()> {
    let world = World::with(EmulatorOptions { partitions: 1, ..EmulatorOptions::default() }).await?;
    send(&world, 0..50);
    let mut poll = Poll::of(&world, "0");
    poll.start = Start::Now;
    let page = poll.once(None).await?;
    assert!(page.events.is_empty());
    send(&world, 50..60);
    let (events, _) = poll.drain(Some(page.next)).await?;
    assert_eq!(numbers(&events), (50..60).collect::<Vec<_>>());
    poll.start = Start::AtPosition("44".to_owned());
    let (events, _) = poll.drain(None).await?;
    assert_eq!(numbers(&events), (45..60).collect::<Vec<_>>());
    let at = events[0].time.clone().context("a time")?;
    poll.start = Start::AtTime(at);
    let (events, _) = poll.drain(None).await?;
    ensure!(numbers(&events).contains(&45), "from that time on");
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_said_and_answered_by_the_policy() -> Result<()> {
    let mut world = World::with(EmulatorOptions { partitions: 1, ..EmulatorOptions::default() }).await?;
    send(&world, 0..100);
    let mut poll = Poll::of(&world, "0");
    poll.events = 10;
    let cursor = poll.once(None).await?.next;
    world.emulator.telemetry().forget_before(0, 50);
    let error = poll.once(Some(cursor.clone())).await.expect_err("stop").connector().cloned().context("typed")?;
    assert_eq!(error.code, ErrorCode::PositionLost);
    assert!(error.message.contains("40 events"), "{}", error.message);
    poll.lost = LostPolicy::Earliest;
    let page = poll.once(Some(cursor.clone())).await?;
    assert_eq!((numbers(&page.events).first().copied(), page.notices.len()), (Some(50), 1));

    // A fail-over moves the endpoint and begins a new log. The hub's own values lead to the new endpoint, but the
    // cursor is no longer valid.
    world.emulator.fail_over().await?;
    world.tenant = tenant(&world.emulator)?;
    send(&world, 200..205);
    let mut poll = Poll::of(&world, "0");
    let error = poll.once(Some(page.next.clone())).await.expect_err("stop").connector().cloned().context("typed")?;
    assert_eq!(error.code, ErrorCode::PositionLost);
    poll.lost = LostPolicy::Earliest;
    let (events, _) = poll.drain(Some(page.next)).await?;
    assert_eq!(numbers(&events), (200..205).collect::<Vec<_>>());
    world.emulator.shutdown().await;
    Ok(())
}

/// The endpoint and path are pinned. After they are out of date, the hub is asked for the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_endpoint_that_went_stale_is_found_again() -> Result<()> {
    let mut world = World::with(EmulatorOptions { partitions: 1, ..EmulatorOptions::default() }).await?;
    let mut pinned = values(&world.emulator, "connector", "connector")?;
    pinned["eventHubEndpoint"] = format!("sb://{}/", world.emulator.event_hub_host()).into();
    pinned["eventHubPath"] = world.emulator.event_hub_name().into();
    send(&world, 0..5);
    let mut poll = Poll::of(&world, "0");
    poll.connection = link(pinned.clone());
    let (events, _) = poll.drain(None).await?;
    assert_eq!(events.len(), 5);
    world.emulator.fail_over().await?;
    world.tenant = tenant(&world.emulator)?;
    send(&world, 5..7);
    let mut poll = Poll::of(&world, "0");
    poll.connection = link(pinned);
    let (events, _) = poll.drain(None).await?;
    assert_eq!(numbers(&events), [5, 6]);
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_to_do() -> Result<()> {
    let world = World::with(EmulatorOptions { partitions: 1, ..EmulatorOptions::default() }).await?;
    let typed = |error: CallError| error.connector().cloned().context("typed");
    let mut wrong = values(&world.emulator, "connector", "connector")?;
    wrong["sharedAccessKey"] = "d3Jvbmcga2V5LCB3cm9uZyBrZXksIHdyb25nIQ==".into();
    let mut poll = Poll::of(&world, "0");
    poll.connection = link(wrong);
    let error = typed(poll.once(None).await.expect_err("a wrong key"))?;
    assert_eq!(error.code, ErrorCode::AuthFailed, "{error:?}");

    let mut poll = Poll::of(&world, "0");
    poll.config = json!({ "consumerGroup": "nobody" });
    let error = typed(poll.once(None).await.expect_err("no such group"))?;
    assert_eq!(error.code, ErrorCode::NotFound, "{error:?}");
    let poll = Poll::of(&world, "77");
    let error = typed(poll.once(None).await.expect_err("no such partition"))?;
    assert!(matches!(error.code, ErrorCode::NotFound | ErrorCode::InvalidInput), "{error:?}");

    let mut poll = Poll::of(&world, "0");
    poll.config = json!({ "filter": { "conditions": [{ "path": "/t", "operator": "oneOf", "value": 1 }] } });
    let error = typed(poll.once(None).await.expect_err("a filter that does not fit"))?;
    assert_eq!(error.code, ErrorCode::InvalidConfig);
    assert_eq!(error.fields[0].pointer, "/filter/conditions/0/value");
    world.emulator.shutdown().await;
    Ok(())
}

/// Messages of simulated devices, for sending directly to the partitions.
fn simulated(options: &SimulatorOptions) -> Vec<TelemetryEvent> {
    let event = |message: azure_iot_emulator::TelemetryMessage| {
        let mut event = TelemetryEvent::new(message.device_id, message.body);
        event.content_type = message.content_type;
        event.content_encoding = message.content_encoding;
        event.properties = message.properties;
        event
    };
    SimulatedEvents::new(options).map(event).collect()
}

/// The component must deliver what the emulator has recorded of a partition: the same number of events, in order, with
/// the same bodies and properties.
async fn same_as_the_record(world: &World, partition: u16, poll: &Poll<'_>) -> Result<usize> {
    let mut cursor = None;
    let mut delivered: BTreeMap<u64, Value> = BTreeMap::new();
    let mut newest = None;
    let (mut repeated, mut failures) = (0, 0);
    let record = world.emulator.telemetry().events(partition);
    while delivered.len() < record.len() {
        ensure!(failures < 200, "{} of {} after {failures} failures", delivered.len(), record.len());
        let page = match poll.once(cursor.clone()).await {
            Ok(page) => page,
            Err(error) => {
                let typed =
                    error.connector().cloned().with_context(|| format!("not the connector's own: {error:?}"))?;
                ensure!(matches!(typed.retry, Retry::Backoff | Retry::After(_)), "{typed:?}");
                failures += 1;
                continue;
            }
        };
        for event in &page.events {
            let data = data(event);
            let number = data["sequenceNumber"].as_u64().context("a number")?;
            ensure!(newest.is_none_or(|newest| number > newest) || delivered.contains_key(&number), "out of order");
            newest = newest.max(Some(number));
            repeated += usize::from(delivered.insert(number, data).is_some());
        }
        cursor = Some(page.next);
    }
    for (number, _, event) in &record {
        let delivered = &delivered[&u64::try_from(*number)?];
        ensure!(delivered["deviceId"] == event.device_id.as_str(), "{number}: {delivered}");
        for (name, value) in &event.properties {
            ensure!(delivered["properties"][name] == value.as_str(), "{number}: {name} in {delivered}");
        }
    }
    println!("partition {partition}: {} events, {repeated} repeated, {failures} failures met", record.len());
    ensure!(repeated == 0 || failures > 0, "events were repeated without a fault");
    Ok(record.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_mixed_events_are_as_the_emulator_has_them() -> Result<()> {
    let world = World::start().await?;
    let options = SimulatorOptions { limit: Some(20_000), ..SimulatorOptions::default() };
    world.emulator.telemetry().send_all(simulated(&options));
    let mut all = 0;
    for partition in 0..4 {
        let mut poll = Poll::of(&world, &partition.to_string());
        poll.events = 2_000;
        all += same_as_the_record(&world, partition, &poll).await?;
    }
    assert_eq!(all, 20_000);
    world.emulator.shutdown().await;
    Ok(())
}

/// Connections drop in the middle of a frame, links are detached with every condition that may pass, and the service is
/// busy. Each event must still arrive, in order, and twice only after a fault. Every poll is a new instance.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_line_is_bad() -> Result<()> {
    for seed in [1, 2, 3] {
        let options = EmulatorOptions { partitions: 2, fault_seed: seed, ..EmulatorOptions::default() };
        let world = World::with(options).await?;
        let events = SimulatorOptions { limit: Some(3_000), seed, ..SimulatorOptions::default() };
        world.emulator.telemetry().send_all(simulated(&events));
        for fault in [
            "eventhub:TRANSFER /*=half@0.002",
            "eventhub:TRANSFER /*=drop@0.001",
            "eventhub:TRANSFER /*=detach:amqp:link:detach-forced@0.001",
            "eventhub:TRANSFER /*=detach:com.microsoft:server-busy@0.001",
            "eventhub:TRANSFER /*=detach:amqp:internal-error@0.001",
            "eventhub:TRANSFER /*=close:amqp:connection:forced@0.001",
            "eventhub:ATTACH /*=detach:com.microsoft:timeout@0.05",
            "eventhub:OPEN /*=drop@0.05",
        ] {
            world.emulator.faults().add_text(fault)?;
        }
        let mut all = 0;
        for partition in 0..2 {
            let mut poll = Poll::of(&world, &partition.to_string());
            poll.events = 400;
            all += same_as_the_record(&world, partition, &poll).await?;
        }
        assert_eq!(all, 3_000);
        ensure!(world.emulator.faults().fired() > 3, "only {} faults happened", world.emulator.faults().fired());
        world.emulator.shutdown().await;
    }
    Ok(())
}
