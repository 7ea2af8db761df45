//! Lets the services misbehave: each fault comes at a random moment of the run.

use std::time::Duration;

use azure_iot_emulator::{Emulator, FaultSyntaxError};

use super::clock::{Clock, Random};
use super::news::News;

/// The part of a run in which the services misbehave, as fractions of its length. The rest is left for the work to end.
const FROM: f64 = 0.1;
const TO: f64 = 0.75;

/// One fault of a service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// The emulator's rule; see [`azure_iot_emulator::FaultRule`].
    pub(super) rule: &'static str,
    /// The fault in words, for a person.
    pub(super) what: &'static str,
}

/// Gives each fault to the emulator, at a random moment of a run of this length.
pub(super) async fn inject(
    faults: &[Fault],
    emulator: &Emulator,
    clock: &Clock,
    length: Duration,
    mut random: Random,
    news: &News,
) -> Result<(), FaultSyntaxError> {
    let mut moments: Vec<(Duration, &Fault)> =
        faults.iter().map(|fault| (length.mul_f64(random.between(FROM, TO)), fault)).collect();
    moments.sort_by_key(|(moment, _)| *moment);
    for (moment, fault) in moments {
        clock.until(moment).await;
        emulator.faults().add_text(fault.rule)?;
        news.report(format!("fault     {}", fault.what));
    }
    Ok(())
}
