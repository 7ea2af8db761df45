//! The connection test of the Event Hub-compatible endpoint: whether it can be read, whether the consumer group has
//! room for a reader, and whether telemetry arrives.
//!
//! The test's reader has no owner level, so it displaces no other reader: it takes one of the five places of each
//! partition for a moment, and if no place is free, the service refuses the test's reader.

use std::time::Duration;

use super::test::{check, describe, hub_key_is_refused, key_remedy};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::connection::{Check, CheckOutcome, Report};
use crate::error::{ErrorCode, Result};
use crate::eventhub::{EventHub, PartitionProperties, ReadBudget, ReceiverOptions, StartPosition};
use crate::http::Service;
use crate::instant::{parse_ms, rfc3339};
use crate::session::Session;
use crate::session::event_hub::{Origin, endpoint_of, find, is_same, open, remedy};

/// The consumer group that every hub has, and the default of the triggers.
const GROUP: &str = "$Default";
/// How many of each partition's newest events are read, to find out whether they are telemetry.
const LOOK_AT: u32 = 3;
/// How long to wait for these events, which are known to exist.
const PATIENCE: Duration = Duration::from_secs(3);
/// The largest number of devices whose last activity is read.
const ASK_DEVICES: u32 = 100;
/// How long no event may arrive without a warning, in milliseconds. The activity time that the hub records can be some
/// minutes old.
const SILENCE_MS: i64 = 60 * 60 * 1_000;
/// The message source of events that devices send. An event may also state no source.
const TELEMETRY: &str = "Telemetry";

/// Runs the checks and adds their results to the report.
pub fn run(session: &Session, report: &mut Report) {
    let platform = session.platform();
    let started = platform.monotonic();
    let since = |started| platform.monotonic().saturating_sub(started);
    let title = "The Event Hub-compatible endpoint can be read from";
    let account = session.account();
    // A pinned endpoint with its own key does not need the hub's key.
    let own_key = account.event_hub.as_ref().is_some_and(|pin| pin.key.is_some());
    if let Some(message) = hub_key_is_refused(report).filter(|_| !own_key) {
        report.checks.push(check("event-hub", title, CheckOutcome::Skipped, message, None, Duration::ZERO));
        return;
    }
    let opened = open(session, platform).and_then(|(mut hub, origin)| Ok((partitions(&mut hub)?, hub, origin)));
    let (partitions, mut hub, origin) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let remedy = match error.code() {
                ErrorCode::PermissionDenied => Permission::ServiceConnect.remedy(&account.hub.key.policy),
                ErrorCode::AuthFailed | ErrorCode::AuthExpired if own_key => "In the Azure portal open the IoT Hub, then Built-in endpoints: copy the Event Hub-compatible endpoint into the connection again, whole, with its key.".to_owned(),
                ErrorCode::AuthFailed | ErrorCode::AuthExpired => key_remedy(Service::IotHub, &account.hub.key.policy),
                _ => "Check that the engine lets the connector reach the hub on port 5671. Compare the connection's values with the ones under Built-in endpoints.".to_owned(),
            };
            let outcome = CheckOutcome::Fail;
            report.checks.push(check("event-hub", title, outcome, describe(&error), Some(remedy), since(started)));
            return;
        }
    };
    let (outcome, message, remedy) = endpoint(session, &origin, partitions.len());
    report.checks.push(check("event-hub", title, outcome, message, remedy, since(started)));

    let started = platform.monotonic();
    let (outcome, message, remedy, seen) = group(&mut hub, &partitions);
    let title = format!("The consumer group {GROUP} has room for a reader");
    report.checks.push(check("consumer-group", &title, outcome, message, remedy, since(started)));
    hub.close();

    let started = platform.monotonic();
    let check = routing(&gather(session, &partitions, seen), since(started));
    report.checks.push(check);
}

fn partitions(hub: &mut EventHub) -> Result<Vec<PartitionProperties>> {
    let ids = hub.properties()?.partition_ids;
    hub.partitions(&ids)
}

/// The check's result: how the endpoint was found, and whether a pinned endpoint is still the hub's.
fn endpoint(session: &Session, origin: &Origin, count: usize) -> (CheckOutcome, String, Option<String>) {
    let stale = |message: String, named| (CheckOutcome::Warn, message, Some(remedy(named)));
    match (origin, &session.account().event_hub) {
        (Origin::Found(endpoint), _) => {
            let message = format!("The hub names {}/{}; {count} partitions.", endpoint.host, endpoint.hub);
            (CheckOutcome::Pass, message, None)
        }
        (Origin::Stale { pinned, named }, _) => stale(
            format!(
                "The pinned endpoint {}/{} is not the hub's any more, as after a failover. The hub names {}/{}, and this \
                 endpoint is used instead.",
                pinned.host, pinned.hub, named.host, named.hub
            ),
            named,
        ),
        // A pinned endpoint that still answers may belong to another hub, or be the hub's endpoint from before a
        // failover.
        (Origin::Pinned, pin) => match (find(session), pin.as_ref().map(|pin| endpoint_of(session.account(), pin))) {
            (Ok(named), Some(pinned)) if !is_same(&named, &pinned) => stale(
                format!(
                    "The pinned endpoint {}/{} answers, but the hub names {}/{}: this hub's events arrive at \
                     the endpoint that the hub names.",
                    pinned.host, pinned.hub, named.host, named.hub
                ),
                &named,
            ),
            (Ok(_), _) => (CheckOutcome::Pass, format!("The pinned endpoint answers; {count} partitions."), None),
            (Err(error), _) => {
                let message = format!(
                    "The pinned endpoint answers; {count} partitions. The hub could not be asked whether this is \
                     still its endpoint: {}",
                    error.record().message
                );
                (CheckOutcome::Pass, message, None)
            }
        },
    }
}

/// How many of the newest events are telemetry, and how many are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    telemetry: usize,
    other: usize,
}

/// Attaches to every partition without an owner level, and reads the newest events.
fn group(
    hub: &mut EventHub,
    partitions: &[PartitionProperties],
) -> (CheckOutcome, String, Option<String>, Option<Seen>) {
    let held = |partition: &PartitionProperties| {
        let count = partition.last_enqueued_sequence_number.saturating_sub(partition.begin_sequence_number) + 1;
        if partition.is_empty { 0 } else { count.clamp(0, i64::from(LOOK_AT)) }
    };
    let options: Vec<ReceiverOptions> = partitions
        .iter()
        .map(|partition| {
            let position = match held(partition) {
                0 => StartPosition::Latest,
                count => StartPosition::SequenceNumber {
                    number: partition.last_enqueued_sequence_number.saturating_sub(count),
                    inclusive: false,
                },
            };
            let options = ReceiverOptions::new(GROUP, &partition.id, position);
            ReceiverOptions { prefetch: Some(LOOK_AT), ..options }
        })
        .collect();
    let receivers = match hub.receivers(&options) {
        Ok(receivers) => receivers,
        Err(error) => {
            let conflict = error.record().fields.first();
            let message = conflict.map_or_else(|| describe(&error), |conflict| conflict.message.clone());
            let remedy = conflict.and_then(|conflict| conflict.fix.clone());
            return (CheckOutcome::Warn, message, remedy, None);
        }
    };
    let mut seen = Some(Seen::default());
    for (mut receiver, partition) in receivers.into_iter().zip(partitions) {
        let events = usize::try_from(held(partition)).unwrap_or(0);
        if events > 0 {
            let budget = ReadBudget { events, bytes: usize::MAX, wait: PATIENCE };
            match (hub.receive(&mut receiver, budget), &mut seen) {
                (Ok(events), Some(seen)) => {
                    let is_telemetry = |event: &&crate::eventhub::Event| {
                        event.system_properties.text("iothub-message-source").unwrap_or(TELEMETRY) == TELEMETRY
                    };
                    let telemetry = events.iter().filter(is_telemetry).count();
                    seen.telemetry += telemetry;
                    seen.other += events.len() - telemetry;
                }
                _ => seen = None,
            }
        }
        hub.release(receiver);
    }
    let message = format!(
        "A reader could attach to each of {} partitions. Azure Functions, Stream Analytics and monitoring tools read from {GROUP}, \
         too, unless they are given another group. Give a workflow its own group, so that it does not compete with \
         these readers.",
        partitions.len()
    );
    (CheckOutcome::Pass, message, None, seen)
}

/// The facts from which the test judges whether telemetry arrives at the endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Evidence {
    /// The number of connected devices; none if the hub does not state it.
    connected: Option<u64>,
    /// When a connected device was last active, in milliseconds since the Unix epoch.
    last_active_ms: Option<i64>,
    /// When the newest event was enqueued, even if it is no longer retained, in milliseconds since the Unix epoch.
    newest_event_ms: Option<i64>,
    /// Whether any event is retained.
    retained: bool,
    /// The kinds of the newest events; none if the events could not be read.
    seen: Option<Seen>,
    /// The current time, in milliseconds since the Unix epoch.
    now_ms: i64,
}

fn gather(session: &Session, partitions: &[PartitionProperties], seen: Option<Seen>) -> Evidence {
    let ever = partitions.iter().filter(|partition| partition.last_enqueued_sequence_number >= 0);
    let hub = session.hub();
    let connected = hub.connected_devices().ok();
    let last_active_ms = connected.filter(|count| *count > 0).and_then(|_| {
        // Hubs of the Basic tier have no queries, so their devices' last activity is unknown.
        let query = "SELECT deviceId, lastActivityTime FROM devices WHERE connectionState = 'Connected'";
        let devices = hub.query(query, ASK_DEVICES, None).ok()?.items;
        devices.iter().filter_map(|device| parse_ms(device.get("lastActivityTime")?.as_str()?)).max()
    });
    Evidence {
        connected,
        last_active_ms,
        newest_event_ms: ever.map(|partition| partition.last_enqueued_time_ms).max(),
        retained: partitions.iter().any(|partition| !partition.is_empty),
        seen,
        now_ms: i64::try_from(session.platform().unix_time().as_millis()).unwrap_or(i64::MAX),
    }
}

/// The result of the check: a warning only if devices are connected and events that they would send are missing.
fn routing(evidence: &Evidence, took: Duration) -> Check {
    let newest = match evidence.newest_event_ms {
        Some(ms) => format!("the newest event is from {}", rfc3339(ms)),
        None => "there never was one".to_owned(),
    };
    let no_telemetry = evidence.seen.filter(|seen| seen.telemetry == 0 && seen.other > 0);
    let quiet = |since: i64| evidence.newest_event_ms.is_none_or(|ms| ms.saturating_add(SILENCE_MS) < since);
    let (outcome, message) = match evidence.connected {
        Some(count @ 1..) => {
            let devices = if count == 1 {
                "One device is connected".to_owned()
            } else {
                format!("{count} devices are connected")
            };
            match (no_telemetry, evidence.last_active_ms) {
                _ if !evidence.retained => {
                    (CheckOutcome::Warn, format!("{devices}, and the endpoint holds no event: {newest}."))
                }
                (Some(seen), _) => (
                    CheckOutcome::Warn,
                    format!(
                        "{devices}, and the newest events of the endpoint ({} were looked at) are the hub's own notices, none is \
                         telemetry.",
                        seen.other
                    ),
                ),
                (None, Some(active)) if quiet(active) && quiet(evidence.now_ms) => (
                    CheckOutcome::Warn,
                    format!(
                        "{devices} and active, the last time at {}, but the endpoint is silent: {newest}.",
                        rfc3339(active)
                    ),
                ),
                _ => (
                    CheckOutcome::Pass,
                    format!("{devices}, and events arrive: {newest}.", newest = newest.replace("its", "the")),
                ),
            }
        }
        _ if evidence.retained => (CheckOutcome::Pass, format!("Events have arrived at the endpoint: {newest}.")),
        Some(_) => (
            CheckOutcome::Skipped,
            format!("No device is connected, and the endpoint holds no event ({newest}): nothing can be concluded."),
        ),
        None => (
            CheckOutcome::Skipped,
            format!("The hub does not say how many devices are connected, and the endpoint holds no event ({newest})."),
        ),
    };
    let remedy = (outcome == CheckOutcome::Warn).then(|| {
        "Once a hub has a route of its own, a message that matches it goes to that route's endpoint alone, and without the \
         fallback route all others are dropped. In the Azure portal open the hub, then Hub settings, Message routing: add a route \
         from Device Telemetry Messages to the endpoint events, or switch the fallback route on. If the devices send nothing, all \
         is well."
            .to_owned()
    });
    check("routing", "Telemetry gets to the endpoint", outcome, message, remedy, took)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn judged(evidence: Evidence) -> (CheckOutcome, String) {
        let check = routing(&Evidence { now_ms: NOW, ..evidence }, Duration::ZERO);
        assert_eq!(check.remedy.is_some(), check.outcome == CheckOutcome::Warn);
        (check.outcome, check.message)
    }

    #[test]
    fn starvation_is_distinguished_from_silence() {
        let hours = |hours: i64| Some(NOW - hours * SILENCE_MS);
        let seen = |telemetry, other| Some(Seen { telemetry, other });
        let connected = Evidence { connected: Some(3), ..Evidence::default() };
        let holds = Evidence { retained: true, newest_event_ms: hours(5), ..connected };
        let cases = [
            (connected, CheckOutcome::Warn, "never was one"),
            (Evidence { newest_event_ms: hours(48), ..connected }, CheckOutcome::Warn, "holds no event"),
            (Evidence { seen: seen(0, 8), ..holds }, CheckOutcome::Warn, "none is telemetry"),
            (Evidence { seen: seen(1, 7), ..holds }, CheckOutcome::Pass, "events arrive"),
            (Evidence { last_active_ms: hours(1), ..holds }, CheckOutcome::Warn, "silent"),
            (Evidence { last_active_ms: hours(5), ..holds }, CheckOutcome::Pass, "events arrive"),
            (holds, CheckOutcome::Pass, "events arrive"),
            (Evidence { newest_event_ms: hours(0), last_active_ms: hours(0), ..holds }, CheckOutcome::Pass, "arrive"),
            (Evidence { connected: Some(0), ..Evidence::default() }, CheckOutcome::Skipped, "No device is connected"),
            (Evidence::default(), CheckOutcome::Skipped, "does not say"),
            (Evidence { connected: Some(0), ..holds }, CheckOutcome::Pass, "have arrived"),
            (Evidence { connected: None, seen: seen(0, 8), ..holds }, CheckOutcome::Pass, "have arrived"),
        ];
        for (evidence, outcome, words) in cases {
            let judged = judged(evidence);
            assert!(judged.0 == outcome && judged.1.contains(words), "{evidence:?}: {judged:?}");
        }
    }
}
