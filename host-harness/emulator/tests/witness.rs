//! Microsoft's own client as the witness that the emulator behaves like the service.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::start;
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

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Makes `target/witness-venv` once per version of the requirements and returns its interpreter.
fn virtual_environment() -> PathBuf {
    let requirements = root().join("tests/witness/requirements.txt");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let directory = target.join("witness-venv");
    let python = directory.join("bin/python");
    let stamp = directory.join("requirements.txt");
    let wanted = std::fs::read(&requirements).expect("requirements.txt");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    let version = Command::new("python3").arg("--version").output();
    assert!(
        version.is_ok_and(|output| output.status.success()),
        "python3 is missing: the witness test runs Microsoft's Python client and needs CPython 3.11 with venv and pip"
    );
    let made = Command::new("python3").args(["-m", "venv"]).arg(&directory).output().expect("python3 -m venv");
    report(&made, "");
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(&requirements)
        .output()
        .expect("pip install");
    report(&installed, "");
    std::fs::write(&stamp, wanted).expect("stamp");
    python
}

async fn run(python: &Path, connection: &str, ca: &Path, written: Option<&Path>) -> Output {
    let mut command = Command::new(python);
    command
        .arg(root().join("tests/witness/iothub_sdk.py"))
        .env("HUB_CONNECTION_STRING", connection)
        .env("REQUESTS_CA_BUNDLE", ca)
        .env_remove("WRITTEN_JSON");
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    if let Some(written) = written {
        command.env("WRITTEN_JSON", written);
    }
    tokio::task::spawn_blocking(move || command.output()).await.expect("task").expect("the witness runs")
}

/// Fails with everything the program said, unless it succeeded and its last line ends as it should.
#[track_caller]
fn report(output: &Output, ending: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.trim_end().ends_with(ending),
        "{}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{text}");
}
