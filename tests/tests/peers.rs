//! A sample of the hostile peers, selected by a seed. `cargo xtask soak peers` plays all of them.

use anyhow::{Result, ensure};
use connector_tests::component;
use connector_tests::peers::table;

/// The seed of the random order. `CONNECTOR_PEERS_SEED` sets another seed.
const SEED: u64 = 1;

/// After this many seconds, no further behaviour begins.
const SAMPLE: u64 = 75;

/// The soak runs as a program, so that all tasks, descriptors, memory and log lines of the process belong to it.
#[test]
fn a_sample_of_hostile_peers_is_met() -> Result<()> {
    let seed = std::env::var("CONNECTOR_PEERS_SEED").unwrap_or_else(|_| SEED.to_string());
    let ended = std::process::Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["peers", "--seed", &seed, "--sample", &SAMPLE.to_string()])
        .env("CONNECTOR_COMPONENT", component()?)
        .status()?;
    ensure!(ended.success(), "the sample ended with {ended}");
    Ok(())
}

#[test]
fn the_table_can_be_read() -> Result<()> {
    println!("{} behaviours", table::read()?.len());
    Ok(())
}
