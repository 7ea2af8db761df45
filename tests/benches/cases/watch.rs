//! `connector-host watch` with a durable cursor beside the same without one. Elapsed time counts: the difference is the
//! waiting for the disk.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use connector_tests::{component, host_program, workspace};
use serde_json::json;

use crate::lab::report::{Row, Unit};
use crate::lab::series::Series;
use crate::lab::service::{Addresses, Log, Plan, Service};
use crate::lab::{AES_256, Lab, ROUNDS};

const EVENTS: usize = 2_000;

/// Measures the case of this file.
///
/// # Errors
/// Where the program fails.
pub async fn measure(lab: &Lab) -> Result<()> {
    let logs = vec![Log { events: EVENTS, body: 1_024 }];
    let service = Service::start(&Plan { suite: AES_256.to_owned(), logs, ..Plan::default() })?;
    let (mut durable, mut forgetful) = (Series::default(), Series::default());
    for _ in 0..ROUNDS {
        // On the disk of the project: a folder for temporary files may be in memory.
        let folder = tempfile::tempdir_in(workspace().join("target"))?;
        durable.push(watch(&service.addresses, folder.path(), true)?);
        forgetful.push(watch(&service.addresses, folder.path(), false)?);
    }
    let measure = "events/s printed, elapsed: with a durable cursor to without";
    lab.report(&Row::new("watch-durable", AES_256, "itself", Unit::Rate, measure, &durable, &forgetful))
}

/// The program `connector-host` with the account of an emulator. The account and the emulator's certificate authority
/// are written into the folder.
///
/// # Errors
/// Where a file cannot be written.
pub fn program(program: &Path, addresses: &Addresses, folder: &Path, cache: &Path) -> Result<Command> {
    let (account, authority) = (folder.join("account.json"), folder.join("authority.pem"));
    std::fs::write(&account, json!({ "authProfile": "shared-access-key", "values": addresses.values }).to_string())?;
    std::fs::write(&authority, &addresses.authority)?;
    let mut command = Command::new(program);
    command.arg("--component").arg(component()?).arg("--connection").arg(account).arg("--cache").arg(cache);
    command.arg("--trust-roots").arg(authority);
    command.args(["--allow-host", "localhost", "--allow-host", &addresses.event_hub_host, "--allow-private-networks"]);
    command.env_remove("CONNECTOR_CONNECTION").env_remove("RUST_LOG");
    Ok(command)
}

/// Events a second, between the first and the last that is printed.
fn watch(addresses: &Addresses, folder: &Path, durable: bool) -> Result<f64> {
    let mut command = program(&host_program()?, addresses, folder, &workspace().join("target/compiled"))?;
    command.args(["watch", "device-telemetry", "--json", "--start", "earliest", "--until", &EVENTS.to_string()]);
    if durable {
        command.arg("--cursor").arg(folder.join("cursors.redb"));
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let (mut first, mut count) = (None, 0_usize);
    for line in BufReader::new(child.stdout.take().context("its output")?).lines() {
        line?;
        first.get_or_insert_with(Instant::now);
        count += 1;
    }
    let elapsed = first.context("no event was printed")?.elapsed().as_secs_f64();
    ensure!(child.wait()?.success() && count == EVENTS, "watch printed {count} events");
    Ok((EVENTS - 1) as f64 / elapsed)
}
