//! One minute of the soak with many tenants. `cargo xtask soak tenants` is the long run.

use anyhow::{Result, ensure};
use connector_tests::component;

/// The soak runs as a program, because it starts itself again for the emulators and measures its own memory.
#[test]
fn many_tenants_for_a_minute() -> Result<()> {
    let ended = std::process::Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["tenants", "--minutes", "1"])
        .env("CONNECTOR_COMPONENT", component()?)
        .status()?;
    ensure!(ended.success(), "the soak ended with {ended}");
    Ok(())
}
