//! Builds the component.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run::{cargo, root, step, target_dir};

/// Builds the component, and copies it to the place where the other commands expect it.
///
/// # Errors
/// Where the build fails.
pub fn build() -> Result<PathBuf> {
    let args =
        ["build", "--package", "azure-iot-connector", "--lib", "--target", "wasm32-wasip2", "--profile", "component"];
    step("Build the component", || cargo(&args))?;
    let built = target_dir()?.join("wasm32-wasip2").join("component").join("azure_iot_connector.wasm");
    let folder = root()?.join("target").join("component");
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let component = folder.join("azure_iot_connector.wasm");
    let bytes = fs::read(&built).with_context(|| format!("{} cannot be read", built.display()))?;
    // An unchanged component is not written again, so that its users need not compile it again.
    if fs::read(&component).ok().as_deref() != Some(&bytes) {
        fs::write(&component, &bytes).with_context(|| format!("{} cannot be written", component.display()))?;
    }
    eprintln!("    target/component/azure_iot_connector.wasm: {} KB", bytes.len() / 1024);
    Ok(component)
}
