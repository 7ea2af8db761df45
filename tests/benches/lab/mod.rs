//! What all cases share: the arguments, the services in a process of their own, the clocks, the other clients, and the
//! report.

pub mod clock;
pub mod machine;
pub mod native;
pub mod python;
pub mod reader;
pub mod report;
pub mod series;
pub mod service;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;
use connector_host::{Connector, Host, HostOptions};
use connector_tests::{component, workspace};

use self::report::Row;

/// The suite that IoT Hub documents and that clients choose first.
pub const AES_256: &str = "AES-256-GCM";
/// The other suite that IoT Hub documents.
pub const AES_128: &str = "AES-128-GCM";
/// A suite that IoT Hub does not document. WebAssembly computes it several times as fast as AES.
pub const CHACHA20: &str = "ChaCha20-Poly1305";

/// How often each side is measured. The rounds of both sides alternate.
pub const ROUNDS: usize = 5;

/// What the benchmark measures, and how it prints that.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask bench")]
pub struct Arguments {
    /// The cases to measure; all where none is named. `growth` draws how the figures grow, and is never among them.
    pub cases: Vec<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    pub json: bool,
    /// The component file of an older version. It becomes the peer `itself`.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// The benchmark program of an older version, built at that version. It reads telemetry for the peer `itself`, so
    /// that the older host is measured with the older component.
    #[arg(long, value_name = "FILE", requires = "baseline")]
    pub baseline_program: Option<PathBuf>,
    /// Leave the Python clients out.
    #[arg(long)]
    pub without_python: bool,
    /// Cargo passes this to a benchmark that must measure.
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// One run of a group of cases.
pub struct Lab {
    /// The arguments of the whole run.
    pub arguments: Arguments,
    interpreter: tokio::sync::OnceCell<PathBuf>,
}

impl Lab {
    /// A run with these arguments.
    #[must_use]
    pub fn new(arguments: Arguments) -> Self {
        Self { arguments, interpreter: tokio::sync::OnceCell::new() }
    }

    /// Whether a case was chosen.
    #[must_use]
    pub fn wants(&self, case: &str) -> bool {
        self.arguments.cases.is_empty() || self.arguments.cases.iter().any(|chosen| chosen == case)
    }

    /// Hands a result to the process that prints the table.
    ///
    /// # Errors
    /// Where standard output is closed.
    pub fn report(&self, row: &Row) -> Result<()> {
        use std::io::Write as _;
        writeln!(std::io::stdout(), "{}", serde_json::to_string(row)?)?;
        Ok(())
    }

    /// Tells the reader of the table something that is no ratio.
    pub fn note(&self, text: impl std::fmt::Display) {
        eprintln!("    {text}");
    }

    /// The interpreter with Microsoft's clients. None where they are left out.
    ///
    /// # Errors
    /// Where they cannot be installed.
    pub async fn python(&self) -> Result<Option<&Path>> {
        if self.arguments.without_python {
            return Ok(None);
        }
        let install = || tokio::task::spawn_blocking(python::virtual_environment);
        Ok(Some(self.interpreter.get_or_try_init(install).await?))
    }

    /// The component of today and, where a baseline is given, the older one, both loaded into one host.
    ///
    /// # Errors
    /// Where a file is missing, or the host refuses it.
    pub async fn connectors(&self) -> Result<(Connector, Option<Connector>)> {
        let host = host(256)?;
        let today = host.load_file(component()?).await?;
        let older = match &self.arguments.baseline {
            Some(file) => Some(host.load_file(file).await.context("the baseline")?),
            None => None,
        };
        Ok((today, older))
    }
}

/// A host that keeps up to this number of instances warm.
///
/// # Errors
/// Where the host refuses its options.
pub fn host(warm_instances: u32) -> Result<Host> {
    let mut options = HostOptions::default();
    options.cache_directory = Some(workspace().join("target/compiled"));
    options.warm_instances = warm_instances;
    Ok(Host::new(options)?)
}
