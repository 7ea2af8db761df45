//! Measures how many tenants one process can hold, and whether a tenant is slowed by another tenant that floods the
//! host.
//!
//! - Density: how much private memory one tenant adds to the process, with 1,000 tenants that each have a live instance
//!   and an open connection. Measured with instances that use HTTP, and with instances that stream telemetry over AMQP.
//! - Instances: a call that needs no network, in a new instance. Making and dropping the instance is part of the call.
//! - Fairness: the 99th percentile of a quiet tenant's calls while another tenant has 64 calls running all the time,
//!   compared with the same calls without a flood. Rounds of both kinds alternate.
//!
//! The arguments `instances`, `fairness`, `http` and `streams` select some of these measurements. Each measurement has
//! its own process, so that it does not measure what another has left behind. The services also have their own process.
//!
//! Only ratios and bytes are meaningful: absolute times depend on what else runs on the machine.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use connector_host::interface::action::Call;
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_host::{Account, Connection, Connector, Host, HostOptions, Limits, Secret, Tenant};
use connector_tests::apart::{self, EmulatedAccount, Emulators, Plan};
use connector_tests::{component, process, workspace};
use serde_json::json;

const TENANTS: usize = 1_000;
const ROUNDS: usize = 5;
const QUIET_CALLS: usize = 200;
const FLOOD: usize = 64;

fn main() -> Result<()> {
    if apart::serve_if_asked()? {
        return Ok(());
    }
    // `cargo test` runs benchmarks only to check that they build. `cargo bench` measures.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("0 measured: run `cargo xtask bench`");
        return Ok(());
    }
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match chosen.as_slice() {
        // This event interval is the one that `connector_host` recommends. With tokio's default of 61, connections are
        // checked only after 61 polls of guests.
        [part] => {
            tokio::runtime::Builder::new_multi_thread().event_interval(4).enable_all().build()?.block_on(measure(part))
        }
        [] => in_processes(&PARTS),
        several => in_processes(several),
    }
}

const PARTS: [&str; 4] = ["instances", "fairness", "http", "streams"];

fn in_processes(parts: &[impl AsRef<std::ffi::OsStr>]) -> Result<()> {
    for part in parts {
        let status = Command::new(std::env::current_exe()?).arg("--bench").arg(part).status()?;
        ensure!(status.success(), "{}: {status}", part.as_ref().display());
    }
    Ok(())
}

async fn measure(part: &str) -> Result<()> {
    let plan = Plan {
        hubs: 8,
        accounts: TENANTS + 2,
        partitions: 32,
        consumer_groups: 20,
        telemetry_rate: 50.0,
        faults: Vec::new(),
    };
    let emulators = Emulators::start(&plan).await?;
    let mut options = HostOptions::default();
    options.cache_directory = Some(workspace().join("target/compiled"));
    options.warm_instances = TENANTS as u32 + 16;
    let connector = Host::new(options)?.load_file(component()?).await?;
    let (extra, accounts) = emulators.accounts.split_at(2);
    let [quiet, flooding] = extra else { bail!("two accounts beside the {TENANTS}") };
    match part {
        "instances" => instances(&connector, quiet).await,
        "fairness" => fairness(&connector, quiet, flooding).await,
        "http" => density("an instance that talks HTTP", &connector, accounts, quiet, Kind::Http).await,
        "streams" => density("an instance that streams telemetry", &connector, accounts, quiet, Kind::Stream).await,
        other => bail!("there is no {other:?}, only {PARTS:?}"),
    }
}

/// A call that needs no network, including making and dropping the instance.
async fn instances(connector: &Connector, account: &EmulatedAccount) -> Result<()> {
    const CALLS: u32 = 2_000;
    let tenant = account.tenant(Limits::default())?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..CALLS {
            connector.account(&tenant, &account.connection).label().await?;
        }
        rounds.push(started.elapsed() / CALLS);
    }
    rounds.sort();
    println!("{:<60} {:>10.1?}", "a call without network, its instance made and dropped", rounds[ROUNDS / 2]);
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Http,
    Stream,
}

/// Opens one live instance for each account, and prints how much memory and how many descriptors one instance adds.
async fn density(
    what: &str,
    connector: &Connector,
    accounts: &[EmulatedAccount],
    first: &EmulatedAccount,
    kind: Kind,
) -> Result<()> {
    // The first instance also sets up what all instances share, so it is not counted.
    let mut live = vec![open(connector, first, kind).await?];
    let (memory, descriptors) = (process::private_memory()?, process::file_descriptors()?);
    for some in accounts.chunks(20) {
        let opening = some.iter().map(|account| open(connector, account, kind));
        for opened in futures_util::future::join_all(opening).await {
            live.push(opened?);
        }
    }
    let added = process::private_memory()?.saturating_sub(memory) as f64 / accounts.len() as f64 / f64::from(1 << 10);
    let opened = process::file_descriptors()?.saturating_sub(descriptors) as f64 / accounts.len() as f64;
    let title = format!("{what}, each of {}", accounts.len());
    println!("{title:<60} {added:>7.0} KiB  {opened:.2} descriptors");
    // Instances that had closed their connections would make the result too good.
    ensure!(opened >= 0.99, "the instances do not keep their connections");
    drop(live);
    Ok(())
}

async fn open(connector: &Connector, account: &EmulatedAccount, kind: Kind) -> Result<Account> {
    let mut limits = Limits::default();
    limits.warm_idle = Duration::from_secs(3_600);
    let instance = connector.open(&account.tenant(limits)?, &account.connection).await?;
    match kind {
        Kind::Http => {
            instance.invoke("get-device", &json!({ "deviceId": account.device }).to_string(), &Call::default()).await?;
        }
        Kind::Stream => {
            let mut cursor = None;
            let mut events = 0;
            for _ in 0..3 {
                let request = PollRequest {
                    trigger: "device-telemetry".to_owned(),
                    partition: account.partition.clone(),
                    config: json!({ "consumerGroup": account.consumer_group }).to_string(),
                    start: Start::Earliest,
                    on_position_lost: LostPolicy::Stop,
                    cursor,
                    budget: Budget { events: 20, bytes: 1 << 20, wait_ms: 2_000 },
                };
                let page = instance.poll(&request).await?;
                events += page.events.len();
                cursor = Some(page.next);
            }
            ensure!(events > 0, "{} has no telemetry", account.device);
        }
    }
    Ok(instance)
}

/// Measures the quiet tenant's calls alone, and during each kind of flood.
async fn fairness(connector: &Connector, quiet: &EmulatedAccount, flooding: &EmulatedAccount) -> Result<()> {
    let caller = Caller::new(connector, quiet)?;
    let invalid = Connection::new("shared-access-key", Secret::new(json!({ "iotHubName": "-" }).to_string()));
    let floods = [
        ("with calls to its hub", flooding.connection.clone(), true),
        ("with calls that compute only", invalid, false),
    ];
    for (title, connection, online) in floods {
        let flood = Arc::new(Flood {
            connector: connector.clone(),
            tenant: flooding.tenant(Limits::default())?,
            connection,
            device: flooding.device.clone(),
            online,
            running: AtomicBool::new(false),
            calls: AtomicU64::new(0),
        });
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            alone.extend(caller.latencies().await?);
            let tasks = Flood::begin(&flood);
            // The flood needs a moment to reach its full rate.
            tokio::time::sleep(Duration::from_millis(300)).await;
            beside.extend(caller.latencies().await?);
            flood.running.store(false, Ordering::Relaxed);
            for task in tasks {
                task.await?;
            }
        }
        let calls = flood.calls.load(Ordering::Relaxed);
        ensure!(calls > 0, "nothing flooded");
        let (alone, beside) = (Percentiles::of(alone)?, Percentiles::of(beside)?);
        println!(
            "a quiet tenant beside one that floods the host {title} ({calls}): median {:.1?} to {:.1?} ({:.2}x), 99th percentile {:.1?} to {:.1?} ({:.2}x)",
            alone.median,
            beside.median,
            ratio(beside.median, alone.median),
            alone.ninety_ninth,
            beside.ninety_ninth,
            ratio(beside.ninety_ninth, alone.ninety_ninth),
        );
    }
    Ok(())
}

fn ratio(of: Duration, to: Duration) -> f64 {
    of.as_secs_f64() / to.as_secs_f64()
}

struct Percentiles {
    median: Duration,
    ninety_ninth: Duration,
}

impl Percentiles {
    fn of(mut latencies: Vec<Duration>) -> Result<Self> {
        latencies.sort();
        let at = |part: usize| latencies.get(latencies.len() * part / 100).copied().context("no calls");
        Ok(Self { median: at(50)?, ninety_ninth: at(99)? })
    }
}

/// A tenant that makes one call after another.
struct Caller {
    connector: Connector,
    tenant: Tenant,
    connection: Connection,
    input: String,
}

impl Caller {
    fn new(connector: &Connector, account: &EmulatedAccount) -> Result<Self> {
        Ok(Self {
            connector: connector.clone(),
            tenant: account.tenant(Limits::default())?,
            connection: account.connection.clone(),
            input: json!({ "deviceId": account.device }).to_string(),
        })
    }

    async fn latencies(&self) -> Result<Vec<Duration>> {
        let mut latencies = Vec::with_capacity(QUIET_CALLS);
        for _ in 0..QUIET_CALLS {
            let started = Instant::now();
            self.connector
                .account(&self.tenant, &self.connection)
                .invoke("get-device", &self.input, &Call::default())
                .await?;
            latencies.push(started.elapsed());
        }
        Ok(latencies)
    }
}

/// A tenant that makes as many calls as it can.
struct Flood {
    connector: Connector,
    tenant: Tenant,
    connection: Connection,
    device: String,
    online: bool,
    running: AtomicBool,
    calls: AtomicU64,
}

impl Flood {
    fn begin(flood: &Arc<Self>) -> Vec<tokio::task::JoinHandle<()>> {
        flood.running.store(true, Ordering::Relaxed);
        (0..FLOOD).map(|_| tokio::spawn(Arc::clone(flood).run())).collect()
    }

    async fn run(self: Arc<Self>) {
        let input = json!({ "deviceId": self.device }).to_string();
        while self.running.load(Ordering::Relaxed) {
            if self.online {
                let call = Call::default();
                // The host may refuse calls of the flood.
                let _ =
                    self.connector.account(&self.tenant, &self.connection).invoke("get-device", &input, &call).await;
            } else {
                let _ = self.connector.account(&self.tenant, &self.connection).validate().await;
            }
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
    }
}
