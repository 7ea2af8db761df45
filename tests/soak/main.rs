//! Many tenants at once for a long time, under faults: nothing grows, nothing is lost, nothing of one tenant reaches
//! another.
//!
//! 200 tenants, each with an account, a device and a telemetry trigger of its own, call everything in turn through one
//! host, while the services misbehave and calls are cut off. Everything that a tenant owns begins with its mark, and
//! whatever comes back to a tenant is searched for the marks of others.

mod growth;
mod tenant;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use connector_host::{Host, HostOptions};
use connector_tests::apart::{self, Emulators, Plan};
use connector_tests::{component, workspace};

use growth::Growth;
use tenant::{Subscriber, Tally};

const TENANTS: usize = 200;
const HELP: &str = "\
Options of the soak:
  --minutes N   how long, 1 by default
  --seed N      of the order in which the tenants call, 1 by default";

/// What the services do wrong all the time, beside what the calls do.
const FAULTS: [&str; 8] = [
    "hub:* /=503@0.02",
    "hub:* /=429+1@0.01",
    "hub:* /=drop@0.01",
    "hub:GET /=truncate@0.01",
    "hub:* /=latency:200@0.05",
    "eventhub:TRANSFER /*=cut:4096@0.002",
    "eventhub:TRANSFER /*=detach@0.002",
    "eventhub:ATTACH /*=detach:com.microsoft:server-busy@0.02",
];

fn main() -> Result<()> {
    if apart::serve_if_asked()? {
        return Ok(());
    }
    let Some(options) = Options::parse(std::env::args().skip(1))? else {
        println!("{HELP}");
        return Ok(());
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(soak(&options))
}

struct Options {
    length: Duration,
    seed: u64,
}

impl Options {
    /// `None` where only help is asked for, or a list of tests.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self { length: Duration::from_secs(60), seed: 1 };
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<f64> {
                let text = arguments.next().with_context(|| format!("{argument} needs a number"))?;
                text.parse().with_context(|| format!("{argument} {text}: no number"))
            };
            match argument.as_str() {
                "--minutes" => {
                    let minutes = number()?;
                    ensure!((0.5..=10_000.0).contains(&minutes), "--minutes is from 0.5 to 10000");
                    options.length = Duration::from_secs_f64(minutes * 60.0);
                }
                "--seed" => options.seed = number()? as u64,
                "--help" | "--list" => return Ok(None),
                other if other.starts_with("--") => bail!("there is no option {other}\n\n{HELP}"),
                // A filter of the test command, for the tests of others.
                _ => return Ok(None),
            }
        }
        Ok(Some(options))
    }
}

async fn soak(options: &Options) -> Result<()> {
    let plan = Plan {
        hubs: 8,
        accounts: TENANTS,
        partitions: 8,
        consumer_groups: 20,
        telemetry_rate: 0.0,
        faults: FAULTS.map(str::to_owned).to_vec(),
    };
    let emulators = Emulators::start(&plan).await?;
    let mut host = HostOptions::default();
    host.cache_directory = Some(workspace().join("target/compiled"));
    let connector = Host::new(host)?.load_file(component()?).await?;
    println!(
        "{TENANTS} tenants on {} hubs for {:.1} minutes, seed {}",
        plan.hubs,
        options.length.as_secs_f64() / 60.0,
        options.seed
    );

    let ending = Arc::new(AtomicBool::new(false));
    let tally = Arc::new(Tally::default());
    let mut tasks = Vec::new();
    for (number, account) in emulators.accounts.iter().enumerate() {
        let subscriber = Subscriber::new(&connector, account, &tally, options.seed ^ (number as u64) << 16)?;
        tasks.push(tokio::spawn(subscriber.run(Arc::clone(&ending))));
    }
    let mut growth = Growth::default();
    let started = Instant::now();
    while started.elapsed() < options.length && tasks.iter().all(|task| !task.is_finished()) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        growth.observe(started.elapsed())?;
        if growth.is_minute() || started.elapsed() >= options.length {
            println!("{:>5.0} s  {}  {tally}", started.elapsed().as_secs_f64(), growth.latest());
        }
    }
    ending.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    growth.judge(options.length)?;
    tally.judge()?;
    println!("{tally}\n{}", growth.summary(options.length)?);
    println!("1 passed, 0 failed");
    Ok(())
}
