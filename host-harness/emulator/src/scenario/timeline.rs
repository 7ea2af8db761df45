//! What happens to the services later.

use std::time::Duration;

use super::error::{ScenarioError, refused};
use super::parts::MomentPart;
use crate::emulator::Emulator;
use crate::faults::FaultRule;

/// Something that happens to the services at a time after the start.
#[derive(Debug)]
pub struct Moment {
    /// The time after the start.
    pub after: Duration,
    /// The place in the file.
    pointer: String,
    happening: Happening,
}

#[derive(Debug)]
enum Happening {
    Fault(FaultRule),
    ClearFaults,
    FailOver,
    Connect(String),
    Disconnect(String),
}

/// What happens later, in the order of time.
///
/// # Errors
/// If a rule or a time cannot be read.
pub(super) fn in_order(timeline: &[MomentPart]) -> Result<Vec<Moment>, ScenarioError> {
    let mut moments = Vec::new();
    for (index, moment) in timeline.iter().enumerate() {
        let after = duration(&format!("/timeline/{index}/after"), &moment.after)?;
        for (what, value) in &moment.happening {
            let pointer = format!("/timeline/{index}/{what}");
            let text = value.as_str().unwrap_or_default();
            let happening = match what.as_str() {
                "fault" => Happening::Fault(text.parse().map_err(|error| ScenarioError::value(&pointer, error))?),
                "clearFaults" => Happening::ClearFaults,
                "failOver" => Happening::FailOver,
                "connect" => Happening::Connect(text.to_owned()),
                "disconnect" => Happening::Disconnect(text.to_owned()),
                _ => return Err(ScenarioError::value(pointer, "this member is not known")),
            };
            moments.push(Moment { after, pointer, happening });
        }
    }
    moments.sort_by_key(|moment| moment.after);
    Ok(moments)
}

impl Moment {
    /// Lets it happen. Returns what to say about it.
    ///
    /// # Errors
    /// If no port is free for the moved endpoint, or the hub does not know the device.
    pub async fn happen(self, emulator: &Emulator) -> Result<String, ScenarioError> {
        let pointer = self.pointer;
        Ok(match self.happening {
            Happening::Fault(rule) => {
                let text = format!("a fault rule for {} is on", rule.path);
                emulator.faults().add(rule);
                text
            }
            Happening::ClearFaults => {
                emulator.faults().clear();
                "all fault rules are off".to_owned()
            }
            Happening::FailOver => {
                emulator.fail_over().await.map_err(|error| ScenarioError::Emulator { pointer, error })?;
                let (host, name) = (emulator.event_hub_host(), emulator.event_hub_name());
                format!("the Event Hub-compatible endpoint has moved to amqps://{host}/{name}")
            }
            Happening::Connect(device) => {
                emulator.devices().connect(&device).await.map_err(refused(pointer))?;
                format!("{device} is connected")
            }
            Happening::Disconnect(device) => {
                emulator.devices().disconnect(&device).await.map_err(refused(pointer))?;
                format!("{device} is disconnected")
            }
        })
    }
}

/// Reads a time such as `10s`, which stands at this place of the file.
pub(super) fn duration(pointer: &str, text: &str) -> Result<Duration, ScenarioError> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(ScenarioError::value(pointer, format!("`{text}` is no time such as 500ms, 10s, 2m or 1h"))),
    };
    let total = number.parse().ok().and_then(|number: u64| number.checked_mul(milliseconds));
    total
        .map(Duration::from_millis)
        .ok_or_else(|| ScenarioError::value(pointer, format!("`{text}` is not a number, or too long")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times() {
        let read = |text| duration("/hub/feedbackWait", text);
        assert_eq!(read("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(read("2m").unwrap(), Duration::from_secs(120));
        for wrong in ["99999999999999999999h", "5d", "s"] {
            let said = read(wrong).unwrap_err().to_string();
            assert!(said.starts_with("/hub/feedbackWait: "), "{said}");
        }
    }
}
