//! The end of an instance: it closes its connections to the service properly.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use azure_iot_emulator::{Emulator, TelemetryEvent};
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_tests::World;
use serde_json::json;

const GROUP: &str = "$Default";

fn request() -> PollRequest {
    PollRequest {
        trigger: "device-telemetry".to_owned(),
        partition: "0".to_owned(),
        config: json!({}).to_string(),
        start: Start::Earliest,
        on_position_lost: LostPolicy::Stop,
        cursor: None,
        budget: Budget { events: 10, bytes: 1 << 20, wait_ms: 1_000 },
    }
}

fn send(emulator: &Emulator) {
    emulator.telemetry().send(TelemetryEvent::new("press-1", json!({ "n": 1 }).to_string()).json().partition(0));
}

async fn until_nobody_reads(emulator: &Emulator) -> Result<()> {
    let begun = Instant::now();
    while emulator.telemetry().readers(GROUP, 0) > 0 {
        ensure!(begun.elapsed() < Duration::from_secs(30), "the reader's slot is still taken");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_discarded_closes_its_connection() -> Result<()> {
    let world = World::start().await?;
    send(&world.emulator);
    let warm = world.connector.open(&world.tenant, &world.connection).await?;
    ensure!(warm.poll(&request()).await?.events.len() == 1);
    ensure!(world.emulator.telemetry().readers(GROUP, 0) == 1, "the link is kept between polls");
    let closed = world.emulator.traffic().amqp_connections_closed();
    warm.discard().await;
    ensure!(world.emulator.traffic().amqp_connections_closed() == closed + 1, "the connection was not closed properly");
    until_nobody_reads(&world.emulator).await?;
    // The next call uses a new instance.
    ensure!(warm.poll(&request()).await?.events.len() == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_one_call_closes_its_connection() -> Result<()> {
    let world = World::start().await?;
    send(&world.emulator);
    let closed = world.emulator.traffic().amqp_connections_closed();
    ensure!(world.account().poll(&request()).await?.events.len() == 1);
    ensure!(world.emulator.traffic().amqp_connections_closed() > closed, "the connection was not closed properly");
    until_nobody_reads(&world.emulator).await
}
