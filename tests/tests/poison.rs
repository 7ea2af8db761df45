//! No single message stops a partition: a message that cannot be delivered in its own form is delivered as bytes with a
//! note, and reading continues.

use anyhow::{Context as _, Result, ensure};
use azure_iot_emulator::{EmulatorOptions, EventBody, TelemetryEvent};
use connector_host::interface::trigger::{Budget, Event, LostPolicy, Payload, PollRequest, Start};
use connector_tests::World;
use serde_json::{Value, json};

const TELEMETRY: &str = "device-telemetry";
/// The largest number of levels of a body that is delivered as JSON. The event's data adds one level around it.
const DEEPEST_BODY: usize = 126;

fn data(event: &Event) -> Value {
    match &event.data {
        Payload::Json(text) => serde_json::from_str(text).expect("an event's data is JSON"),
        other => panic!("not JSON: {other:?}"),
    }
}

fn request(partition: &str, config: &Value, events: u32) -> PollRequest {
    PollRequest {
        trigger: TELEMETRY.to_owned(),
        partition: partition.to_owned(),
        config: config.to_string(),
        start: Start::Earliest,
        on_position_lost: LostPolicy::Stop,
        cursor: None,
        budget: Budget { events, bytes: 8 << 20, wait_ms: 300 },
    }
}

/// All events, read by a warm instance page after page until a page is empty.
async fn read_all(world: &World, partition: &str, config: &Value, events: u32) -> Result<Vec<Event>> {
    let warm = world.connector.open(&world.tenant, &world.connection).await?;
    let mut request = request(partition, config, events);
    let mut all = Vec::new();
    for _ in 0..200 {
        let page = warm.poll(&request).await?;
        if page.events.is_empty() && !page.more {
            return Ok(all);
        }
        all.extend(page.events);
        request.cursor = Some(page.next);
    }
    anyhow::bail!("the end of the partition is never reached")
}

/// 127 levels of brackets have only 254 bytes, are valid JSON, and can be read by the connector. In an earlier version,
/// the host refused the whole page because of the event's data around them, in every poll.
#[tokio::test(flavor = "multi_thread")]
async fn a_deep_body_stops_nobody() -> Result<()> {
    let world = World::with(EmulatorOptions { partitions: 1, ..EmulatorOptions::default() }).await?;
    let telemetry = world.emulator.telemetry();
    let list = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let object = |levels: usize| r#"{"a":"#.repeat(levels) + "1" + &"}".repeat(levels);
    let levels = [1, 100, 124, 125, 126, 127, 128, 129, 400];
    for levels in levels {
        for body in [list(levels), object(levels)] {
            telemetry.send(TelemetryEvent::new("press-01", body).json());
        }
    }
    telemetry.send(TelemetryEvent::new("press-01", r#"{"last":true}"#).json());
    // A named field's value has two levels around it, but one level less of its own than the body.
    let fields = json!({ "fields": [{ "name": "inner", "path": "/a" }] });
    for (config, events) in [(json!({}), 500), (json!({}), 1), (fields, 500)] {
        for partition in ["0", ""] {
            let events = read_all(&world, partition, &config, events).await?;
            ensure!(events.len() == levels.len() * 2 + 1, "{} events with {config}", events.len());
            for (event, levels) in events.iter().zip(levels.into_iter().flat_map(|levels| [levels, levels])) {
                let data = data(event);
                let expected = if levels <= DEEPEST_BODY { "json" } else { "base64" };
                ensure!(data["bodyEncoding"] == expected, "{levels} levels: {}", data["bodyEncoding"]);
                ensure!(data.get("bodyNote").is_some() == (levels > DEEPEST_BODY), "{levels} levels");
            }
            let last = data(events.last().context("the last event")?);
            ensure!(last["body"]["last"] == true, "the event after them is delivered");
        }
    }
    let sample = world.account().sample(TELEMETRY, "{}", 100).await?;
    ensure!(sample.len() == levels.len() * 2 + 1, "{} in the sample", sample.len());
    world.emulator.shutdown().await;
    Ok(())
}

/// A message section with an AMQP value (0x77), already encoded.
fn value_section(value: &[u8]) -> EventBody {
    EventBody::Encoded([&[0x00, 0x53, 0x77], value].concat().into())
}

/// An array of this many elements without any bytes: nulls, with one descriptor for all of them.
fn described_nulls(count: u32, descriptor: &[u8]) -> Vec<u8> {
    let mut within = count.to_be_bytes().to_vec();
    within.push(0x00);
    within.extend([0xa3, u8::try_from(descriptor.len()).expect("short")]);
    within.extend(descriptor);
    within.push(0x40);
    let mut array = vec![0xf0];
    array.extend(u32::try_from(within.len()).expect("small").to_be_bytes());
    array.extend(within);
    array
}

/// A map whose key is a map whose key is a map, and so on. Each level escapes all quotes in its key once more.
fn maps_as_keys(levels: usize) -> Vec<u8> {
    let mut value = vec![0xa1, 1, b'"'];
    for _ in 0..levels {
        let mut within = 2_u32.to_be_bytes().to_vec();
        within.extend(value);
        within.push(0x40);
        value = vec![0xd1];
        value.extend(u32::try_from(within.len()).expect("small").to_be_bytes());
        value.extend(within);
    }
    value
}

/// Few bytes on the wire became tens of megabytes in memory. In an earlier version, three such messages ended every
/// poll of their partition.
#[tokio::test(flavor = "multi_thread")]
async fn values_that_expand_in_memory_stop_nobody() -> Result<()> {
    const MEMORY: usize = 24 << 20;
    let world = World::with(EmulatorOptions { partitions: 2, ..EmulatorOptions::default() }).await?;
    let telemetry = world.emulator.telemetry();
    let attacks = [
        described_nulls(30_000, &[b'd'; 120]),
        described_nulls(20_000, &[0; 128]),
        maps_as_keys(30),
        maps_as_keys(18),
        described_nulls(u32::MAX, b"x"),
    ];
    let mut sent = 0;
    for partition in [0, 1] {
        let mut send = |body: EventBody| {
            telemetry.send(TelemetryEvent::new("press-01", body).partition(partition));
            sent += 1;
        };
        send(r#"{"first":true}"#.into());
        for attack in &attacks {
            ensure!(attack.len() <= 400, "{} bytes", attack.len());
            for _ in 0..6 {
                send(value_section(attack));
            }
        }
        send(r#"{"last":true}"#.into());
    }
    for (config, events) in
        [(json!({}), 500), (json!({}), 1), (json!({ "fields": [{ "name": "f", "path": "/a" }] }), 500)]
    {
        let read = read_all(&world, "", &config, events).await?;
        ensure!(read.len() == sent, "{} of {sent} events", read.len());
        let ends = read.iter().filter(|event| data(event)["body"]["last"] == true).count();
        ensure!(ends == 2, "the end of each partition is reached");
    }
    let warm = world.connector.open(&world.tenant, &world.connection).await?;
    let mut request = request("", &json!({}), 500);
    loop {
        let page = warm.poll(&request).await?;
        if page.events.is_empty() && !page.more {
            break;
        }
        request.cursor = Some(page.next);
    }
    let memory = warm.memory_bytes().await.context("the instance is still kept")?;
    println!("{sent} messages: {:.2} MiB of linear memory", memory as f64 / f64::from(1 << 20));
    ensure!(memory <= MEMORY, "{memory} bytes");
    world.emulator.shutdown().await;
    Ok(())
}

/// The same with JSON: a megabyte of small objects, which a filter or a named field must parse.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_many_values_stops_nobody() -> Result<()> {
    let world = World::with(EmulatorOptions { partitions: 1, ..EmulatorOptions::default() }).await?;
    let telemetry = world.emulator.telemetry();
    let large = format!("[{}0]", r#"{"":0},"#.repeat(168_000));
    for body in [r#"{"a":1}"#.to_owned(), large.clone(), large, r#"{"last":true}"#.to_owned()] {
        telemetry.send(TelemetryEvent::new("press-01", body).json());
    }
    for config in [
        json!({ "fields": [{ "name": "a", "path": "/a" }] }),
        json!({ "filter": { "match": "any", "conditions": [{ "path": "/last", "operator": "equals", "value": true }] } }),
    ] {
        let events = read_all(&world, "0", &config, 500).await?;
        let noted = events.iter().filter(|event| data(event).get("bodyNote").is_some()).count();
        ensure!(noted == 2, "{noted} of {} events have a note that they were not parsed", events.len());
        ensure!(data(events.last().context("an event")?)["body"]["last"] == true, "the event after them is delivered");
    }
    world.emulator.shutdown().await;
    Ok(())
}
