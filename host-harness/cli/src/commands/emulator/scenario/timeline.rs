//! What happens to the services later.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use azure_iot_emulator::{Emulator, FaultRule, ServiceError};

use super::parts::MomentPart;

/// Something that happens to the services.
#[derive(Debug)]
pub(in super::super) enum Happening {
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
pub(super) fn in_order(timeline: &[MomentPart]) -> Result<Vec<(Duration, Happening)>> {
    let mut moments = Vec::new();
    for (index, moment) in timeline.iter().enumerate() {
        let after = duration(&moment.after)?;
        for (what, value) in &moment.happening {
            let text = value.as_str().unwrap_or_default();
            let happening = match what.as_str() {
                "fault" => {
                    Happening::Fault(text.parse().with_context(|| format!("/timeline/{index}/fault cannot be read"))?)
                }
                "clearFaults" => Happening::ClearFaults,
                "failOver" => Happening::FailOver,
                "connect" => Happening::Connect(text.to_owned()),
                "disconnect" => Happening::Disconnect(text.to_owned()),
                other => bail!("/timeline/{index}/{other} is not known"),
            };
            moments.push((after, happening));
        }
    }
    moments.sort_by_key(|(after, _)| *after);
    Ok(moments)
}

impl Happening {
    /// Lets it happen. Returns what to say about it.
    ///
    /// # Errors
    /// If no port is free for the moved endpoint, or the hub does not know the device.
    pub(in super::super) async fn happen(self, emulator: &Emulator) -> Result<String> {
        let refused = |error: ServiceError| anyhow!("{}", error.message().to_owned());
        Ok(match self {
            Self::Fault(rule) => {
                let text = format!("a fault rule for {} is on", rule.path);
                emulator.faults().add(rule);
                text
            }
            Self::ClearFaults => {
                emulator.faults().clear();
                "all fault rules are off".to_owned()
            }
            Self::FailOver => {
                emulator.fail_over().await?;
                let (host, name) = (emulator.event_hub_host(), emulator.event_hub_name());
                format!("the Event Hub-compatible endpoint has moved to amqps://{host}/{name}")
            }
            Self::Connect(device) => {
                emulator.devices().connect(&device).await.map_err(refused)?;
                format!("{device} is connected")
            }
            Self::Disconnect(device) => {
                emulator.devices().disconnect(&device).await.map_err(refused)?;
                format!("{device} is disconnected")
            }
        })
    }
}

/// Reads a time such as `10s`.
pub(super) fn duration(text: &str) -> Result<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => bail!("`{text}` is no time such as 500ms, 10s, 2m or 1h"),
    };
    let number: u64 = number.parse().with_context(|| format!("`{text}` is too long"))?;
    Ok(Duration::from_millis(number.checked_mul(milliseconds).with_context(|| format!("`{text}` is too long"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        assert!(duration("99999999999999999999h").is_err() && duration("5d").is_err());
    }
}
