//! Long runs of randomized tests, whose choices a seed decides.

use anyhow::Result;

use crate::run::{Command, cargo, step, target_dir};
use crate::{component, setup};

/// Builds with optimisation and runs the soak.
///
/// # Errors
/// Where a build fails, or a promise is broken. The output then names the seed, which repeats the run.
pub fn run(args: &[String]) -> Result<()> {
    setup::for_building()?;
    let component = component::build()?;
    step("Build the program and the soak with optimisation", || {
        cargo(&["build", "--release", "--package", "connector-host-cli", "--package", "connector-tests", "--bins"])
    })?;
    let programs = target_dir()?.join("release");
    Command::new(programs.join("soak"))
        .args(args)
        .env("CONNECTOR_COMPONENT", component)
        .env("CONNECTOR_HOST", programs.join("connector-host"))
        .run()
}
