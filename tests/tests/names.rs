//! A hub under its names of 2026, through the built component: every name works, and an account may change from one
//! name to another without becoming another hub. No event id of a hub's log is ever used for another event.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_iot_emulator::{EmulatorOptions, GatewayVersion, HubName, PasswordLogin, Service, TelemetryEvent};
use connector_host::Connection;
use connector_host::interface::connection::CheckOutcome;
use connector_host::interface::trigger::{Budget, Event, LostPolicy, Page, PollRequest, Start};
use connector_host::interface::types::{Cursor, ErrorCode, Severity};
use connector_tests::{TELEMETRY, World, link, tenant, tenant_by_name, values_by_name};
use serde_json::json;

const NAMES: [HubName; 3] = [HubName::Classic, HubName::Service, HubName::Device];
/// Triggers on the hub. Each has a different kind of cursor.
const TRIGGERS: [&str; 4] =
    [TELEMETRY, "device-twin-changed", "service-configuration-changed", "cloud-to-device-message-feedback"];

fn v2() -> EmulatorOptions {
    let mut options = EmulatorOptions { gateway: GatewayVersion::V2, ..EmulatorOptions::default() };
    options.amqp.feedback_wait = Duration::ZERO;
    options
}

/// A world whose account uses this name of the hub.
async fn world(options: EmulatorOptions, name: HubName) -> Result<World> {
    let mut world = World::with(options).await?;
    world.tenant = tenant_by_name(&world.emulator)?;
    world.connection = by(&world, name)?;
    Ok(world)
}

fn by(world: &World, name: HubName) -> Result<Connection> {
    Ok(link(values_by_name(&world.emulator, name)?))
}

async fn poll(world: &World, trigger: &str, cursor: Option<Cursor>) -> Result<Page> {
    let request = PollRequest {
        trigger: trigger.to_owned(),
        partition: String::new(),
        config: "{}".to_owned(),
        start: Start::Earliest,
        on_position_lost: LostPolicy::Stop,
        cursor,
        budget: Budget { events: 1_000, bytes: 8 << 20, wait_ms: 400 },
    };
    world.account().poll(&request).await.with_context(|| trigger.to_owned())
}

/// Polls until there are no more events.
async fn drain(world: &World, trigger: &str, mut cursor: Option<Cursor>) -> Result<(Vec<Event>, Cursor)> {
    let mut events = Vec::new();
    for _ in 0..100 {
        let page = poll(world, trigger, cursor).await?;
        let unexpected = page.notices.iter().find(|notice| notice.severity != Severity::Info);
        ensure!(unexpected.is_none(), "{trigger}: {unexpected:?}");
        let done = page.events.is_empty() && !page.more;
        events.extend(page.events);
        cursor = Some(page.next);
        if done {
            return Ok((events, cursor.context("set above")?));
        }
    }
    anyhow::bail!("polls of {trigger} never reach the end")
}

/// Causes an event for each of the triggers.
async fn happen(world: &World, number: u32) -> Result<()> {
    let device = format!("press-{number}");
    world.done("create-device", json!({ "deviceId": device })).await?;
    world.done("update-twin", json!({ "deviceId": device, "tags": { "line": number } })).await?;
    world.done("send-device-to-cloud-message", json!({ "deviceId": device, "body": { "n": number } })).await?;
    let message =
        json!({ "deviceId": device, "body": number, "acknowledgement": "full", "messageId": format!("m{number}") });
    world.done("send-cloud-to-device-message", message).await?;
    let taken = world.emulator.devices().take_messages(&device).await;
    ensure!(taken.is_ok_and(|taken| taken.len() == 1), "the message is there");
    Ok(())
}

fn of(events: &[Event]) -> BTreeSet<(String, String)> {
    events.iter().map(|event| (event.id.clone(), event.source.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_an_account_to_another_name_is_no_other_hub() -> Result<()> {
    let mut world = world(v2(), HubName::Classic).await?;
    happen(&world, 0).await?;
    let mut cursors = Vec::new();
    for trigger in TRIGGERS {
        let (events, cursor) = drain(&world, trigger, None).await?;
        ensure!(events.iter().all(|event| event.source.starts_with("https://plant.azure-devices.net:")), "{events:?}");
        cursors.push((trigger, cursor, of(&events)));
    }
    for (number, name) in (1..).zip([HubName::Service, HubName::Device, HubName::Classic, HubName::Service]) {
        world.connection = by(&world, name)?;
        happen(&world, number).await?;
        for (trigger, cursor, seen) in &mut cursors {
            let (events, next) = drain(&world, trigger, Some(cursor.clone())).await?;
            ensure!(*trigger == "service-configuration-changed" || !events.is_empty(), "{trigger} by {name:?}");
            let new = of(&events);
            ensure!(seen.is_disjoint(&new), "{trigger} by {name:?}: delivered again");
            seen.extend(new);
            *cursor = next;
        }
    }
    // Read from the beginning, the log has the same ids and sources under every name.
    let mut delivered = Vec::new();
    for name in NAMES {
        world.connection = by(&world, name)?;
        delivered.push(of(&drain(&world, TELEMETRY, None).await?.0));
    }
    ensure!(delivered[0].len() == 5 && delivered[0] == delivered[1] && delivered[1] == delivered[2], "{delivered:?}");
    ensure!(delivered[0] == cursors[0].2, "the same events as under the first name");
    world.emulator.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_of_a_hub_works_for_everything() -> Result<()> {
    for name in NAMES {
        let world = world(v2(), name).await?;
        happen(&world, 0).await?;
        let report = world.account().test().await?;
        let outcome = |id: &str| report.checks.iter().find(|check| check.id == id).map(|check| check.outcome);
        for id in ["hub-reach", "hub-authenticate", "hub-permissions", "event-hub", "service-queues"] {
            ensure!(outcome(id) == Some(CheckOutcome::Pass), "{id} by {name:?}: {report:?}");
        }
        // The test of the account warns that the name for devices is rewritten.
        let values = if name == HubName::Device { CheckOutcome::Warn } else { CheckOutcome::Pass };
        ensure!(outcome("values") == Some(values), "{name:?}");
        ensure!(world.account().label().await?.starts_with("plant"));
        // HTTPS connections of the host and AMQP connections of the component must both use the parameters that the
        // service documents: the newest TLS version of this name, and AES-GCM.
        let handshakes = world.emulator.tls_handshakes();
        let version = if name == HubName::Classic { "TLSv1_2" } else { "TLSv1_3" };
        for service in [Service::Hub, Service::HubAmqp, Service::EventHub] {
            let mut of_it = handshakes.iter().filter(|handshake| handshake.service == service).peekable();
            ensure!(of_it.peek().is_some(), "{service:?} by {name:?}: nobody came");
            for handshake in of_it {
                ensure!(handshake.suite.contains("_AES_") && handshake.suite.contains("_GCM_"), "{handshake:?}");
                ensure!(service == Service::EventHub || handshake.version == version, "{name:?}: {handshake:?}");
            }
        }
        world.emulator.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_is_found_where_no_password_is_taken() -> Result<()> {
    for passwords in [PasswordLogin::Refused, PasswordLogin::NotOffered] {
        for name in [HubName::Classic, HubName::Service] {
            let mut options = v2();
            options.amqp.passwords = passwords;
            let world = world(options, name).await?;
            world.emulator.telemetry().send(TelemetryEvent::new("press-1", "{}"));
            let (events, _) = drain(&world, TELEMETRY, None).await?;
            ensure!(events.len() == 1, "{passwords:?} by {name:?}");
            world.emulator.shutdown().await;
        }
    }
    Ok(())
}

/// After a fail-over the sequence numbers begin again, but the event ids are new.
#[tokio::test(flavor = "multi_thread")]
async fn ids_after_a_fail_over_are_new() -> Result<()> {
    let mut world = World::start().await?;
    let send = |world: &World| {
        world
            .emulator
            .telemetry()
            .send_all((0..40).map(|n| TelemetryEvent::new(format!("press-{n}"), "{}").partition(n % 4)));
    };
    let mut all = BTreeSet::new();
    let mut places = BTreeSet::new();
    for round in 0..3_usize {
        send(&world);
        let (events, _) = drain(&world, TELEMETRY, None).await?;
        let again = of(&drain(&world, TELEMETRY, None).await?.0);
        ensure!(of(&events) == again && again.len() == 40, "the same each time");
        all.extend(again.into_iter().map(|(id, _)| id));
        ensure!(all.len() == 40 * (round + 1), "{} ids after {round} fail-overs", all.len());
        places.extend(events.iter().map(|event| event.id.split_once('-').map(|(_, place)| place.to_owned())));
        ensure!(places.len() == 40, "the emulator's numbers come again");
        world.emulator.fail_over().await?;
        world.tenant = tenant(&world.emulator)?;
    }
    world.emulator.shutdown().await;
    Ok(())
}

/// The log is the same, whether its endpoint is pinned, in upper or lower case, or found through the hub.
#[tokio::test(flavor = "multi_thread")]
async fn ids_do_not_depend_on_how_the_endpoint_was_found() -> Result<()> {
    let mut world = World::start().await?;
    world.emulator.telemetry().send_all((0..8).map(|n| TelemetryEvent::new(format!("press-{n}"), "{}")));
    let found = of(&drain(&world, TELEMETRY, None).await?.0);
    for path in [world.emulator.event_hub_name(), world.emulator.event_hub_name().to_uppercase()] {
        let mut values = connector_tests::values(&world.emulator, "connector", "connector")?;
        values["eventHubEndpoint"] = format!("sb://{}/", world.emulator.event_hub_host()).into();
        values["eventHubPath"] = path.as_str().into();
        world.connection = link(values);
        ensure!(of(&drain(&world, TELEMETRY, None).await?.0) == found, "{path}");
    }
    world.emulator.shutdown().await;
    Ok(())
}

/// An older hub does not have the name, and neither has a private endpoint without the new members. The error must say
/// what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_hub_lacks_is_explained() -> Result<()> {
    let world = world(v2(), HubName::Service).await?;
    let older = World::start().await?;
    let mut values = values_by_name(&world.emulator, HubName::Service)?;
    let port = |host: String| host.rsplit_once(':').map(|(_, port)| port.to_owned()).unwrap_or_default();
    values["iotHubName"] = format!("plant.service.azure-devices.net:{}", port(older.emulator.hub_host())).into();
    values["iotHubAmqpHost"] =
        format!("plant.service.azure-devices.net:{}", port(older.emulator.hub_amqp_host())).into();
    let connection = link(values);
    let input = json!({ "deviceId": "press-1" }).to_string();
    let call = connector_host::interface::action::Call::default();
    let invoked = world.connector.account(&world.tenant, &connection).invoke("get-device", &input, &call).await;
    let error = invoked.err().and_then(|error| error.connector().cloned()).context("typed")?;
    ensure!(error.code == ErrorCode::Unavailable, "{error:?}");
    ensure!(error.message.contains("iotHubService") && error.message.contains("plant.azure-devices.net"), "{error:?}");
    let report = world.connector.account(&world.tenant, &connection).test().await?;
    for id in ["hub-reach", "event-hub", "service-queues"] {
        let check = report.checks.iter().find(|check| check.id == id).context("checked")?;
        ensure!(check.outcome != CheckOutcome::Pass && check.message.contains("iotHubService"), "{check:?}");
    }
    world.emulator.shutdown().await;
    older.emulator.shutdown().await;
    Ok(())
}
