//! The program as a person runs it: exit codes, readable errors, and no key in any output.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

#[path = "../../tests/guests/mod.rs"]
mod guests;

const KEY: &str = "dGhlIGtleSB0aGF0IG11c3Qgbm90IGJlIHNlZW4h";

fn component() -> PathBuf {
    let path = std::env::var_os("CONNECTOR_COMPONENT")
        .map_or_else(|| guests::workspace().join("target/component/azure_iot_connector.wasm"), PathBuf::from);
    assert!(path.exists(), "{} is not there: run `cargo xtask build`", path.display());
    path
}

fn account(folder: &Path, change: impl FnOnce(&mut Value)) -> PathBuf {
    // Nobody listens on port 1.
    let mut values = json!({
        "iotHubName": "localhost:1",
        "sharedAccessKeyName": "service",
        "sharedAccessKey": KEY,
        "trustedHostSuffixes": ["localhost"],
    });
    change(&mut values);
    let file = folder.join("account.json");
    std::fs::write(&file, json!({ "authProfile": "shared-access-key", "values": values }).to_string()).expect("a file");
    file
}

fn run(arguments: &[&str], account: &Path) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_connector-host"))
        .arg("--component")
        .arg(component())
        .args(["--allow-host", "localhost", "--allow-private-networks", "--deadline", "5", "--verbose", "--connection"])
        .arg(account)
        .args(arguments)
        .env_remove("CONNECTOR_CONNECTION")
        .env("RUST_LOG", "trace")
        .output()
        .expect("the program runs");
    for text in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(text).contains(&KEY[..12]), "the key is seen: {arguments:?}");
    }
    output
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn conformance_tells_which_rules_are_broken() {
    let judge = |component: &Path, arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_connector-host"))
            .args(["--json", "--component"])
            .arg(component)
            .arg("conformance")
            .args(arguments)
            .env_remove("CONNECTOR_CONNECTION")
            .output()
            .expect("the program runs")
    };
    let example = guests::build(&guests::workspace().join("examples/http"), "http_connector");
    let output = judge(&example, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["passed"], true);
    assert_eq!(report["connector"][0], "http");

    // This connector accepts any input, which breaks a rule.
    let output = judge(guests::stream_guest(), &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["passed"], false);
    let findings = report["findings"].as_array().expect("findings");
    let unknown = findings.iter().find(|finding| finding["rule"] == "errors.unknown-operation").expect("the rule");
    assert_eq!(unknown["verdict"], "fail", "{unknown}");
    assert!(unknown["why"].is_string() && unknown["evidence"][0].is_string(), "{unknown}");

    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config.json");
    std::fs::write(&config, "[]").expect("a file");
    let output = judge(&example, &["--config", config.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

#[test]
fn exit_codes_and_no_key_anywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = account(folder.path(), |_| {});
    let input = folder.path().join("input.json");
    std::fs::write(&input, r#"{"deviceId": "d1"}"#).expect("a file");
    let input = input.to_str().expect("a path");

    for arguments in [
        &["describe"][..],
        &["triggers"],
        &["actions"],
        &["validate"],
        &["describe", "--json"],
        &["validate", "--json"],
    ] {
        let output = run(arguments, &good);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
    }

    // The service cannot be reached: the program prints the connector's own error, as text or as JSON.
    let output = run(&["invoke", "get-device", "--input", input], &good);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("localhost:1"), "{}", said(&output));
    let output = run(&["--json", "invoke", "get-device", "--input", input], &good);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let error: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(error.pointer("/error/code"), Some(&json!("unavailable")), "{error}");
    let output = run(&["poll", "device-twin-changed"], &good);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));

    // A dry run prints the plan, without the key that the call would set.
    std::fs::write(
        folder.path().join("keys.json"),
        json!({ "deviceId": "d1", "primaryKey": KEY, "secondaryKey": KEY }).to_string(),
    )
    .expect("a file");
    let keys = folder.path().join("keys.json");
    let output = run(&["invoke", "create-device", "--dry-run", "--input", keys.to_str().expect("a path")], &good);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("PUT"), "{}", said(&output));

    // Wrong usage.
    for arguments in [
        &["invoke"][..],
        &["no-such-command"],
        &["poll", "device-twin-changed", "--events", "many"],
        &["invoke", "wait-for-job", "--timeout", "5"],
    ] {
        let output = run(arguments, &good);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
    }
    let output = run(&["invoke", "get-device", "--input", "no-such-file"], &good);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));

    // A key in the wrong place.
    for field in ["iotHubName", "sharedAccessKeyName", "eventHubEndpoint", "dpsHostName"] {
        let bad = account(folder.path(), |values| values[field] = format!("{KEY}/{KEY}").into());
        for arguments in [&["validate"][..], &["test"], &["invoke", "get-device", "--input", input]] {
            let output = run(arguments, &bad);
            assert_ne!(output.status.code(), Some(0), "{field} {arguments:?}: {}", said(&output));
            assert!(said(&output).contains(field), "{field} {arguments:?}: {}", said(&output));
        }
    }
}

#[test]
fn compiling_is_told_on_a_pipe_and_only_where_it_happens() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut said = Vec::new();
    for _ in 0..2 {
        let started = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_connector-host"))
            .arg("--component")
            .arg(component())
            .arg("--cache")
            .arg(folder.path().join("compiled"))
            .args(["--json", "actions"])
            .env_remove("RUST_LOG")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut lines = Vec::new();
        for line in BufReader::new(child.stderr.take().expect("a pipe")).lines() {
            lines.push((line.expect("text"), started.elapsed()));
        }
        assert!(child.wait().expect("an end").success(), "{lines:?}");
        said.push((lines, started.elapsed()));
    }
    let [(first, whole), (second, _)] = said.try_into().expect("two runs");
    let (line, after) = first.first().expect("a line");
    assert!(line.starts_with("compiling the component"), "{first:?}");
    // The line comes before the work and not with its end; a time in seconds would depend on the machine.
    assert!(*after < whole / 2, "{after:?} of {whole:?}");
    let (line, _) = first.last().expect("a line");
    assert!(line.starts_with("the component is compiled and loaded: "), "{first:?}");
    assert!(second.is_empty(), "{second:?}");
}
