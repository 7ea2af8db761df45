//! The evidence for the self-check: the emulator's log, its journal and its record of requests, and what the engine
//! did.

use std::collections::BTreeMap;

use azure_iot_emulator::{ChangeKind, Emulator, EventBody, Exchange, MachineState, START_COOLING, TwinPart};
use serde_json::Value;

use super::check::{Effect, Evidence, Machine, Recorded, Trouble};
use super::ledger::Step;
use super::rule;
use super::store::DeadLetter;

/// Requests that failed or were not answered, by the event that they name.
#[derive(Debug, Default)]
pub(super) struct Requests(BTreeMap<String, Trouble>);

impl Requests {
    pub(super) fn note(&mut self, exchanges: &[Exchange]) {
        for exchange in exchanges {
            if exchange.status.is_some_and(|status| status < 400) {
                continue;
            }
            let Some(event) = event_of(&exchange.request_body) else { continue };
            let trouble = self.0.entry(event).or_default();
            trouble.failed += 1;
            trouble.unanswered += u64::from(exchange.status.is_none());
        }
    }
}

/// The event that a request of the workflow names: a direct method in its payload, an update of a twin in its tags.
fn event_of(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let event = body.pointer("/payload/event").or_else(|| body.pointer("/tags/cooling/event"))?;
    Some(event.as_str()?.to_owned())
}

/// Collects all evidence at the end of a run.
pub(super) fn collect(
    emulator: &Emulator,
    steps: Vec<Step>,
    requests: Requests,
    dead_letters: &[DeadLetter],
    states: &[MachineState],
) -> Evidence {
    let mut evidence = Evidence {
        recorded: recorded(emulator),
        steps,
        trouble: requests.0,
        parked: dead_letters.iter().map(|letter| (letter.event.clone(), letter.tries)).collect(),
        machines: states.iter().map(|state| (state.id.clone(), machine(emulator, state))).collect(),
        ..Evidence::default()
    };
    for change in emulator.journal().snapshot(..) {
        let (event, effects) = match change.kind {
            ChangeKind::MethodInvoked if change.detail["method"] == START_COOLING && change.detail["status"] == 200 => {
                (change.detail.pointer("/payload/event"), &mut evidence.methods)
            }
            ChangeKind::TwinUpdated(TwinPart::Tags) => (change.detail.pointer("/cooling/event"), &mut evidence.patches),
            _ => continue,
        };
        if let Some(event) = event.and_then(Value::as_str) {
            let (device, at) = (change.id.clone(), change.at.unix_timestamp_nanos());
            effects.push(Effect { device, event: event.to_owned(), at });
        }
    }
    evidence
}

/// The hot readings in the emulator's log, found without the component.
fn recorded(emulator: &Emulator) -> Vec<Recorded> {
    let telemetry = emulator.telemetry();
    let mut recorded = Vec::new();
    for partition in 0..telemetry.partition_count() {
        for (sequence, at, event) in telemetry.events(partition) {
            let EventBody::Data(body) = &event.body else { continue };
            if let Some(temperature) = rule::hot(body) {
                recorded.push(Recorded {
                    partition: partition.to_string(),
                    sequence,
                    device: event.device_id.clone(),
                    temperature,
                    at: at.unix_timestamp_nanos(),
                });
            }
        }
    }
    recorded
}

fn machine(emulator: &Emulator, state: &MachineState) -> Machine {
    let twin = emulator.twin(&state.id).unwrap_or_default();
    let reported = twin.pointer("/properties/reported/cooling/active");
    Machine { temperature: state.temperature, reports_cooling: reported.and_then(Value::as_bool) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_name_their_event() {
        let event = |body: &str| event_of(body.as_bytes());
        assert_eq!(event(r#"{"methodName":"startCooling","payload":{"event":"e1"}}"#).as_deref(), Some("e1"));
        assert_eq!(event(r#"{"tags":{"cooling":{"event":"e2"}}}"#).as_deref(), Some("e2"));
        assert_eq!(event(r#"{"tags":{"lifecycle":{"event":"e3"}}}"#), None);
        assert_eq!(event("not JSON"), None);
    }
}
