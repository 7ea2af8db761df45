//! Measurements, always as a ratio of two things measured in one run.

use anyhow::Result;

use crate::run::Command;
use crate::{component, setup};

/// Builds with optimisation and measures.
///
/// # Errors
/// Where something does not build or run.
pub fn run(args: &[String]) -> Result<()> {
    setup::for_building()?;
    let component = component::build()?;
    Command::new(env!("CARGO"))
        .args(["bench", "--package", "connector-tests", "--benches", "--"])
        .args(args)
        .env("CONNECTOR_COMPONENT", component)
        .run()
}
