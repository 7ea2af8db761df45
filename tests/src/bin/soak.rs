//! Long runs of randomized tests. A seed decides the random choices: `cargo xtask soak`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use connector_tests::faults::{engine, program, scan};
use connector_tests::{apart, peers, soak};

/// Runs one of the long tests. Prints a line for each step, and stops at the first broken promise.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask soak")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Reads telemetry while connections break, links are detached, tokens expire, and readers are cut off, restarted
    /// and killed. Every event must arrive at least once, unchanged and in order; cursors never go back; only events
    /// that were not committed are repeated.
    Telemetry(TelemetryArguments),
    /// Lets 200 tenants use all operations through one host, under faults. Memory and descriptors must not grow after
    /// the warm-up, no event may be lost, and no tenant may see data of another.
    Tenants(TenantsArguments),
    /// Makes 100,000 requests in one warm instance, then opens and drops 10,000 tenants. Memory, descriptors and
    /// handles must not grow.
    Lifetimes(LifetimesArguments),
    /// Calls servers that misbehave in every way of the table `tests/peers/`. Each call must end in time with a page or
    /// a typed error, no resources may stay behind, and a quiet tenant of the same host must not be disturbed.
    Peers(PeersArguments),
}

#[derive(Debug, Args)]
struct LifetimesArguments {
    /// How many HTTP requests the warm instance makes.
    #[arg(long, default_value_t = 100_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    requests: u64,
    /// How many tenants are opened, called once and dropped.
    #[arg(long, default_value_t = 10_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    tenants: u64,
}

#[derive(Debug, Args)]
struct PeersArguments {
    /// Play only the behaviours whose ids begin with one of these texts.
    #[arg(value_name = "ID")]
    only: Vec<String>,
    /// Play the behaviours in random order, and begin none after this many seconds.
    #[arg(long, value_name = "SECONDS")]
    sample: Option<u64>,
    /// The seed of the random order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
struct TenantsArguments {
    /// How many minutes the test runs.
    #[arg(long, default_value_t = 30.0, value_name = "MINUTES", value_parser = minutes)]
    minutes: f64,
    /// The seed of the order in which tenants call.
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
    /// How many seeds are run.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    seeds: u64,
    /// The first seed. To repeat a seed that broke a promise, use `--first SEED --seeds 1`.
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    first: u64,
    /// How many events are read with each seed. The process that is killed reads a tenth of them.
    #[arg(long, default_value_t = 50_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1_000..=5_000_000))]
    events: u64,
    /// Begin no further seed after this many minutes.
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
