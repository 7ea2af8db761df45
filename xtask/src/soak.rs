//! Long runs of the tests that draw what they do from a seed.

use anyhow::Result;

use crate::run::{Command, cargo, step, target_dir};
use crate::{component, setup};

/// Builds with optimisation and runs.
///
/// # Errors
/// Where something does not build, or a promise is broken: the seed that breaks it again was printed.
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
