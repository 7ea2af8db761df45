//! `connector-host emulator` with a scenario file, as a person runs it.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

const KEY: &str = "a2V5LW9uZS1rZXktb25lLWtleS1vbmUta2V5LW9uZS0=";

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It fails only if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn emulator(folder: &Path, scenario: &Value) -> Command {
    let file = folder.join("scenario.json");
    std::fs::write(&file, scenario.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_connector-host"));
    command.args(["--json", "emulator", "--scenario"]).arg(file);
    command.arg("--connection-out").arg(folder.join("account.json"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_scenario_sets_up_the_services_and_lets_things_happen() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = json!({
        "hub": {
            "policies": [{ "name": "reader", "permissions": ["registryRead"], "primaryKey": KEY }],
            "devices": [{ "deviceId": "press-1", "primaryKey": KEY }],
        },
        "provisioning": { "idScope": "0neFACADE" },
        "connection": { "hubPolicy": "reader" },
        "timeline": [
            { "after": "200ms", "failOver": true },
            { "after": "100ms", "fault": "hub:GET /devices/*=503x1" },
            { "after": "300ms", "clearFaults": true },
            { "after": "300ms", "connect": "press-1" },
            { "after": "400ms", "disconnect": "press-1" },
        ],
    });
    let mut running = Running(emulator(folder.path(), &scenario).spawn().unwrap());
    let lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let lines: Vec<Value> = lines.take(6).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(lines[0]["idScope"], "0neFACADE");
    let devices = lines[0]["deviceConnectionStrings"].as_array().unwrap();
    assert!(devices[0].as_str().unwrap().ends_with(&format!(";DeviceId=press-1;SharedAccessKey={KEY}")), "{devices:?}");
    let happened: Vec<_> = lines[1..].iter().map(|line| line["happened"].as_str().unwrap()).collect();
    for (happened, wanted) in happened.iter().zip([
        "fault rule for /devices/*",
        "has moved",
        "rules are off",
        "is connected",
        "is disconnected",
    ]) {
        assert!(happened.contains(wanted), "{happened}");
    }
    let account: Value = serde_json::from_slice(&std::fs::read(folder.path().join("account.json")).unwrap()).unwrap();
    assert_eq!(account["values"]["sharedAccessKeyName"], "reader");
    assert_eq!(account["values"]["sharedAccessKey"], KEY);
    assert_eq!(account["values"]["dpsSharedAccessKeyName"], "connector");
}

#[test]
fn a_wrong_scenario_is_wrong_usage_and_no_key_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let device = json!({ "deviceId": "press-1", "primaryKey": KEY });
    for (scenario, wanted) in [
        (json!({ "hub": { "partition": 4 } }), "/hub/partition: this member is not known"),
        (json!({ "hub": { "devices": [{ "deviceId": "d", "primaryKey": [KEY] }] } }), "/hub/devices/0/primaryKey"),
        (json!({ "hub": { "devices": [device, device] } }), "/hub/devices/1: "),
        (json!({ "connection": { "hubPolicy": "missing" } }), "there is no policy `missing`"),
        (json!({ "timeline": [{ "after": "1s", "fault": "GET /x" }] }), "/timeline/0/fault"),
    ] {
        let output = emulator(folder.path(), &scenario).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{scenario}: {said}");
        assert!(said.contains(wanted) && !said.contains(&KEY[..12]), "{scenario}: {said}");
    }
}
