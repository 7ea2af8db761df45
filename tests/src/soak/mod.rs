//! Many tenants at once for a long time, under faults. No resource may grow, no event may be lost, and no tenant may
//! see data of another.
//!
//! 200 tenants use all operations in turn through one host, while the services misbehave and calls are cut off. Each
//! tenant has its own account, device and telemetry trigger. The name of everything that a tenant owns begins with the
//! tenant's mark, and all data for a tenant is searched for the marks of others.

mod growth;
pub mod lifetimes;
mod tenant;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use connector_host::{Host, HostOptions};

use crate::apart::{Emulators, Plan};
use crate::{component, workspace};
use growth::Growth;
use tenant::{Subscriber, Tally};

const TENANTS: usize = 200;

/// The length and the seed of a run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The time from the first call to the last call. Messages that are still on their way are received after that.
    pub length: Duration,
    /// The seed of the order in which tenants call.
    pub seed: u64,
}

/// Faults of the services during the whole run.
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

/// Runs the soak, and prints a line each minute. The program's `main` must call
/// [`apart::serve_if_asked`](crate::apart::serve_if_asked) first.
///
/// # Errors
/// The broken promise.
pub async fn run(options: &Options) -> Result<()> {
    let plan = Plan {
        hubs: 8,
        accounts: TENANTS,
        partitions: 8,
        consumer_groups: 20,
        telemetry_rate: 0.0,
        log: 0,
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
    Ok(())
}
