//! The benchmark: ratios of the component's figures to those of other clients and of itself, each in one run.
//!
//! `cargo xtask bench` runs all cases, each group of them in a process of its own. The services have a process of their
//! own, too. Rounds of both sides alternate, the medians count, and the range of the ratios is printed beside them.
//! Elapsed time counts where somebody waits, computing time where work is counted, because all processes share the
//! machine's cores; each row says which. Only ratios are meaningful: absolute figures depend on what else runs there.
//!
//! `lab/` is what all cases share, `cases/` has a file for each group, `growth/` draws how figures grow with the work.

mod cases;
mod growth;
mod lab;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use cases::{GROUPS, Group};
use clap::Parser as _;
use connector_tests::apart;
use lab::machine::Machine;
use lab::report::Row;
use lab::{Arguments, Lab, reader, service};

/// The environment variable with the name of the group that this process measures.
const GROUP: &str = "CONNECTOR_BENCH_GROUP";
/// The argument that draws how the figures grow.
const GROWTH: &str = "growth";

fn main() -> Result<()> {
    if apart::serve_if_asked()? || service::serve_if_asked()? || reader::read_if_asked()? {
        return Ok(());
    }
    // `cargo test` runs benchmarks only to check that they build. `cargo bench` measures.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("0 measured: run `cargo xtask bench`");
        return Ok(());
    }
    let arguments = Arguments::parse();
    let group = std::env::var(GROUP).ok();
    if group.is_some() || arguments.cases.first().is_some_and(|case| case == GROWTH) {
        // This event interval is the one that `connector_host` recommends. With tokio's default of 61, connections are
        // checked only after 61 polls of guests.
        let runtime = tokio::runtime::Builder::new_multi_thread().event_interval(4).enable_all().build()?;
        let lab = Lab::new(arguments);
        return runtime.block_on(async {
            match group.as_deref() {
                None => growth::measure(&lab).await,
                Some("action") => cases::action::measure(&lab).await,
                Some("telemetry") => cases::telemetry::measure(&lab).await,
                Some("page") => cases::page::measure(&lab).await,
                Some("scan") => cases::scan::measure(&lab).await,
                Some("watch") => cases::watch::measure(&lab).await,
                Some("start") => cases::start::measure(&lab).await,
                Some("tenants") => cases::tenants::measure(&lab).await,
                Some(group) => cases::density::measure(&lab, group).await,
            }
        });
    }
    all(&arguments)
}

/// Runs the chosen groups, one after the other, and prints what they report.
fn all(arguments: &Arguments) -> Result<()> {
    let known = |case: &String| GROUPS.iter().any(|group| group.cases.contains(&case.as_str()));
    if let Some(unknown) = arguments.cases.iter().find(|case| !known(case)) {
        let names: Vec<&str> = GROUPS.iter().flat_map(|group| group.cases).copied().collect();
        anyhow::bail!("there is no case {unknown}; there are {GROWTH}, {}", names.join(", "));
    }
    let machine = Machine::read()?;
    if arguments.json {
        eprintln!("{machine}");
    } else {
        println!("{machine}\n\n{}", Row::heading());
    }
    let chosen = |group: &&Group| {
        arguments.cases.is_empty() || arguments.cases.iter().any(|case| group.cases.contains(&case.as_str()))
    };
    for group in GROUPS.iter().filter(chosen) {
        let mut child = Command::new(std::env::current_exe()?)
            .args(std::env::args().skip(1))
            .env(GROUP, group.name)
            .stdout(Stdio::piped())
            .spawn()?;
        for line in BufReader::new(child.stdout.take().context("its output")?).lines() {
            let line = line?;
            let row: Row = serde_json::from_str(&line).with_context(|| format!("{}: {line}", group.name))?;
            println!("{}", if arguments.json { line } else { row.line() });
        }
        let status = child.wait()?;
        ensure!(status.success(), "{}: {status}", group.name);
    }
    Ok(())
}
