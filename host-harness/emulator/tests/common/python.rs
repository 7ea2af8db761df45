//! Running Microsoft's Python client as a witness, in a virtual environment of its own.
#![allow(dead_code, reason = "not every test binary runs both")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of the workspace.
pub fn root() -> PathBuf {
    let start = Path::new(env!("CARGO_MANIFEST_DIR"));
    start.ancestors().find(|folder| folder.join("wit").is_dir()).expect("a folder of the workspace").to_owned()
}

/// Makes `target/witness-venv` once per version of the requirements and returns its interpreter.
pub fn virtual_environment() -> PathBuf {
    let requirements = root().join("tests/witness/requirements.txt");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let directory = target.join("witness-venv");
    let python = directory.join("bin/python");
    let stamp = directory.join("requirements.txt");
    let wanted = std::fs::read(&requirements).expect("requirements.txt");
    std::fs::create_dir_all(&target).expect("the target folder");
    let lock = std::fs::File::create(target.join("witness-venv.lock")).expect("lock file");
    // Tests of one binary run side by side, and only one may make the folder; the lock ends with the file.
    lock.lock().expect("lock");
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

/// Runs the witness against a hub; with `written`, only to read that back.
pub async fn run(python: &Path, connection: &str, ca: &Path, written: Option<&Path>) -> Output {
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

/// Runs another script of the witness with its environment.
pub async fn run_script(python: &Path, script: &str, environment: Vec<(&'static str, String)>) -> Output {
    let mut command = Command::new(python);
    command.arg(root().join("tests/witness").join(script)).envs(environment);
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    tokio::task::spawn_blocking(move || command.output()).await.expect("task").expect("the witness runs")
}

/// Fails with everything the program said, unless it succeeded and its last line ends as it should.
#[track_caller]
pub fn report(output: &Output, ending: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.trim_end().ends_with(ending),
        "{}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{text}");
}
