//! Long runs of the tests that draw what they do from a seed: `cargo xtask soak`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use connector_tests::faults::{engine, program, scan};
use connector_tests::{apart, peers, soak};

/// Runs seed after seed, a line for each, and ends at the first promise that is broken.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask soak")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Telemetry while connections break, links are detached, tokens expire, and readers are cut off, restarted and killed:
    /// every event at least once and unchanged, in order, cursors never back, repetitions only of what was not committed.
    Telemetry(TelemetryArguments),
    /// 200 tenants that call everything in turn through one host, under faults: memory and descriptors do not grow once the
    /// host is warm, no event is lost, and nothing of one tenant reaches another.
    Tenants(TenantsArguments),
    /// A warm instance that makes 100,000 requests, and 10,000 tenants that come and go: neither memory, descriptors nor
    /// handles grow.
    Lifetimes(LifetimesArguments),
    /// Servers that misbehave in every way of the table `tests/peers/`: each call ends in a page or a typed error in time,
    /// nothing is left behind, and a quiet tenant beside it goes on.
    Peers(PeersArguments),
}

#[derive(Debug, Args)]
struct LifetimesArguments {
    /// HTTP requests of one warm instance.
    #[arg(long, default_value_t = 100_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    requests: u64,
    /// Tenants that are opened, called once and dropped.
    #[arg(long, default_value_t = 10_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    tenants: u64,
}

#[derive(Debug, Args)]
struct PeersArguments {
    /// Those alone whose ids begin with one of these.
    #[arg(value_name = "ID")]
    only: Vec<String>,
    /// A sample in an order of chance: no further behaviour begins after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    sample: Option<u64>,
    /// Of that order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
struct TenantsArguments {
    /// How long.
    #[arg(long, default_value_t = 30.0, value_name = "MINUTES", value_parser = minutes)]
    minutes: f64,
    /// Of the order in which tenants call.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn minutes(text: &str) -> Result<f64> {
    let minutes = text.parse()?;
    ensure!((0.5..=10_000.0).contains(&minutes), "0.5 to 10000");
    Ok(minutes)
}

#[derive(Debug, Args)]
struct TelemetryArguments {
    /// How many seeds.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    seeds: u64,
    /// The first one: a seed that broke a promise is tried again by `--first SEED --seeds 1`.
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    first: u64,
    /// Events that an engine reads with each seed; a killed process reads a tenth of them.
    #[arg(long, default_value_t = 50_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1_000..=5_000_000))]
    events: u64,
    /// Begin no further seed after so many minutes.
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<u64>,
}

fn main() -> Result<()> {
    if apart::serve_if_asked()? {
        return Ok(());
    }
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        match arguments.what {
            What::Telemetry(arguments) => telemetry(&arguments).await,
            What::Lifetimes(LifetimesArguments { requests, tenants }) => {
                soak::lifetimes::run(soak::lifetimes::Items { requests, tenants }).await
            }
            What::Tenants(TenantsArguments { minutes, seed }) => {
                soak::run(&soak::Options { length: Duration::from_secs_f64(minutes * 60.0), seed }).await
            }
            What::Peers(PeersArguments { only, sample, seed }) => {
                let sample = sample.map(Duration::from_secs);
                let summary = peers::run(&peers::Options { seed, sample, only }).await?;
                println!("{summary}");
                summary.judge()
            }
        }
    })
}

async fn telemetry(arguments: &TelemetryArguments) -> Result<()> {
    let TelemetryArguments { seeds, first, events, minutes } = *arguments;
    let begun = Instant::now();
    let limit = minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60)));
    let (mut done, mut read, mut repeated, mut faults, mut interruptions) = (0, 0, 0, 0, 0);
    for seed in first..first.saturating_add(seeds) {
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            break;
        }
        let again = || {
            format!(
                "seed {seed} broke a promise; again: cargo xtask soak telemetry --first {seed} --seeds 1 --events {events}"
            )
        };
        let started = Instant::now();
        let engine = engine::run(seed, usize::try_from(events)?).await.with_context(again)?;
        let process = program::run(seed, usize::try_from(events / 10)?).await.with_context(again)?;
        let scan = scan::run(seed, usize::try_from(events / 10)?).await.with_context(again)?;
        println!(
            "seed {seed}: engine {} events, {} repeated, {} faults, {} interruptions ({} in mid-poll), {} polls ({} failed); scan {} events, {} repeated, {} faults, {} polls ({} failed); process {} events, {} repeated, {} faults, {} kills; {:.1} s",
            engine.events,
            engine.repeated,
            engine.faults,
            engine.interruptions,
            engine.cut_off,
            engine.polls,
            engine.failures,
            scan.events,
            scan.repeated,
            scan.faults,
            scan.polls,
            scan.failures,
            process.events,
            process.repeated,
            process.faults,
            process.kills,
            started.elapsed().as_secs_f64(),
        );
        done += 1;
        read += engine.events + scan.events + process.events;
        repeated += engine.repeated + scan.repeated + process.repeated;
        faults += engine.faults + scan.faults + process.faults;
        interruptions += engine.interruptions + scan.interruptions + process.kills;
    }
    println!(
        "{done} seeds in {:.1} min: {read} events, none lost, none altered, all in order; {faults} faults, {interruptions} interruptions, {repeated} repetitions, each of what was not committed",
        begun.elapsed().as_secs_f64() / 60.0,
    );
    Ok(())
}
