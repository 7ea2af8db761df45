//! A page of 500 events: the host's part, which takes it out of the guest's memory, judges and converts it, to the
//! guest's part.
//!
//! `perf` samples a reader's process, and the samples are told apart by the file that the code is in: WebAssembly is in
//! none of the process's own. The program's start and its work for sockets count as the host's part, and so does the C
//! library, so the ratio is an upper bound. The kernel counts as neither. The guest's part has its TLS in it, which is
//! why the suite where that is least is measured as well. Without `perf`, the case is left out.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use connector_tests::component;

use crate::lab::reader::{Reader, Reading};
use crate::lab::report::{Row, Unit};
use crate::lab::series::Series;
use crate::lab::service::{Log, Plan, Service};
use crate::lab::{AES_256, CHACHA20, Lab};

const EVENTS: usize = 20_000;
const ROUNDS: usize = 3;

/// Measures the case of this file.
///
/// # Errors
/// Where the reader fails.
pub async fn measure(lab: &Lab) -> Result<()> {
    if !Command::new("perf").arg("--version").output().is_ok_and(|output| output.status.success()) {
        lab.note("page-500: left out, because `perf` is not installed");
        return Ok(());
    }
    for suite in [AES_256, CHACHA20] {
        let logs = vec![Log { events: EVENTS, body: 1_024 }];
        let service = Service::start(&Plan { suite: suite.to_owned(), logs, ..Plan::default() })?;
        let reading = Reading {
            reader: Reader::Component,
            addresses: service.addresses.clone(),
            component: component()?,
            partition: 0,
            warm_up: 0,
            events: EVENTS,
        };
        let (mut hosts, mut guests) = (Series::default(), Series::default());
        for _ in 0..ROUNDS {
            let folder = tempfile::tempdir()?;
            let (host, guest) = shares(&reading, folder.path())?;
            hosts.push(host);
            guests.push(guest);
        }
        let measure = "% of the reader's samples: the host's part to the guest's";
        lab.report(&Row::new("page-500", suite, "itself", Unit::Time, measure, &hosts, &guests))?;
    }
    Ok(())
}

/// The shares of host and guest in the samples of a reader, in percent.
fn shares(reading: &Reading, folder: &Path) -> Result<(f64, f64)> {
    let program = std::env::current_exe()?;
    let samples = folder.join("perf.data");
    let mut recording = Command::new("perf");
    recording.args(["record", "--freq", "999", "--quiet", "--output"]).arg(&samples).arg("--").arg(&program);
    let output = reading.ask(&mut recording)?.output()?;
    ensure!(output.status.success(), "perf record: {}", String::from_utf8_lossy(&output.stderr));
    let mut reporting = Command::new("perf");
    reporting.args(["report", "--stdio", "--sort", "dso", "--field-separator", ",", "--input"]).arg(&samples);
    let report = reporting.output()?;
    ensure!(report.status.success(), "perf report: {}", String::from_utf8_lossy(&report.stderr));
    let own = program.file_name().and_then(|name| name.to_str()).context("a program has a name")?;
    let (mut host, mut guest) = (0.0, 0.0);
    for line in String::from_utf8_lossy(&report.stdout).lines().filter(|line| !line.starts_with('#')) {
        let Some((share, file)) = line.split_once(',') else { continue };
        let (Ok(share), file) = (share.trim().trim_end_matches('%').parse::<f64>(), file.trim()) else { continue };
        match file {
            file if file.starts_with("[kernel") => {}
            file if file == own || file == "[vdso]" || file.contains(".so") => host += share,
            _ => guest += share,
        }
    }
    ensure!(host > 0.0 && guest > 0.0, "perf saw no samples of host or guest");
    Ok((host, guest))
}
