//! Running Microsoft's Python clients as witnesses.
#![allow(dead_code, unused_imports, reason = "not every test binary runs both")]

#[path = "venv.rs"]
mod venv;

use std::path::Path;
use std::process::{Command, Output};

pub use venv::{report, root, virtual_environment};

/// Runs the witness against a hub. With `written`, the witness only reads back what that file describes.
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

/// Runs another script of the witness, with these environment variables.
pub async fn run_script(python: &Path, script: &str, environment: Vec<(&'static str, String)>) -> Output {
    let mut command = Command::new(python);
    command.arg(root().join("tests/witness").join(script)).envs(environment);
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    tokio::task::spawn_blocking(move || command.output()).await.expect("task").expect("the witness runs")
}
