//! AMQP over WebSockets on the HTTPS port, through the built component: everything that uses AMQP must work over
//! WebSockets and open no other connection, and a rejection by the network must not be reported as one by the service.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_iot_emulator::{Emulator, EmulatorOptions, EventBody, Service, TelemetryEvent};
use connector_host::Connection;
use connector_host::interface::connection::CheckOutcome;
use connector_host::interface::trigger::{Budget, Event, LostPolicy, Payload, PollRequest, Start};
use connector_host::interface::types::{Cursor, ErrorCode, Retry};
use connector_tests::{World, link, over_web_sockets, values};
use serde_json::{Value, json};

const EVENTS: u32 = 400;

async fn world() -> Result<World> {
    let mut options = EmulatorOptions::default();
    options.amqp.feedback_wait = Duration::ZERO;
    World::with(options).await?.over_web_sockets()
}

fn send(world: &World, count: u32) {
    let event = |number| {
        // Some messages are larger than one WebSocket message.
        let text = "x".repeat(if number % 100 == 50 { 100_000 } else { 200 });
        let body = json!({ "n": number, "text": text }).to_string();
        TelemetryEvent::new(format!("press-{}", number % 9), EventBody::Data(body.into())).json()
    };
    world.emulator.telemetry().send_all((0..count).map(event));
}

/// Checks that AMQP was used only on the HTTPS port, at these paths.
fn came_by_web_sockets(emulator: &Emulator, paths: &[&str]) -> Result<()> {
    let others: Vec<_> = emulator
        .tls_handshakes()
        .into_iter()
        .filter(|handshake| !matches!(handshake.service, Service::Hub | Service::Dps))
        .collect();
    ensure!(others.is_empty(), "connections to AMQP's own port: {others:?}");
    let exchanges = emulator.traffic().exchanges();
    let opened: BTreeSet<_> =
        exchanges.iter().filter(|one| one.status == Some(101)).map(|one| one.path.as_str()).collect();
    ensure!(opened.iter().copied().eq(paths.iter().copied()), "{opened:?}");
    Ok(())
}

/// The numbers in all events of all partitions.
async fn numbers(world: &World, connection: &Connection) -> Result<Vec<u64>> {
    let partitions = world
        .connector
        .account(&world.tenant, connection)
        .partitions("device-telemetry", &json!({}).to_string())
        .await?;
    let mut all = Vec::new();
    for partition in partitions {
        let mut cursor: Option<Cursor> = None;
        loop {
            let request = PollRequest {
                trigger: "device-telemetry".to_owned(),
                partition: partition.id.clone(),
                config: json!({}).to_string(),
                start: Start::Earliest,
                on_position_lost: LostPolicy::Stop,
                cursor,
                budget: Budget { events: 70, bytes: 8 << 20, wait_ms: 300 },
            };
            let page = world.connector.account(&world.tenant, connection).poll(&request).await?;
            all.extend(page.events.iter().filter_map(|event| data(event)["body"]["n"].as_u64()));
            if !page.more {
                break;
            }
            cursor = Some(page.next);
        }
    }
    all.sort_unstable();
    Ok(all)
}

fn data(event: &Event) -> Value {
    match &event.data {
        Payload::Json(text) => serde_json::from_str(text).unwrap_or_default(),
        _ => Value::Null,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_comes_by_them_found_or_pinned() -> Result<()> {
    let world = world().await?;
    world.emulator.traffic().record(true);
    send(&world, EVENTS);
    let all: Vec<u64> = (0..u64::from(EVENTS)).collect();
    let found = numbers(&world, &world.connection).await?;
    ensure!(found == all, "{found:?}");
    came_by_web_sockets(&world.emulator, &["/$iothub/websocket", "/$servicebus/websocket"])?;

    let mut pinned = over_web_sockets(values(&world.emulator, "connector", "connector")?);
    pinned["eventHubEndpoint"] = format!("sb://{}/", world.emulator.hub_host()).into();
    pinned["eventHubPath"] = world.emulator.event_hub_name().into();
    ensure!(numbers(&world, &link(pinned)).await? == all, "pinned");
    came_by_web_sockets(&world.emulator, &["/$iothub/websocket", "/$servicebus/websocket"])
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_by_them_and_feedback_comes_back() -> Result<()> {
    let world = world().await?;
    world.emulator.traffic().record(true);
    world.done("create-device", json!({ "deviceId": "press-1" })).await?;
    let sent = world
        .done(
            "send-cloud-to-device-message",
            json!({ "deviceId": "press-1", "body": { "n": 1 }, "acknowledgement": "full" }),
        )
        .await?;
    let messages = world.emulator.devices().take_messages("press-1").await.context("the device's messages")?;
    ensure!(messages.len() == 1 && messages[0].body == br#"{"n":1}"#.as_slice(), "{messages:?}");
    let mut cursor = None;
    for _ in 0..50 {
        let page = world.poll("cloud-to-device-message-feedback", json!({}), Start::Earliest, cursor).await?;
        if let Some(event) = page.events.first() {
            ensure!(data(event)["originalMessageId"] == sent["messageId"], "{event:?}");
            return came_by_web_sockets(&world.emulator, &["/$iothub/websocket"]);
        }
        cursor = Some(page.next);
    }
    anyhow::bail!("no feedback")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_is_checked_over_them() -> Result<()> {
    let world = world().await?;
    world.emulator.traffic().record(true);
    let validation = world.account().validate().await?;
    ensure!(validation.problems.is_empty(), "{:?}", validation.problems);
    let normalized: Value = serde_json::from_str(&validation.normalized)?;
    ensure!(normalized["iotHubWebSocketHost"] == world.emulator.hub_host(), "{normalized}");
    ensure!(normalized.get("iotHubAmqpHost").is_none(), "the unused port must not be opened: {normalized}");
    let report = world.account().test().await?;
    ensure!(
        report.checks.iter().all(|check| matches!(check.outcome, CheckOutcome::Pass | CheckOutcome::Skipped)),
        "{report:?}"
    );
    came_by_web_sockets(&world.emulator, &["/$iothub/websocket", "/$servicebus/websocket"])
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_about_the_network_and_tell_what_to_do() -> Result<()> {
    let world = world().await?;
    send(&world, 4);
    for (status, code, retry) in [
        (403, ErrorCode::Unavailable, Retry::AfterReconfiguration),
        (404, ErrorCode::Unavailable, Retry::AfterReconfiguration),
        (407, ErrorCode::Unavailable, Retry::AfterReconfiguration),
        (429, ErrorCode::RateLimited, Retry::Backoff),
        (502, ErrorCode::Unavailable, Retry::Backoff),
    ] {
        world.emulator.faults().clear();
        world.emulator.faults().add_text(&format!("hub:GET /$*={status}:page"))?;
        let refused = world.poll_partition("device-telemetry", "0", json!({}), Start::Earliest, None).await;
        let error = refused.err().context("a poll without a connection")?;
        let error = error.connector().cloned().context("the connector's own")?;
        ensure!((error.code, error.retry) == (code, retry), "{status}: {error:?}");
        ensure!(error.service.as_ref().and_then(|service| service.status) == Some(status), "{status}: {error:?}");
        ensure!(code == ErrorCode::RateLimited || error.message.contains("answers in its place"), "{}", error.message);
    }
    world.emulator.faults().clear();
    world.poll_partition("device-telemetry", "0", json!({}), Start::Earliest, None).await?;
    Ok(())
}
