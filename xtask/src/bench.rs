//! Measurements, always as a ratio of two things measured in one run.

use anyhow::Result;

use crate::run::Command;
use crate::{component, setup};

/// Builds with optimisation and measures; the tests' set-up, since Microsoft's Python client is measured, too.
///
/// # Errors
/// Where something does not build or run.
pub fn run(args: &[String]) -> Result<()> {
    setup::for_tests()?;
    let component = component::build()?;
    Command::new(env!("CARGO"))
        .args(["bench", "--package", "connector-tests", "--bench", "sandbox", "--bench", "telemetry", "--"])
        .args(args)
        .env("CONNECTOR_COMPONENT", component)
        .run()
}
