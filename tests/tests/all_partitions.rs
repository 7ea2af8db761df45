//! One poll for all partitions of a hub, through the built component. Also the messages to a person when other readers
//! are in the way, when a pinned endpoint is out of date, and when no telemetry arrives.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use azure_iot_emulator::{
    EmulatorOptions, EventBody, EventSource, SimulatedEvents, SimulatorOptions, TelemetryEvent, TelemetryMessage,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector_host::interface::connection::{Check, CheckOutcome, Report};
use connector_host::interface::trigger::{Budget, Event, LostPolicy, Page, Payload, PollRequest, Start};
use connector_host::interface::types::{Cursor, Error, ErrorCode, Retry};
use connector_host::{Account, CallError};
use connector_tests::faults::ledger::is_log_id;
use connector_tests::{World, link, tenant, values};
use serde_json::{Value, json};

const TELEMETRY: &str = "device-telemetry";

/// A poll of all partitions from the beginning.
fn of_all(cursor: Option<Cursor>) -> PollRequest {
    PollRequest {
        trigger: TELEMETRY.to_owned(),
        partition: String::new(),
        config: "{}".to_owned(),
        start: Start::Earliest,
        on_position_lost: LostPolicy::Stop,
        cursor,
        budget: Budget { events: 1_000, bytes: 8 << 20, wait_ms: 300 },
    }
}

/// The same poll with this configuration.
fn configured(config: &Value) -> PollRequest {
    PollRequest { config: config.to_string(), ..of_all(None) }
}

async fn poll(world: &World, request: &PollRequest) -> Result<Page, CallError> {
    world.account().poll(request).await
}

async fn warm(world: &World) -> Result<Account> {
    Ok(world.connector.open(&world.tenant, &world.connection).await?)
}

fn typed(result: Result<Page, CallError>) -> Result<Error> {
    match result {
        Ok(page) => anyhow::bail!("a page of {} events came", page.events.len()),
        Err(error) => error.connector().cloned().context("not the connector's own error"),
    }
}

fn data(event: &Event) -> Value {
    match &event.data {
        Payload::Json(text) => serde_json::from_str(text).expect("an event's data is JSON"),
        other => panic!("not JSON: {other:?}"),
    }
}

/// The sequence numbers of events by partition, in the order of delivery.
fn sequences<'e>(events: impl IntoIterator<Item = &'e Event>) -> BTreeMap<String, Vec<i64>> {
    let mut found = BTreeMap::<String, Vec<i64>>::new();
    for event in events {
        let number = data(event)["sequenceNumber"].as_i64().expect("a number");
        found.entry(event.partition.clone()).or_default().push(number);
    }
    found
}

/// Sends this many small messages to a partition.
fn fill(world: &World, partition: u16, count: usize) {
    let event = |number| TelemetryEvent::new("press-01", format!("{{\"n\":{number}}}")).json().partition(partition);
    world.emulator.telemetry().send_all((0..count).map(event));
}

/// Random numbers from a seed. The same seed gives the same numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % sides
    }
}

/// Messages of simulated devices, mixed with messages of every other kind of body and source.
fn mixed(count: u64) -> Vec<TelemetryEvent> {
    let simulated = SimulatedEvents::new(&SimulatorOptions { limit: Some(count), ..SimulatorOptions::default() });
    let event = |(number, message): (usize, TelemetryMessage)| {
        let mut event = TelemetryEvent::new(message.device_id, message.body);
        event.content_type = message.content_type;
        event.content_encoding = message.content_encoding;
        event.properties = message.properties;
        match number % 50 {
            10 => event.body = EventBody::MultipleData(vec!["{\"parts\":".into(), "2}".into()]),
            20 => event.body = EventBody::Value(json!({ "n": number, "list": [1, null, "x"] })),
            30 => event.body = EventBody::Sequence(vec![vec![json!(number)], vec![json!("end"), json!(false)]]),
            40 => event.source = EventSource::TwinChange,
            _ => {}
        }
        event
    };
    simulated.enumerate().map(event).collect()
}

/// Whether a delivered event equals the emulator's record of it.
fn is_as_recorded(delivered: &Value, recorded: &TelemetryEvent) -> bool {
    let body = &delivered["body"];
    let bytes = match &recorded.body {
        EventBody::Data(bytes) => bytes.to_vec(),
        EventBody::MultipleData(sections) => sections.concat(),
        EventBody::Value(value) => return delivered["bodyEncoding"] == "json" && body == value,
        EventBody::Sequence(lists) => return delivered["bodyEncoding"] == "json" && *body == json!(lists.concat()),
        _ => return false,
    };
    let same_body = match delivered["bodyEncoding"].as_str() {
        Some("json") => serde_json::from_slice::<Value>(&bytes).is_ok_and(|value| value == *body),
        Some("text") => body.as_str().map(str::as_bytes) == Some(&bytes),
        Some("base64") => STANDARD.decode(body.as_str().unwrap_or_default()).is_ok_and(|decoded| decoded == bytes),
        _ => false,
    };
    let properties: serde_json::Map<String, Value> =
        recorded.properties.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    same_body
        && delivered["deviceId"] == recorded.device_id.as_str()
        && delivered["properties"] == Value::Object(properties)
        && delivered["contentType"].as_str() == recorded.content_type.as_deref()
}

/// Engines stop at random places: instances are dropped between polls, and only the beginning of a page is committed.
/// The committed events must equal the emulator's record, each event once and in the order of its partition. So only
/// events that were not committed are repeated.
#[tokio::test(flavor = "multi_thread")]
async fn eight_thousand_mixed_events_are_as_recorded_wherever_engines_stop() -> Result<()> {
    let world = World::start().await?;
    world.emulator.telemetry().send_all(mixed(8_400));
    let mut dice = Dice(7);
    let mut committed: Vec<Event> = Vec::new();
    let mut cursor: Option<Cursor> = None;
    let mut instance: Option<Account> = None;
    let (mut polls, mut killed, mut again) = (0, 0, 0);
    loop {
        let mut request = of_all(cursor.clone());
        request.budget.events = u32::try_from(1 + dice.roll(700))?;
        let page = match &instance {
            Some(instance) => instance.poll(&request).await?,
            None => poll(&world, &request).await?,
        };
        polls += 1;
        ensure!(page.events.len() <= request.budget.events as usize, "more than the budget");
        let done = page.events.is_empty() && !page.more;
        let keep = if dice.roll(2) == 0 { page.events.len() } else { dice.roll(page.events.len() + 1) };
        again += page.events.len() - keep;
        let whole = keep == page.events.len();
        committed.extend(page.events.into_iter().take(keep));
        cursor = match (whole, committed.last()) {
            (true, _) => Some(page.next),
            (false, Some(last)) if keep > 0 => Some(last.cursor(cursor.as_ref())),
            _ => cursor,
        };
        if done {
            break;
        }
        if dice.roll(3) == 0 {
            killed += usize::from(instance.take().is_some());
            instance = if dice.roll(2) == 0 { Some(warm(&world).await?) } else { None };
        }
    }
    let mut count = 0;
    for partition in 0..4 {
        let record = world.emulator.telemetry().events(partition);
        let record: Vec<_> = record.iter().filter(|(_, _, event)| event.source == EventSource::Telemetry).collect();
        let delivered: Vec<&Event> =
            committed.iter().filter(|event| event.partition == partition.to_string()).collect();
        ensure!(delivered.len() == record.len(), "partition {partition}: {} of {}", delivered.len(), record.len());
        for (event, (number, _, recorded)) in delivered.iter().zip(&record) {
            let delivered = data(event);
            let id = event.id.split_once('-').filter(|(log, _)| is_log_id(log)).map(|(_, id)| id);
            ensure!(id == Some(format!("{partition}-{number}").as_str()), "{event:?}");
            ensure!(event.order_key == event.partition, "{event:?}");
            ensure!(is_as_recorded(&delivered, recorded), "{delivered} is not {recorded:?}");
        }
        count += delivered.len();
    }
    println!("{count} events by {polls} polls, {killed} instances killed, {again} events not committed came again");
    ensure!(count == 8_400 - 8_400 / 50 && killed > 0 && again > 0, "{count}, {killed}, {again}");
    let longest = committed.iter().map(|event| event.position.len()).max().unwrap_or(0);
    ensure!(longest <= 64, "a position of four partitions has {longest} bytes");
    world.emulator.shutdown().await;
    Ok(())
}

/// A partition that never runs out of events does not delay the others, even with small pages.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_partition_does_not_starve_the_others() -> Result<()> {
    let world = World::start().await?;
    for (partition, count) in [(0, 3_000), (1, 5), (3, 5)] {
        fill(&world, partition, count);
    }
    let mut request = of_all(None);
    request.budget.events = 2;
    let mut events: Vec<Event> = Vec::new();
    for _ in 0..10 {
        let page = poll(&world, &request).await?;
        request.cursor = Some(page.next);
        events.extend(page.events);
    }
    let found = sequences(&events);
    assert_eq!((found["1"].len(), found["3"].len()), (5, 5), "{found:?}");
    world.emulator.shutdown().await;
    Ok(())
}

/// A warm instance reads all partitions over one connection. Events that arrive between two polls are delivered by the
/// next poll.
#[tokio::test(flavor = "multi_thread")]
async fn a_warm_instance_keeps_one_link_for_each_partition() -> Result<()> {
    let world = World::start().await?;
    let instance = warm(&world).await?;
    let mut request = of_all(None);
    for round in 1..=3 {
        (0..4).for_each(|partition| fill(&world, partition, 10));
        let mut events = Vec::new();
        for _ in 0..200 {
            if events.len() == 40 {
                break;
            }
            let page = instance.poll(&request).await?;
            request.cursor = Some(page.next);
            events.extend(page.events);
        }
        // A poll without a waiting time delivers the next events as well.
        request.budget.wait_ms = 0;
        let numbers: Vec<i64> = ((round - 1) * 10..round * 10).collect();
        assert!(sequences(&events).values().all(|found| *found == numbers), "{:?}", sequences(&events));
        let readers: Vec<usize> = (0..4).map(|id| world.emulator.telemetry().readers("$Default", id)).collect();
        assert_eq!(readers, [1; 4]);
    }
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_lost_in_one_partition_does_not_replay_the_others() -> Result<()> {
    let mut world = World::start().await?;
    (0..4).for_each(|partition| fill(&world, partition, 50));
    let mut request = of_all(None);
    request.budget.events = 40;
    let cursor = poll(&world, &request).await?.next;
    world.emulator.telemetry().forget_before(2, 30);
    let mut request = of_all(Some(cursor.clone()));
    let error = typed(poll(&world, &request).await)?;
    assert_eq!(error.code, ErrorCode::PositionLost);
    assert!(error.message.contains("Partition 2: 20 events"), "{}", error.message);
    for (policy, of_the_lost) in [(LostPolicy::Earliest, Some((30..50).collect::<Vec<_>>())), (LostPolicy::Now, None)] {
        request.on_position_lost = policy;
        let page = poll(&world, &request).await?;
        let mut found = sequences(&page.events);
        assert_eq!((found.remove("2"), page.notices.len()), (of_the_lost, 1));
        assert!(found.len() == 3 && found.values().all(|found| *found == (10..50).collect::<Vec<_>>()), "{found:?}");
    }
    // After a fail-over, the hub has a new log, and all places of the cursor are gone.
    world.emulator.fail_over().await?;
    world.tenant = tenant(&world.emulator)?;
    (0..4).for_each(|partition| fill(&world, partition, 3));
    request.on_position_lost = LostPolicy::Stop;
    let error = typed(poll(&world, &request).await)?;
    assert_eq!(error.code, ErrorCode::PositionLost);
    request.on_position_lost = LostPolicy::Earliest;
    let page = poll(&world, &request).await?;
    assert_eq!((page.events.len(), page.notices.len()), (12, 1));
    world.emulator.shutdown().await;
    Ok(())
}

/// All start modes for all partitions in one poll, and a change to one poll for each partition.
#[tokio::test(flavor = "multi_thread")]
async fn starts_and_a_change_to_single_partitions() -> Result<()> {
    let world = World::start().await?;
    (0..4).for_each(|partition| fill(&world, partition, 10));
    let mut request = of_all(None);
    request.start = Start::AtPosition("3".to_owned());
    let error = typed(poll(&world, &request).await)?;
    assert_eq!((error.code, error.fields[0].pointer.as_str()), (ErrorCode::InvalidInput, "/start/at-position"));
    request.start = Start::Now;
    let page = poll(&world, &request).await?;
    assert_eq!(page.events.len(), 0);
    (0..4).for_each(|partition| fill(&world, partition, 2));
    let mut single = of_all(Some(page.next));
    single.partition = "3".to_owned();
    let page = poll(&world, &single).await?;
    assert_eq!(sequences(&page.events), [("3".to_owned(), vec![10, 11])].into());
    let mut back = of_all(Some(page.next));
    assert_eq!(typed(poll(&world, &back).await)?.code, ErrorCode::PositionLost);
    back.trigger = "device-lifecycle-events".to_owned();
    assert_eq!(typed(poll(&world, &back).await)?.code, ErrorCode::PositionLost);
    world.emulator.shutdown().await;
    Ok(())
}

/// The host's clock is two hours late, so every token has expired when it arrives. AMQP states no time. The hub's HTTPS
/// API states the time, and the tokens for both AMQP endpoints use it.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_is_put_right() -> Result<()> {
    let world = World::with(EmulatorOptions { clock_ahead: 2 * 3_600, ..EmulatorOptions::default() }).await?;
    fill(&world, 2, 3);
    let page = poll(&world, &of_all(None)).await?;
    assert_eq!(page.events.len(), 3);
    let instance = warm(&world).await?;
    world.emulator.traffic().record(true);
    assert_eq!(instance.poll(&of_all(None)).await?.events.len(), 3);
    assert!(!world.emulator.traffic().take().is_empty(), "the hub was asked for the time");
    let other = PollRequest { partition: "2".to_owned(), ..of_all(None) };
    assert_eq!(instance.poll(&other).await?.events.len(), 3, "over a connection of its own");
    assert!(world.emulator.traffic().take().is_empty(), "the instance knows the time");
    world.emulator.shutdown().await;
    Ok(())
}

async fn report(world: &World) -> Result<Report> {
    Ok(world.account().test().await?)
}

fn check<'r>(report: &'r Report, id: &str) -> &'r Check {
    report.checks.iter().find(|check| check.id == id).unwrap_or_else(|| panic!("no check {id}"))
}

/// The kind, the message and the fix of a conflict between readers.
fn conflict(error: &Error) -> Result<(&str, &str, &str)> {
    ensure!(error.code == ErrorCode::ConsumerConflict && error.retry == Retry::AfterReconfiguration, "{error:?}");
    let field = error.fields.first().context("where to change it")?;
    ensure!(field.pointer == "/consumerGroup", "{field:?}");
    let fix = field.fix.as_deref().context("a way out")?;
    ensure!(error.message.contains(&field.message) && error.message.contains(fix), "{}", error.message);
    Ok((&field.code, &field.message, fix))
}

fn readers(world: &World) -> Vec<usize> {
    (0..world.emulator.telemetry().partition_count())
        .map(|partition| world.emulator.telemetry().readers("$Default", partition))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_with_a_higher_owner_level_is_named_with_the_way_out() -> Result<()> {
    let options = EmulatorOptions { consumer_groups: vec!["workflows".to_owned()], ..EmulatorOptions::default() };
    let world = World::with(options).await?;
    fill(&world, 0, 3);
    let owner = warm(&world).await?;
    owner.poll(&configured(&json!({ "ownerLevel": 22 }))).await?;
    assert_eq!(readers(&world), [1; 4]);
    for (config, own) in [(json!({}), "this reader has none"), (json!({ "ownerLevel": 3 }), "this reader's is 3")] {
        let error = typed(poll(&world, &configured(&config)).await)?;
        let (kind, message, fix) = conflict(&error)?;
        assert_eq!(kind, "outranked");
        assert!(message.contains("the owner level 22") && message.contains(own), "{message}");
        assert!(message.contains("Azure Functions"), "the group is the one that tools use: {message}");
        assert!(fix.contains("Consumer groups") && fix.contains("23 or more"), "{fix}");
    }
    // The test of the account reports the same before any poll, and disconnects no reader.
    let report = report(&world).await?;
    let found = check(&report, "consumer-group");
    assert_eq!(found.outcome, CheckOutcome::Warn);
    assert!(found.message.contains("the owner level 22"), "{}", found.message);
    assert!(found.remedy.as_deref().is_some_and(|remedy| remedy.contains("Consumer groups")), "{found:?}");
    assert_eq!(readers(&world), [1; 4]);
    owner.poll(&configured(&json!({ "ownerLevel": 22 }))).await?;
    // Both proposed fixes solve the conflict.
    assert_eq!(poll(&world, &configured(&json!({ "consumerGroup": "workflows" }))).await?.events.len(), 3);
    assert_eq!(poll(&world, &configured(&json!({ "ownerLevel": 23 }))).await?.events.len(), 3);
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_was_sent_away_says_so_and_does_not_fight() -> Result<()> {
    let world = World::start().await?;
    fill(&world, 1, 3);
    let (first, second) = (warm(&world).await?, warm(&world).await?);
    let claimed = configured(&json!({ "ownerLevel": 1 }));
    let cursor = first.poll(&claimed).await?.next;
    assert_eq!(second.poll(&claimed).await?.events.len(), 3, "the newer of two equals reads");
    let error = typed(first.poll(&PollRequest { cursor: Some(cursor), ..claimed.clone() }).await)?;
    let (kind, message, fix) = conflict(&error)?;
    assert_eq!(kind, "displaced");
    assert!(message.contains("the owner level 1") && message.contains("second copy"), "{message}");
    assert!(fix.contains("2 or more"), "{fix}");
    assert_eq!(readers(&world), [1; 4]);
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_readers_leave_no_place_for_a_sixth() -> Result<()> {
    let world = World::with(EmulatorOptions { partitions: 2, ..EmulatorOptions::default() }).await?;
    fill(&world, 0, 3);
    let mut crowd = Vec::new();
    for _ in 0..4 {
        let reader = warm(&world).await?;
        assert_eq!(reader.poll(&of_all(None)).await?.events.len(), 3);
        crowd.push(reader);
    }
    // A fifth reader is allowed. The test of the account is a reader for a moment, and then gives its slot back.
    let found = report(&world).await?;
    assert_eq!(check(&found, "consumer-group").outcome, CheckOutcome::Pass);
    assert!(check(&found, "consumer-group").message.contains("Azure Functions"), "a shared group is pointed out");
    assert_eq!(readers(&world), [4; 2]);
    let fifth = warm(&world).await?;
    fifth.poll(&of_all(None)).await?;
    let error = typed(poll(&world, &of_all(None)).await)?;
    let (kind, message, fix) = conflict(&error)?;
    assert_eq!(kind, "five-readers");
    assert!(message.contains("Five readers") && message.contains("$Default"), "{message}");
    assert!(fix.contains("Consumer groups") && fix.contains("stop one of the five"), "{fix}");
    let found = report(&world).await?;
    let group = check(&found, "consumer-group");
    assert_eq!(group.outcome, CheckOutcome::Warn);
    assert!(group.message.contains("Five readers"), "{}", group.message);
    assert_eq!(readers(&world), [5; 2]);
    world.emulator.shutdown().await;
    Ok(())
}

/// After the service breaks off a link, it is attached again with all other links of its connection. This works even in
/// a consumer group with no free slot, because the connection's own slots are free by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_link_is_replaced_in_a_full_group() -> Result<()> {
    let world = World::start().await?;
    let mut crowd = Vec::new();
    for _ in 0..4 {
        let reader = warm(&world).await?;
        reader.poll(&of_all(None)).await?;
        crowd.push(reader);
    }
    let own = warm(&world).await?;
    let cursor = own.poll(&of_all(None)).await?.next;
    assert_eq!(readers(&world), [5; 4]);
    world.emulator.faults().add_text("eventhub:TRANSFER /*/Partitions/1=detach:com.microsoft:server-busyx1")?;
    (0..4).for_each(|partition| fill(&world, partition, 10));
    let mut request = of_all(Some(cursor));
    let mut events = Vec::new();
    while events.len() < 40 {
        let page = own.poll(&request).await?;
        request.cursor = Some(page.next);
        events.extend(page.events);
    }
    let numbers: Vec<i64> = (0..10).collect();
    assert!(sequences(&events).values().all(|found| *found == numbers), "{:?}", sequences(&events));
    assert!(world.emulator.faults().fired() > 0, "no fault broke a link");
    world.emulator.shutdown().await;
    Ok(())
}

/// After a fail-over, a connection with a pinned endpoint continues to work. A notice says which field needs which new
/// value.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_pin_is_told_with_its_remedy() -> Result<()> {
    let mut world = World::start().await?;
    let mut pinned = values(&world.emulator, "connector", "connector")?;
    pinned["eventHubEndpoint"] = format!("sb://{}/", world.emulator.event_hub_host()).into();
    pinned["eventHubPath"] = world.emulator.event_hub_name().into();
    world.connection = link(pinned);
    fill(&world, 0, 2);
    let page = poll(&world, &of_all(None)).await?;
    assert_eq!((page.events.len(), page.notices.len()), (2, 0));
    assert_eq!(check(&report(&world).await?, "event-hub").outcome, CheckOutcome::Pass);

    world.emulator.fail_over().await?;
    world.tenant = tenant(&world.emulator)?;
    fill(&world, 0, 3);
    let instance = warm(&world).await?;
    let mut request = of_all(None);
    let (host, path) = (world.emulator.event_hub_host(), world.emulator.event_hub_name());
    for count in [3, 0] {
        let page = instance.poll(&request).await?;
        assert_eq!(page.events.len(), count);
        let notice = page.notices.first().context("a notice")?;
        assert_eq!(notice.code, "stale-endpoint");
        for words in [&format!("\"EventHub compatible Endpoint\" to sb://{host}/"), &format!("path\" to {path}")] {
            assert!(notice.message.contains(words.as_str()), "{words} in {}", notice.message);
        }
        request.cursor = Some(page.next);
    }
    let report = report(&world).await?;
    let found = check(&report, "event-hub");
    assert_eq!(found.outcome, CheckOutcome::Warn);
    assert!(found.message.contains("failover") && found.message.contains(&path), "{}", found.message);
    assert!(found.remedy.as_deref().is_some_and(|remedy| remedy.contains(&format!("sb://{host}/"))), "{found:?}");
    world.emulator.shutdown().await;
    Ok(())
}

/// Devices are connected and send, but no telemetry arrives at the endpoint, because it is routed elsewhere. This is
/// only a warning.
#[tokio::test(flavor = "multi_thread")]
async fn telemetry_that_is_routed_elsewhere_is_noticed() -> Result<()> {
    for routed_away in [true, false] {
        let options = EmulatorOptions {
            telemetry_routed_away: routed_away,
            system_event_routes: [EventSource::TwinChange].into(),
            ..EmulatorOptions::default()
        };
        let world = World::with(options).await?;
        let routing = async || anyhow::Ok(check(&report(&world).await?, "routing").clone());
        assert_eq!(routing().await?.outcome, CheckOutcome::Skipped, "without a device, no telemetry can be expected");
        world.done("create-device", json!({ "deviceId": "press-01" })).await?;
        let devices = world.emulator.devices();
        devices.connect("press-01").await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let sends = async || {
            let message = TelemetryMessage::json("press-01", &json!({ "temperature": 80 }));
            devices.send_telemetry(message).await.map_err(|error| anyhow::anyhow!("{error:?}"))
        };
        sends().await?;
        let found = routing().await?;
        if routed_away {
            assert_eq!(found.outcome, CheckOutcome::Warn);
            assert!(
                found.message.contains("One device is connected") && found.message.contains("never was one"),
                "{found:?}"
            );
            assert!(found.remedy.as_deref().is_some_and(|remedy| remedy.contains("fallback route")), "{found:?}");
            // The hub's own events do not count as telemetry.
            world.done("update-twin", json!({ "deviceId": "press-01", "tags": { "line": 1 } })).await?;
            let found = routing().await?;
            assert_eq!(found.outcome, CheckOutcome::Warn);
            assert!(found.message.contains("none is telemetry"), "{found:?}");
        } else {
            assert_eq!(found.outcome, CheckOutcome::Pass);
            assert!(found.message.contains("events arrive") && found.remedy.is_none(), "{found:?}");
        }
        world.emulator.shutdown().await;
    }
    Ok(())
}

/// In an earlier version, a small page and a filter that fits no event made the reader grant credit when no time was
/// left to write it. The poll timed out after a second, committed nothing, and the next poll did the same. 150 messages
/// take half a minute at five messages a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_fits_nothing_comes_to_the_end_whatever_the_page() -> Result<()> {
    let world = World::start().await?;
    for number in 0..150 {
        fill(&world, number % 4, 1);
    }
    let filter = json!({ "filter": { "conditions": [{ "path": "/nothing", "operator": "equals", "value": 1 }] } });
    for most in [1, 3, 5, 10, 20, 25] {
        let mut request = configured(&filter);
        request.budget.events = most;
        for polls in 0.. {
            ensure!(polls < 20, "pages of {most}: the end of the log is never reached");
            let page = poll(&world, &request).await.with_context(|| format!("pages of {most}"))?;
            ensure!(page.events.is_empty(), "pages of {most}: {:?}", page.events);
            ensure!(page.notices.is_empty(), "pages of {most}: {:?}", page.notices);
            request.cursor = Some(page.next);
            if page.lag == Some(0) {
                break;
            }
        }
    }
    // The log has no event of these triggers. A sample must still finish its search of the log.
    for trigger in ["device-lifecycle-events", "device-twin-change-events", "digital-twin-change-events"] {
        let events = world.account().sample(trigger, "{}", 5).await?;
        let [event] = events.as_slice() else { anyhow::bail!("{trigger}: {} events", events.len()) };
        ensure!(event.id == format!("sample-{trigger}") && event.source.starts_with("urn:example:"), "{event:?}");
    }
    world.emulator.shutdown().await;
    Ok(())
}
