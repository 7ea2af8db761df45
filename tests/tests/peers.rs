//! A sample of the hostile peers, drawn from a seed; `cargo xtask soak peers` plays all of them.

use anyhow::{Result, ensure};
use connector_tests::component;
use connector_tests::peers::table;

/// Of the order in which behaviours are drawn. Another one is tried by `CONNECTOR_PEERS_SEED`.
const SEED: u64 = 1;

/// How long behaviours are drawn, in seconds.
const SAMPLE: u64 = 75;

/// The soak is a program: its tasks, descriptors, memory and log are its own.
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
