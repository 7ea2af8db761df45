//! Measurements, always as a ratio of two things measured in one run.

use anyhow::Result;

use crate::run::Command;
use crate::{component, setup};

const BENCHMARKS: [&str; 3] = ["sandbox", "telemetry", "density"];

/// Builds with optimisation and measures: everything, or the benchmark that the first argument names. The tests' set-up,
/// since Microsoft's Python client is measured, too.
///
/// # Errors
/// Where something does not build or run.
pub fn run(args: &[String]) -> Result<()> {
    setup::for_tests()?;
    let component = component::build()?;
    let (chosen, args) = match args.split_first() {
        Some((name, rest)) if BENCHMARKS.contains(&name.as_str()) => (vec!["--bench", name], rest),
        _ => (vec!["--benches"], args),
    };
    Command::new(env!("CARGO"))
        .args(["bench", "--package", "connector-tests"])
        .args(chosen)
        .arg("--")
        .args(args)
        .env("CONNECTOR_COMPONENT", component)
        .run()
}
