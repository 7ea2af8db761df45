//! `watch` on telemetry: the built component reads a simulated hub over AMQP, and continues where the last run ended.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use azure_iot_emulator::{Emulator, EmulatorOptions, TelemetryEvent};
use serde_json::{Value, json};

/// The number of all events.
const EVENTS: usize = 60;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders below the workspace's")
}

fn component() -> std::path::PathBuf {
    std::env::var_os("CONNECTOR_COMPONENT")
        .map_or_else(|| workspace().join("target/component/azure_iot_connector.wasm"), Into::into)
}

fn account(emulator: &Emulator) -> Value {
    let policy = emulator.hub_policy("service").unwrap();
    json!({
        "authProfile": "shared-access-key",
        "values": {
            "iotHubName": emulator.hub_host(),
            "sharedAccessKeyName": policy.name,
            "sharedAccessKey": policy.primary_key,
            "iotHubAmqpHost": emulator.hub_amqp_host(),
            "trustedCertificates": emulator.ca_pem(),
            "trustedHostSuffixes": ["localhost"],
        },
    })
}

fn watch(emulator: &Emulator, folder: &Path, until: usize) -> Output {
    Command::new(env!("CARGO_BIN_EXE_connector-host"))
        .arg("--component")
        .arg(component())
        .arg("--connection")
        .arg(folder.join("account.json"))
        .arg("--cache")
        .arg(workspace().join("target/compiled"))
        .args(["--allow-host", "localhost", "--allow-host", &emulator.event_hub_host(), "--allow-private-networks"])
        .args(["watch", "device-telemetry", "--json", "--start", "earliest", "--until", &until.to_string(), "--cursor"])
        .arg(folder.join("cursors"))
        .env_remove("CONNECTOR_CONNECTION")
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_where_the_last_one_ended_and_says_how_it_went() {
    let emulator = Emulator::start(EmulatorOptions::default()).await.unwrap();
    emulator.telemetry().send_all(
        (0..EVENTS).map(|number| {
            TelemetryEvent::new(format!("press-{}", number % 8), json!({ "n": number }).to_string()).json()
        }),
    );
    // The AMQP connection breaks one time. That must not lose or repeat an event.
    emulator.faults().add_text("eventhub:TRANSFER /*=dropx1~20").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("account.json"), account(&emulator).to_string()).unwrap();

    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for until in [25, 1, EVENTS - 26] {
        let output = tokio::task::block_in_place(|| watch(&emulator, folder.path(), until));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        let lines = String::from_utf8(output.stdout).unwrap();
        assert_eq!(lines.lines().count(), until, "{said}");
        for line in lines.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let partition = event["partition"].as_str().unwrap().to_owned();
            numbers.entry(partition).or_default().push(event["data"]["json"]["sequenceNumber"].as_u64().unwrap());
        }
        // The sum states events, time, rate and failures; the line of a partition states its rate, lag and position.
        assert!(said.contains(&format!("{until} events in")) && said.contains("failures"), "{said}");
        let partition = said.lines().find(|line| line.contains("  at ")).unwrap();
        assert!(partition.contains("/s") && partition.contains("waiting"), "{said}");
    }
    assert_eq!(numbers.values().map(Vec::len).sum::<usize>(), EVENTS);
    for numbers in numbers.values() {
        assert_eq!(*numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "in order, without a gap or a repetition");
    }
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_fails_for_good_does_not_end_the_others() {
    let emulator = Emulator::start(EmulatorOptions::default()).await.unwrap();
    emulator.telemetry().send_all((0..EVENTS).map(|number| {
        TelemetryEvent::new("press-1", json!({ "n": number }).to_string()).json().partition((number % 4) as u16)
    }));
    emulator.faults().add_text("eventhub:ATTACH /*/Partitions/1=detach:amqp:not-allowed").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("account.json"), account(&emulator).to_string()).unwrap();

    let others = EVENTS - EVENTS / 4;
    let output = tokio::task::block_in_place(|| watch(&emulator, folder.path(), others));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines = String::from_utf8(output.stdout).unwrap();
    // The last line is the error, which has no partition.
    let of = |line: &str| Some(serde_json::from_str::<Value>(line).unwrap()["partition"].as_str()?.to_owned());
    let mut counts = BTreeMap::new();
    lines.lines().filter_map(of).for_each(|partition| *counts.entry(partition).or_insert(0) += 1);
    let expected = ["0", "2", "3"].map(|partition| (partition.to_owned(), EVENTS / 4));
    assert_eq!(counts, BTreeMap::from(expected), "{said}");
    // The failure is reported, and the exit code is not that of success.
    assert!(said.contains("given up"), "{said}");
    assert_ne!(output.status.code(), Some(0), "{said}");
    emulator.shutdown().await;
}
