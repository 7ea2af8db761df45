//! The plan of a run: which faults happen and when. A seed decides the plan before the run begins. Every kind of fault
//! is in every plan.

use anyhow::Result;
use azure_iot_emulator::{Emulator, EmulatorOptions, FaultRule};
use fastrand::Rng;

use super::events::Record;
use crate::World;

/// The conditions after which Microsoft's clients try again ("AMQP errors in Azure Event Hubs"; `azure-eventhub`), and
/// further ones that only IoT Hub uses.
const RETRYABLE: [&str; 9] = [
    "amqp:internal-error",
    "amqp:connection:forced",
    "amqp:link:detach-forced",
    "amqp:link:transfer-limit-exceeded",
    "com.microsoft:server-busy",
    "com.microsoft:timeout",
    "com.microsoft:operation-cancelled",
    "com.microsoft:container-close",
    "com.microsoft:device-container-throttled",
];

/// Faults when an event is about to be sent, besides a detach with each condition and the end of a token.
const IN_MID_STREAM: [&str; 11] = [
    "end:amqp:internal-error",
    "end:com.microsoft:server-busy",
    "close:amqp:connection:forced",
    "close:amqp:internal-error",
    "half",
    "cut:400",
    "cut:4000",
    "cut:100000",
    "drop",
    "garbage",
    "latency:120",
];

/// Faults when a link is about to be attached.
const AT_ATTACH: [&str; 8] = [
    "detach:com.microsoft:server-busy",
    "detach:com.microsoft:timeout",
    "detach:amqp:internal-error",
    "end:amqp:internal-error",
    "close:amqp:connection:forced",
    "half",
    "cut:1000",
    "latency:80",
];

/// Faults of connections and requests, by service, operation and path.
const AT_CONNECTIONS: [(&str, &[&str]); 6] = [
    // The first bytes of a connection are the TLS handshake.
    ("eventhub:CONNECT /", &["drop", "latency:80", "cut:1500", "cut:3000", "cut:20000", "cut:500000"]),
    ("eventhub:OPEN /", &["drop", "half", "cut:60", "latency:80", "close:com.microsoft:server-busy"]),
    ("eventhub:PUT-TOKEN /", &["500", "503"]),
    ("eventhub:READ /", &["500", "503"]),
    ("hub-amqp:OPEN /", &["drop", "cut:60", "latency:80"]),
    ("hub-amqp:ATTACH /", &["detach:com.microsoft:server-busy", "half"]),
];

/// Whether the readers of this seed use AMQP over WebSockets. Every second seed does.
pub fn over_web_sockets(seed: u64) -> bool {
    seed.is_multiple_of(2)
}

/// Faults of the requests that open WebSockets. Faults of their connections come on top.
const AT_UPGRADES: [&str; 3] = ["503", "429", "drop"];

/// Starts a world for a seed.
///
/// # Errors
/// As [`World::with`].
pub async fn world(seed: u64, options: EmulatorOptions) -> Result<World> {
    let world = World::with(EmulatorOptions { fault_seed: seed, ..options }).await?;
    if !over_web_sockets(seed) {
        return Ok(world);
    }
    for (number, action) in AT_UPGRADES.into_iter().enumerate() {
        world.emulator.faults().add_text(&format!("hub:GET /$servicebus/websocket={action}~{number}x1"))?;
    }
    world.over_web_sockets()
}

/// The fault rules of a run. Each rule fires once, at an event, link or connection that the seed decides. Every kind of
/// fault happens once in each round, each time in another partition; there are at most as many rounds as partitions.
/// Faults of links and connections hit one of the first `early` links or connections.
///
/// The service never counts a new token as expired, so the connector replaces an expired token only once. Therefore no
/// rule lets a token expire when its replacement is used for the first time.
///
/// # Errors
/// Never: the rules are written in the emulator's grammar.
pub fn rules(seed: u64, record: &Record, rounds: usize, early: usize) -> Result<Vec<FaultRule>> {
    let mut random = Rng::with_seed(seed ^ 0xf417);
    let partitions: Vec<u16> = record.partitions().filter(|number| !record.of(*number).is_empty()).collect();
    let rounds = rounds.min(partitions.len());
    let mut rules = Vec::new();
    let expiries = random.usize(..partitions.len().max(1));
    for round in 0..rounds {
        let partition = partitions[(expiries + round) % partitions.len()];
        rules.push(format!("eventhub:ATTACH /*/Partitions/{partition}=expirex1"));
        let events = record.of(partition).len();
        let skip = random.usize(events / 2..events);
        rules.push(format!("eventhub:TRANSFER /*/Partitions/{partition}=expire~{skip}x1"));
    }
    let detaches = RETRYABLE.map(|condition| format!("detach:{condition}"));
    for action in detaches.iter().map(String::as_str).chain(IN_MID_STREAM) {
        let first = random.usize(..partitions.len());
        for round in 0..rounds {
            let partition = partitions[(first + round) % partitions.len()];
            let skip = random.usize(..record.of(partition).len());
            rules.push(format!("eventhub:TRANSFER /*/Partitions/{partition}={action}~{skip}x1"));
        }
    }
    for (number, action) in AT_ATTACH.into_iter().enumerate() {
        for round in 0..rounds {
            let partition = partitions[(number + round) % partitions.len()];
            rules.push(format!("eventhub:ATTACH /*/Partitions/{partition}={action}~{}x1", random.usize(..early)));
        }
    }
    for (target, actions) in AT_CONNECTIONS {
        for action in actions.iter().cycle().take(actions.len() * rounds) {
            rules.push(format!("{target}={action}~{}x1", random.usize(..early)));
        }
    }
    Ok(rules.iter().map(|rule| rule.parse()).collect::<Result<_, _>>()?)
}

/// Adds the rules to the emulator.
pub fn apply(emulator: &Emulator, rules: Vec<FaultRule>) {
    rules.into_iter().for_each(|rule| emulator.faults().add(rule));
}
