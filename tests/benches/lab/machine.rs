//! What the figures depend on: the machine, and the versions of what is measured.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result};
use connector_tests::workspace;
use serde::Serialize;

/// The packages whose versions are printed.
const PACKAGES: [&str; 7] = ["wasmtime", "rustls", "ring", "hyper", "hyper-util", "tokio", "fe2o3-amqp"];
/// Those of Python.
const PYTHON: [&str; 2] = ["azure-iot-hub", "azure-eventhub"];

/// The machine and the versions.
#[derive(Debug, Serialize)]
pub struct Machine {
    cores: usize,
    processor: String,
    versions: BTreeMap<String, String>,
}

impl Machine {
    /// Reads what the system and the lock files say.
    ///
    /// # Errors
    /// Where a lock file is missing.
    pub fn read() -> Result<Self> {
        let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = information.lines().find_map(|line| line.strip_prefix("model name"));
        let processor = name.map_or("unknown", |name| name.trim_start_matches([' ', '\t', ':'])).to_owned();
        let cores = std::thread::available_parallelism()?.get();
        let lock: toml::Table = std::fs::read_to_string(workspace().join("Cargo.lock"))?.parse()?;
        let mut versions = BTreeMap::new();
        for package in lock["package"].as_array().context("no packages")? {
            if let (Some(name), Some(version)) = (package["name"].as_str(), package["version"].as_str())
                && PACKAGES.contains(&name)
            {
                versions.insert(name.to_owned(), version.to_owned());
            }
        }
        let python = std::fs::read_to_string(workspace().join("tests/witness/requirements.txt"))?;
        for line in python.lines() {
            if let Some((name, version)) = line.split_once("==")
                && PYTHON.contains(&name)
            {
                versions.insert(name.to_owned(), version.trim_end_matches([' ', '\\']).to_owned());
            }
        }
        Ok(Self { cores, processor, versions })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} cores, {}", self.cores, self.processor)?;
        let versions: Vec<String> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        write!(f, "{}", versions.join(", "))
    }
}
