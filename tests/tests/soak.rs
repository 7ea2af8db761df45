//! A minute of the soak of many tenants; `cargo xtask soak tenants` is the long run.

use anyhow::{Result, ensure};
use connector_tests::component;

/// The soak is a program: it starts itself again for the emulators, and its memory is its own.
#[test]
fn many_tenants_for_a_minute() -> Result<()> {
    let ended = std::process::Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["tenants", "--minutes", "1"])
        .env("CONNECTOR_COMPONENT", component()?)
        .status()?;
    ensure!(ended.success(), "the soak ended with {ended}");
    Ok(())
}
