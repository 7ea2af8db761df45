//! Measurements, always as a ratio of two things measured in one run.

use anyhow::Result;

use crate::run::{Command, cargo, step, target_dir};
use crate::{component, setup};

/// Builds with optimisation and measures.
///
/// # Errors
/// Where something does not build or run.
pub fn run(args: &[String]) -> Result<()> {
    setup::for_building()?;
    let component = component::build()?;
    step("Build the host with optimisation", || cargo(&["build", "--release", "--package", "connector-host"]))?;
    Command::new(target_dir()?.join("release").join("connector-host"))
        .arg("--component")
        .arg(component)
        .arg("bench")
        .args(args)
        .run()
}
