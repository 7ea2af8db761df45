//! Long lifetimes and short ones: one instance that makes many requests, and many tenants that come and go.

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use connector_host::interface::action::{Call, Outcome};
use connector_host::{Host, HostOptions, Limits};
use serde_json::json;

use crate::apart::{EmulatedAccount, Emulators, Plan};
use crate::{component, process, workspace};

/// How many requests and tenants there are.
#[derive(Clone, Copy, Debug)]
pub struct Items {
    /// HTTP requests of the warm instance.
    pub requests: u64,
    /// Tenants that are opened, called once and dropped, one after the other.
    pub tenants: u64,
}

/// How many samples each part takes. The first sample ends the warm-up.
const SAMPLES: u64 = 20;

/// How many bytes of memory the last sample may have more than the first: the allocator keeps some pages.
const MEMORY: u64 = 4 << 20;

/// The resources after some requests or tenants.
struct Sample {
    items: u64,
    memory: u64,
    descriptors: usize,
    /// Handles of the instance.
    handles: usize,
}

impl Sample {
    fn take(items: u64, handles: usize) -> Result<Self> {
        let (memory, descriptors) = (process::private_memory()?, process::file_descriptors()?);
        Ok(Self { items, memory, descriptors, handles })
    }
}

/// Runs both parts, and prints their results. The program's `main` must call
/// [`apart::serve_if_asked`](crate::apart::serve_if_asked) first.
///
/// # Errors
/// A failed call, or the resource that has grown.
pub async fn run(items: Items) -> Result<()> {
    let plan = Plan {
        hubs: 1,
        accounts: 1,
        partitions: 2,
        consumer_groups: 1,
        telemetry_rate: 0.0,
        log: 0,
        faults: Vec::new(),
    };
    let emulators = Emulators::start(&plan).await?;
    let account = emulators.accounts.first().context("no account")?;
    let mut options = HostOptions::default();
    options.cache_directory = Some(workspace().join("target/compiled"));
    let connector = Host::new(options)?.load_file(component()?).await?;
    let mut limits = Limits::default();
    limits.http_requests_per_second = u32::MAX;
    let input = json!({ "deviceId": account.device }).to_string();

    let begun = Instant::now();
    let tenant = account.tenant(limits.clone())?;
    let warm = connector.open(&tenant, &account.connection).await?;
    let mut samples = Vec::new();
    let step = (items.requests / SAMPLES).max(1);
    for number in 1..=items.requests {
        let answered = warm.invoke("get-device", &input, &Call::default()).await;
        done(answered, account).with_context(|| format!("request {number}"))?;
        if number % step == 0 {
            let handles = warm.handles().await.context("the instance was discarded")?;
            samples.push(Sample::take(number, handles)?);
        }
    }
    judge("requests of one instance", &samples, begun)?;
    warm.discard().await;
    drop(tenant);

    let begun = Instant::now();
    let mut samples = Vec::new();
    let step = (items.tenants / SAMPLES).max(1);
    for number in 1..=items.tenants {
        let tenant = account.tenant(limits.clone())?;
        let warm = connector.open(&tenant, &account.connection).await?;
        let answered = warm.invoke("get-device", &input, &Call::default()).await;
        done(answered, account).with_context(|| format!("tenant {number}"))?;
        if number % step == 0 {
            samples.push(Sample::take(number, 0)?);
        }
    }
    judge("tenants", &samples, begun)
}

fn done(answered: Result<Outcome, connector_host::CallError>, account: &EmulatedAccount) -> Result<()> {
    match answered? {
        Outcome::Done(output) if output.contains(&account.device) => Ok(()),
        other => bail!("{other:?}"),
    }
}

/// Compares the last sample with the first.
fn judge(what: &str, samples: &[Sample], begun: Instant) -> Result<()> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Ok(()) };
    let grown = last.memory.saturating_sub(first.memory);
    let items = last.items.saturating_sub(first.items).max(1);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let each = grown as f64 / items as f64;
    println!(
        "{} {what} in {:.0} s: memory {} KiB after {}, {} KiB at the end ({each:.1} bytes each); descriptors {} and {}; handles {} and {}",
        last.items,
        begun.elapsed().as_secs_f64(),
        first.memory >> 10,
        first.items,
        last.memory >> 10,
        first.descriptors,
        last.descriptors,
        first.handles,
        last.handles,
    );
    ensure!(grown <= MEMORY + first.memory / 50, "memory grows: {grown} bytes with {items} {what}");
    // A few connections may still be closing.
    ensure!(last.descriptors <= first.descriptors + 4, "descriptors were not closed");
    ensure!(last.handles == first.handles, "handles were not released");
    Ok(())
}
