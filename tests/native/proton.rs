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

/// The policy that it takes tokens of.
pub const POLICY: &str = "service";

/// That policy's key.
pub const KEY: &str = "d2l0bmVzcyBrZXkgb2YgdGhlIHRlc3Q=";

/// The server, on `localhost`, for as long as this lives.
pub struct Proton {
    process: Child,
    /// Its port.
    pub port: u16,
    /// The authority of its certificate, PEM.
    pub ca: String,
    folder: tempfile::TempDir,
}

impl Drop for Proton {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It ends with its input; where it does not, the test must not wait for it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Proton {
    /// Starts it: with so many events with mixed bodies in each of four partitions, or with the usual ones.
    ///
    /// # Errors
    /// Where it does not start.
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

    /// What its mixed events say: the script describes the lines.
    ///
    /// # Errors
    /// Where it was started without.
    #[allow(dead_code, reason = "not every test binary has mixed events")]
    pub fn sent(&self) -> Result<String> {
        Ok(std::fs::read_to_string(sent(&self.folder))?)
    }
}

fn sent(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("sent.jsonl")
}
