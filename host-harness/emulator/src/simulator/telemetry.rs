//! Devices that send messages of all kinds.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::devices::create_missing;
use crate::clock::now;
use crate::emulator::Emulator;
use crate::error::ServiceError;
use crate::messages::TelemetryMessage;
use crate::operations::messages::accept_telemetry;
use crate::random::SplitMix;
use crate::world::Shared;

/// What a simulated device puts into a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PayloadKind {
    /// A JSON object with readings, content type `application/json` and encoding `utf-8`.
    Json,
    /// A line of text, content type `text/plain`.
    Text,
    /// Bytes that are no UTF-8, content type `application/octet-stream`.
    Binary,
    /// A payload that claims to be JSON but is cut short.
    MalformedJson,
}

impl PayloadKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Json, Self::Text, Self::Binary, Self::MalformedJson];

    /// The kind's name on a command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::MalformedJson => "malformed-json",
        }
    }
}

impl FromStr for PayloadKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            format!("the kind of payload must be one of json, text, binary, malformed-json, not '{text}'")
        })
    }
}

/// What is simulated. The same options make the same messages in the same order.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// Messages per second, of all devices together; 0 means as fast as the emulator accepts them.
    pub rate: f64,
    /// The devices; those that are missing in the registry are created.
    pub devices: Vec<String>,
    /// The kinds of payload and how often each comes up, relative to the others.
    pub mix: Vec<(PayloadKind, u32)>,
    /// How many messages are sent; `None` continues until the simulator is stopped.
    pub limit: Option<u64>,
    /// The seed of all random numbers.
    pub seed: u64,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            rate: 10.0,
            devices: (1..=10).map(|n| format!("press-{n:02}")).collect(),
            mix: vec![
                (PayloadKind::Json, 85),
                (PayloadKind::Text, 8),
                (PayloadKind::Binary, 5),
                (PayloadKind::MalformedJson, 2),
            ],
            limit: None,
            seed: 1,
        }
    }
}

/// An iterator over the messages that a simulator sends. Their order and content depend only on the options; `enqueued`
/// is the time at which the iterator returns the message.
#[derive(Debug)]
pub struct SimulatedEvents {
    devices: Vec<String>,
    mix: Vec<(PayloadKind, u32)>,
    random: SplitMix,
    count: u64,
    limit: u64,
}

impl SimulatedEvents {
    /// Starts at the first message.
    pub fn new(options: &SimulatorOptions) -> Self {
        let devices = options.devices.clone();
        let limit = if devices.is_empty() { 0 } else { options.limit.unwrap_or(u64::MAX) };
        Self { devices, mix: options.mix.clone(), random: SplitMix::new(options.seed), count: 0, limit }
    }

    fn below(&mut self, limit: usize) -> usize {
        ((self.random.next_unit() * limit as f64) as usize).min(limit.saturating_sub(1))
    }

    fn kind(&mut self) -> PayloadKind {
        let total: u32 = self.mix.iter().map(|(_, weight)| weight).sum();
        let mut left = self.below(total.max(1) as usize) as u32;
        for (kind, weight) in &self.mix {
            if left < *weight {
                return *kind;
            }
            left -= weight;
        }
        PayloadKind::Json
    }
}

impl Iterator for SimulatedEvents {
    type Item = TelemetryMessage;

    fn next(&mut self) -> Option<TelemetryMessage> {
        if self.count >= self.limit {
            return None;
        }
        self.count += 1;
        let number = self.count;
        let index = self.below(self.devices.len());
        let device_id = self.devices[index].clone();
        let temperature = (self.random.next_unit() * 600.0).round() / 10.0 + 20.0;
        let pressure = (self.random.next_unit() * 100.0).round() / 10.0;
        let json = format!(
            r#"{{"sequence":{number},"device":"{device_id}","temperature":{temperature:.1},"pressure":{pressure:.1}}}"#
        );
        let kind = self.kind();
        let (content_type, body) = match kind {
            PayloadKind::Json => ("application/json", Bytes::from(json)),
            PayloadKind::MalformedJson => ("application/json", Bytes::from(json[..json.len() / 2].to_owned())),
            PayloadKind::Text => ("text/plain", Bytes::from(format!("{number} {device_id} {temperature:.1} °C"))),
            PayloadKind::Binary => {
                let mut bytes = vec![0xff, 0xfe];
                bytes.extend(number.to_be_bytes());
                bytes.extend((temperature as f32).to_be_bytes());
                ("application/octet-stream", Bytes::from(bytes))
            }
        };
        let encoding = (kind != PayloadKind::Binary).then(|| "utf-8".to_owned());
        let alert = temperature > 70.0;
        Some(TelemetryMessage {
            device_id,
            enqueued: now(),
            content_type: Some(content_type.to_owned()),
            content_encoding: encoding,
            message_id: Some(format!("{number}")),
            correlation_id: None,
            properties: vec![("kind".to_owned(), kind.as_str().to_owned()), ("alert".to_owned(), alert.to_string())],
            body,
        })
    }
}

/// A running simulation. Dropping it stops it.
pub struct Simulator {
    sent: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Simulator {
    /// Creates the devices that are missing and starts to send. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When a device's id is not valid.
    pub fn start(emulator: &Emulator, options: SimulatorOptions) -> Result<Self, ServiceError> {
        let world = emulator.world.clone();
        create_missing(&world, options.devices.iter().map(String::as_str))?;
        let sent = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(run(world, options, Arc::clone(&sent)));
        Ok(Self { sent, task })
    }

    /// How many messages were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether the simulator has reached its limit.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until the simulator has reached its limit, or for ever when it has none. Returns how many messages were
    /// sent.
    pub async fn finish(mut self) -> u64 {
        let _ = (&mut self.task).await;
        self.sent()
    }

    /// Stops the simulator.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(world: Shared, options: SimulatorOptions, sent: Arc<AtomicU64>) {
    let start = Instant::now();
    for (number, message) in (0_u64..).zip(SimulatedEvents::new(&options)) {
        if options.rate > 0.0 {
            let due = start + Duration::from_secs_f64(number as f64 / options.rate);
            tokio::time::sleep_until(due.into()).await;
        } else if number.is_multiple_of(256) {
            tokio::task::yield_now().await;
        }
        // A device that was deleted or disabled meanwhile sends nothing.
        if accept_telemetry(&world, TelemetryMessage { enqueued: now(), ..message }).is_ok() {
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_messages() {
        let options = SimulatorOptions { limit: Some(2000), ..SimulatorOptions::default() };
        let run = || {
            SimulatedEvents::new(&options)
                .map(|message| (message.device_id, message.body, message.properties))
                .collect::<Vec<_>>()
        };
        let messages = run();
        assert_eq!(messages, run());
        for kind in PayloadKind::ALL {
            let of_kind = |(_, _, properties): &&(_, _, Vec<(String, String)>)| properties[0].1 == kind.as_str();
            assert!(messages.iter().filter(of_kind).count() > 10, "{}", kind.as_str());
        }
    }
}
