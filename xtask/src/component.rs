//! Builds the component.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run::{cargo, root, step, target_dir};

/// The name of the file that leaves TLS to its host.
pub const HOST_TLS: &str = "azure_iot_connector_host_tls.wasm";

/// The two files of the component: what a person calls the build, its additional arguments, and the file.
const FILES: [(&str, &[&str], &str); 2] = [
    ("Build the component", &[], "azure_iot_connector.wasm"),
    (
        "Build the component that leaves TLS to its host",
        &["--no-default-features", "--features", "amqp,host-tls"],
        HOST_TLS,
    ),
];

/// Builds both files of the component, and copies them to the place where the other commands expect them. Returns the
/// file that runs in every host.
///
/// # Errors
/// Where a build fails.
pub fn build() -> Result<PathBuf> {
    let [default, host_tls] = FILES;
    build_file(host_tls)?;
    // The file that every host can load is built last, so that it is the one in cargo's own folder.
    build_file(default)
}

fn build_file((title, features, name): (&str, &[&str], &str)) -> Result<PathBuf> {
    let args =
        ["build", "--package", "azure-iot-connector", "--lib", "--target", "wasm32-wasip2", "--profile", "component"];
    step(title, || cargo(&[&args, features].concat()))?;
    let built = target_dir()?.join("wasm32-wasip2").join("component").join("azure_iot_connector.wasm");
    let folder = root()?.join("target").join("component");
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let component = folder.join(name);
    let bytes = fs::read(&built).with_context(|| format!("{} cannot be read", built.display()))?;
    // An unchanged component is not written again, so that its users need not compile it again.
    if fs::read(&component).ok().as_deref() != Some(&bytes) {
        fs::write(&component, &bytes).with_context(|| format!("{} cannot be written", component.display()))?;
    }
    eprintln!("    target/component/{name}: {} KB", bytes.len() / 1024);
    Ok(component)
}
