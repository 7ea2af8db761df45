//! The benchmark. It measures the ratio of two things in the same run.

use anyhow::Result;

use crate::run::{Command, cargo, step, target_dir};
use crate::{component, setup};

/// Both packages are built together, because cargo would build their dependencies a second time with other features.
const PACKAGES: [&str; 4] = ["--package", "connector-host-cli", "--package", "connector-tests"];
/// The cases that measure the program as `cargo xtask demo` builds it.
const FIRST_CALLS: [&str; 2] = ["first-call", "first-call-cached"];

/// Builds with optimisation and runs the benchmark. It needs the set-up of the tests, because Microsoft's Python clients
/// are measured too.
///
/// # Errors
/// A build or a case that failed, or a figure that grows faster than the work.
pub fn run(args: &[String]) -> Result<()> {
    setup::for_tests()?;
    let component = component::build()?;
    step("Build the benchmark and the program with optimisation", || {
        cargo(&[&["build", "--release"], &PACKAGES[..], &["--bin", "connector-host", "--bench", "ratios"]].concat())
    })?;
    let names_a_case = args.iter().any(|arg| !arg.starts_with("--"));
    if !names_a_case || args.iter().any(|arg| FIRST_CALLS.contains(&arg.as_str())) {
        step("Build the program as the demonstration does", || cargo(&["build", "--package", "connector-host-cli"]))?;
    }
    let programs = target_dir()?;
    Command::new(env!("CARGO"))
        .args(["bench", "--quiet"])
        .args(PACKAGES)
        .args(["--bench", "ratios", "--"])
        .args(args)
        .env("CONNECTOR_COMPONENT", component)
        .env("CONNECTOR_HOST", programs.join("release").join("connector-host"))
        .env("CONNECTOR_HOST_DEBUG", programs.join("debug").join("connector-host"))
        .run()
}
