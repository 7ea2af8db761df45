//! Microsoft's own client as the witness that the emulator behaves like the service.

mod common;
#[path = "common/python.rs"]
mod python;

use common::start;
use python::{report, run, virtual_environment};
use serde_json::json;

/// Runs the Python service client, unmodified, through every call it has for registry, twins, modules, queries, bulk,
/// configurations, statistics and methods; then lets it read back what another client wrote.
#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_works_unchanged() {
    let python = tokio::task::spawn_blocking(virtual_environment).await.expect("virtual environment");
    let emulator = start().await;
    let directory = std::env::temp_dir().join(format!("azure-iot-witness-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("temporary directory");
    let ca = directory.join("ca.pem");
    std::fs::write(&ca, emulator.ca_pem()).expect("CA file");
    let connection = emulator.hub_connection_string("connector").expect("policy");

    let output = run(&python, &connection, &ca, None).await;
    report(&output, "0 failed");

    let client = common::hub(&emulator, "connector");
    client.put("/devices/written", json!({"deviceId": "written"})).await.expect(200);
    client.patch("/twins/written", json!({"tags": {"by": "another"}})).await.expect(200);
    let written = directory.join("written.json");
    let text = json!({
        "devices": {"written": {"deviceId": "written", "status": "enabled"}},
        "twins": {"written": {"tags": {"by": "another"}}},
        "absent": ["unwritten"],
    });
    std::fs::write(&written, text.to_string()).expect("file");
    let output = run(&python, &connection, &ca, Some(&written)).await;
    report(&output, "3 passed, 0 failed");

    std::fs::remove_dir_all(&directory).expect("clean up");
    emulator.shutdown().await;
}
