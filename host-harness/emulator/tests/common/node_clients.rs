//! Microsoft's clients for Node.js, for the witnesses.
#![allow(dead_code, reason = "not every test binary runs every witness")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use azure_iot_emulator::Emulator;
use serde_json::json;

/// The oldest version of Node.js that the clients support.
const OLDEST_NODE: u32 = 20;

/// Runs a script of `tests/witness/node-clients` with these environment variables. The clients trust the emulator, and
/// their connections to well-known ports lead to `ports` (from, to).
pub async fn run_node(
    emulator: &Emulator,
    script: &'static str,
    ports: &[(u16, &str)],
    environment: Vec<(&'static str, String)>,
) -> Output {
    let forward = ports.iter().map(|(from, host)| {
        let port = host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).expect("a port");
        (from.to_string(), json!(port))
    });
    let forward = serde_json::Value::Object(forward.collect());
    let ca_pem = emulator.ca_pem().to_owned();
    let run = move || {
        let place = clients();
        let ca = std::env::temp_dir().join(format!("azure-iot-{script}-{}.pem", std::process::id()));
        fs::write(&ca, ca_pem).expect("CA file");
        let output = Command::new("node")
            .args(["--require", "./forward.cjs", script])
            .current_dir(&place)
            .env("FORWARD", forward.to_string())
            .env("NODE_EXTRA_CA_CERTS", &ca)
            .envs(environment)
            .output()
            .expect("node runs");
        let _ = fs::remove_file(&ca);
        output
    };
    tokio::task::spawn_blocking(run).await.expect("task")
}

/// Installs the clients below `target/`, and returns their folder. Every package must have a known hash
/// (`package-lock.json`).
fn clients() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join("wit").is_dir());
    let root = root.expect("a folder of the workspace");
    let source = root.join("tests/witness/node-clients");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let place = target.join("node-clients");
    fs::create_dir_all(&place).expect("the target folder");
    let lock = fs::File::create(target.join("node-clients.lock")).expect("lock file");
    // Tests run in parallel, and only one may install. The lock is released when the file is closed.
    lock.lock().expect("lock");
    for entry in fs::read_dir(&source).expect("the scripts") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, place.join(path.file_name().expect("a name"))).expect("a copy");
    }
    let (wanted, stamp) = (fs::read(source.join("package-lock.json")).expect("lock"), place.join("installed.json"));
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return place;
    }
    let version = Command::new("node").arg("--version").output().expect("the witnesses need Node.js with npm");
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    assert!(
        major.is_some_and(|major| major >= OLDEST_NODE),
        "the witnesses need Node.js {OLDEST_NODE} or newer; this is {version}"
    );
    let installed = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])
        .current_dir(&place)
        .output()
        .expect("npm runs");
    assert!(installed.status.success(), "npm ci: {}", String::from_utf8_lossy(&installed.stderr));
    fs::write(stamp, wanted).expect("stamp");
    place
}

/// Fails with the script's whole output, unless all of its checks passed.
#[track_caller]
pub fn passed(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.trim_end().ends_with(" 0 failed"), "{}\n{text}\n{errors}", output.status);
    println!("{text}");
}
