//! Benchmarks. Each measures the ratio of two things in the same run.

use anyhow::Result;

use crate::run::Command;
use crate::{component, setup};

const BENCHMARKS: [&str; 3] = ["sandbox", "telemetry", "density"];

/// Builds with optimisation and runs all benchmarks, or the one that the first argument names. It needs the set-up of
/// the tests, because Microsoft's Python client is measured too.
///
/// # Errors
/// A build or a benchmark that failed.
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
