//! Microsoft's Python clients, unchanged. Each run is a process of its own, which measures itself.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::de::DeserializeOwned;

use super::clock::Cost;
use super::service::Addresses;

#[path = "../../../host-harness/emulator/tests/common/python.rs"]
mod witness;

pub use witness::virtual_environment;

/// Reads the events of a partition with `azure-eventhub`.
///
/// # Errors
/// Where the client fails.
pub async fn events(
    interpreter: &Path,
    addresses: &Addresses,
    partition: u16,
    warm_up: usize,
    events: usize,
    prefetch: u32,
) -> Result<Cost> {
    let environment = vec![
        ("EVENT_HUB_CONNECTION_STRING", addresses.event_hub_connection_string.clone()),
        ("EVENT_HUB_ENDPOINT", format!("sb://{}", addresses.event_hub_host)),
        ("PARTITION", partition.to_string()),
        ("WARM_UP", warm_up.to_string()),
        ("EVENTS", events.to_string()),
        ("PREFETCH", prefetch.to_string()),
    ];
    run(interpreter, "eventhub_speed.py", addresses, environment).await
}

/// Makes calls with `azure-iot-hub`, and returns the median of their times in seconds.
///
/// # Errors
/// Where the client fails.
pub async fn calls(
    interpreter: &Path,
    addresses: &Addresses,
    action: &str,
    warm_up: usize,
    calls: usize,
) -> Result<f64> {
    let environment = vec![
        ("HUB_CONNECTION_STRING", addresses.hub_connection_string.clone()),
        ("ACTION", action.to_owned()),
        ("DEVICE", "bench".to_owned()),
        ("WARM_UP", warm_up.to_string()),
        ("CALLS", calls.to_string()),
    ];
    run(interpreter, "iothub_speed.py", addresses, environment).await
}

async fn run<T: DeserializeOwned>(
    interpreter: &Path,
    script: &str,
    addresses: &Addresses,
    mut environment: Vec<(&'static str, String)>,
) -> Result<T> {
    let mut authority = tempfile::NamedTempFile::new()?;
    std::io::Write::write_all(&mut authority, addresses.authority.as_bytes())?;
    let path = authority.path().to_string_lossy().into_owned();
    environment.push(("CA_FILE", path.clone()));
    environment.push(("REQUESTS_CA_BUNDLE", path));
    let output = witness::run_script(interpreter, script, environment).await;
    ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("what it measured")
}
