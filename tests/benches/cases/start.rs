//! The first call of the program `connector-host`, as `cargo xtask demo` builds it: with an empty cache of compiled
//! components, and with a filled one. Beside it, Python starts, imports Microsoft's client and makes the same call.
//!
//! Computing time counts, because that of the compiler is spread over all cores. The elapsed times are printed, too.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::watch::program;
use crate::lab::clock::computed_by_children;
use crate::lab::report::{Row, Unit};
use crate::lab::series::Series;
use crate::lab::service::{Plan, Service};
use crate::lab::{AES_256, Lab, ROUNDS, python};

/// How often the first call is made with an empty cache: it takes long.
const EMPTY_ROUNDS: usize = 2;

/// Measures the cases of this file.
///
/// # Errors
/// Where a call fails.
pub async fn measure(lab: &Lab) -> Result<()> {
    let Some(debug) = std::env::var_os("CONNECTOR_HOST_DEBUG") else {
        lab.note(
            "first-call: left out, because CONNECTOR_HOST_DEBUG does not name the program; `cargo xtask bench` sets it",
        );
        return Ok(());
    };
    let service = Service::start(&Plan { suite: AES_256.to_owned(), ..Plan::default() })?;
    let folder = tempfile::tempdir()?;
    let input = folder.path().join("input.json");
    std::fs::write(&input, r#"{"deviceId": "bench"}"#)?;
    let cache = folder.path().join("cache");
    let call = || -> Result<Command> {
        let mut command = program(Path::new(&debug), &service.addresses, folder.path(), &cache)?;
        command.args(["invoke", "get-device", "--input"]).arg(&input);
        Ok(command)
    };
    let [mut empty, mut filled, mut pythons, mut empty_wall, mut filled_wall] =
        std::array::from_fn(|_| Series::default());
    let rounds = if lab.wants("first-call") { EMPTY_ROUNDS } else { 1 };
    for _ in 0..rounds {
        if cache.exists() {
            std::fs::remove_dir_all(&cache)?;
        }
        let (cpu, wall) = run(call()?)?;
        empty.push(cpu);
        empty_wall.push(wall);
    }
    for _ in 0..ROUNDS {
        let (cpu, wall) = run(call()?)?;
        filled.push(cpu);
        filled_wall.push(wall);
        if let Some(interpreter) = lab.python().await? {
            let before = computed_by_children()?;
            python::calls(interpreter, &service.addresses, "get-device", 0, 1).await?;
            pythons.push(computed_by_children()? - before);
        }
    }
    let measure = "s of computing, from the start of the program to its end";
    for (case, series) in [("first-call", &empty), ("first-call-cached", &filled)] {
        if lab.wants(case) && !lab.arguments.without_python {
            lab.report(&Row::new(case, AES_256, "python", Unit::Time, measure, series, &pythons))?;
        }
    }
    if lab.wants("first-call") {
        lab.report(&Row::new("first-call", AES_256, "itself", Unit::Time, measure, &empty, &filled))?;
    }
    lab.note(format_args!(
        "elapsed: {:.1} s with an empty cache, {:.3} s with a filled one",
        empty_wall.median(),
        filled_wall.median()
    ));
    Ok(())
}

/// The computing time and the elapsed time of a program, in seconds.
fn run(mut command: Command) -> Result<(f64, f64)> {
    let (before, started) = (computed_by_children()?, Instant::now());
    let output = command.output().context("the program")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(String::from_utf8_lossy(&output.stdout).contains("bench"), "no device");
    Ok((computed_by_children()? - before, started.elapsed().as_secs_f64()))
}
