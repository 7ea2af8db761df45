//! An Event Hub on Apache Qpid Proton, scripted in Python: `tests/witness/eventhub_partition.py`.

#[path = "../../host-harness/emulator/tests/common/venv.rs"]
mod venv;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// The Event Hub's name.
pub const HUB: &str = "iothub-ehub-witness";

/// The policy whose tokens the Event Hub accepts.
pub const POLICY: &str = "service";

/// The key of this policy.
pub const KEY: &str = "d2l0bmVzcyBrZXkgb2YgdGhlIHRlc3Q=";

/// The server on `localhost`. It runs until this value is dropped.
pub struct Proton {
    process: Child,
    /// The server's port.
    pub port: u16,
    /// The authority of the server's certificate, as PEM.
    pub ca: String,
    folder: tempfile::TempDir,
}

impl Drop for Proton {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // The server ends when its standard input ends. If it does not, the test must not wait for it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Proton {
    /// Starts the server. With `events`, each of four partitions has that many events with mixed bodies; without, it
    /// has the usual ones.
    ///
    /// # Errors
    /// Where the server does not start.
    pub fn start(events: Option<usize>) -> Result<Self> {
        let python = venv::proton_environment();
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let ca = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
        let folder = tempfile::tempdir()?;
        let (certificate_file, key_file) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
        std::fs::write(&certificate_file, certificate.pem())?;
        std::fs::write(&key_file, key.serialize_pem())?;
        let mut command = Command::new(python);
        command
            .arg(venv::root().join("tests/witness/eventhub_partition.py"))
            .args([&certificate_file, &key_file])
            .arg(KEY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(events) = events {
            command.arg(events.to_string()).arg(sent(&folder));
        }
        let mut process = command.spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
        let port = line.strip_prefix("PORT ").context("the witness did not start")?.trim().parse()?;
        Ok(Self { process, port, ca, folder })
    }

    /// The mixed events that the server sends, one on each line. The script describes the lines.
    ///
    /// # Errors
    /// Where the server was started without mixed events.
    #[allow(dead_code, reason = "not every test binary has mixed events")]
    pub fn sent(&self) -> Result<String> {
        Ok(std::fs::read_to_string(sent(&self.folder))?)
    }
}

fn sent(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("sent.jsonl")
}
