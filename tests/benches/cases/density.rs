//! How many tenants one process can hold, and whether a tenant is slowed by another tenant that floods the host.
//!
//! - `density-http` and `density-streams`: how much private memory one tenant adds to the process, with 1,000 tenants
//!   that each have a live instance and an open connection; compared with the first hundred of them.
//! - `instance`: a call that needs no network in a new instance, which is made and dropped for it; compared with a kept
//!   one.
//! - `fairness` and `fairness-computing`: the 99th percentile of a quiet tenant's calls while another tenant has 64
//!   calls running all the time, compared with the same calls without a flood. Rounds of both kinds alternate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use connector_host::interface::action::Call;
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_host::{Account, Connection, Connector, Limits, Secret, Tenant};
use connector_tests::apart::{EmulatedAccount, Emulators, Plan};
use connector_tests::{component, process};
use serde_json::json;

use crate::lab::report::{Row, Unit};
use crate::lab::series::Series;
use crate::lab::{AES_256, Lab, ROUNDS, host};

const TENANTS: usize = 1_000;
/// The tenants with which all of them are compared.
const FIRST: usize = 100;
const QUIET_CALLS: usize = 200;
const FLOOD: usize = 64;

/// Measures the cases of a group: `instance` and the fairness need few accounts, each density has a process of its own.
///
/// # Errors
/// Where a call fails.
pub async fn measure(lab: &Lab, group: &str) -> Result<()> {
    let plan = Plan {
        hubs: 8,
        accounts: TENANTS + 2,
        partitions: 32,
        consumer_groups: 20,
        telemetry_rate: 50.0,
        log: 0,
        faults: Vec::new(),
    };
    let emulators = Emulators::start(&plan).await?;
    let connector = host(TENANTS as u32 + 16)?.load_file(component()?).await?;
    let (extra, accounts) = emulators.accounts.split_at(2);
    let [quiet, flooding] = extra else { bail!("two accounts beside the {TENANTS}") };
    match group {
        "density-http" => density(lab, group, &connector, accounts, quiet, Kind::Http).await,
        "density-streams" => density(lab, group, &connector, accounts, quiet, Kind::Stream).await,
        _ => {
            if lab.wants("instance") {
                instances(lab, &connector, quiet).await?;
            }
            fairness(lab, &connector, quiet, flooding).await
        }
    }
}

/// A call that needs no network, including making and dropping the instance.
async fn instances(lab: &Lab, connector: &Connector, account: &EmulatedAccount) -> Result<()> {
    const CALLS: u32 = 2_000;
    let tenant = account.tenant(Limits::default())?;
    let kept = connector.open(&tenant, &account.connection).await?;
    let (mut made, mut warm) = (Series::default(), Series::default());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..CALLS {
            connector.account(&tenant, &account.connection).label().await?;
        }
        made.push(started.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS));
        let started = Instant::now();
        for _ in 0..CALLS {
            kept.label().await?;
        }
        warm.push(started.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS));
    }
    let measure = "a call without network in us, elapsed: on an account that was not opened, to a kept instance";
    lab.report(&Row::new("instance", "none", "itself", Unit::Time, measure, &made, &warm))
}

#[derive(Clone, Copy)]
enum Kind {
    Http,
    Stream,
}

/// Opens one live instance for each account. The result is how much memory and how many descriptors one instance adds.
async fn density(
    lab: &Lab,
    case: &str,
    connector: &Connector,
    accounts: &[EmulatedAccount],
    first: &EmulatedAccount,
    kind: Kind,
) -> Result<()> {
    // The first instance also sets up what all instances share, so it is not counted.
    let mut live = vec![open(connector, first, kind).await?];
    let (memory, descriptors) = (process::private_memory()?, process::file_descriptors()?);
    let added = |accounts: usize| -> Result<f64> {
        let added = process::private_memory()?.saturating_sub(memory);
        Ok(added as f64 / accounts as f64 / f64::from(1 << 10))
    };
    let mut early = Series::default();
    for some in accounts.chunks(20) {
        let opening = some.iter().map(|account| open(connector, account, kind));
        for opened in futures_util::future::join_all(opening).await {
            live.push(opened?);
        }
        if live.len() == FIRST + 1 {
            early.push(added(FIRST)?);
        }
    }
    let all = [added(accounts.len())?].into_iter().collect();
    let opened = process::file_descriptors()?.saturating_sub(descriptors) as f64 / accounts.len() as f64;
    // Instances that had closed their connections would make the result too good.
    ensure!(opened >= 0.99, "the instances do not keep their connections");
    drop(live);
    let measure = format!("KiB of private memory that a tenant adds: each of {TENANTS}, to each of the first {FIRST}");
    lab.report(&Row::new(case, AES_256, "itself", Unit::Bytes, &measure, &all, &early))?;
    lab.note(format_args!("{case}: {opened:.2} descriptors a tenant"));
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
async fn fairness(lab: &Lab, connector: &Connector, quiet: &EmulatedAccount, flooding: &EmulatedAccount) -> Result<()> {
    let caller = Caller::new(connector, quiet)?;
    let invalid = Connection::new("shared-access-key", Secret::new(json!({ "iotHubName": "-" }).to_string()));
    let floods = [("fairness", flooding.connection.clone(), true), ("fairness-computing", invalid, false)];
    for (case, connection, online) in floods.into_iter().filter(|(case, ..)| lab.wants(case)) {
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
        let [mut alone_99, mut beside_99] = std::array::from_fn(|_| Series::default());
        for _ in 0..ROUNDS {
            let latencies = caller.latencies().await?;
            alone_99.push(percentile(&latencies, 99)?);
            alone.extend(latencies);
            let tasks = Flood::begin(&flood);
            // The flood needs a moment to reach its full rate.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let latencies = caller.latencies().await?;
            beside_99.push(percentile(&latencies, 99)?);
            beside.extend(latencies);
            flood.running.store(false, Ordering::Relaxed);
            for task in tasks {
                task.await?;
            }
        }
        let calls = flood.calls.load(Ordering::Relaxed);
        ensure!(calls > 0, "nothing flooded");
        let measure = "99th percentile of a quiet tenant's calls in us, elapsed: beside a flood to alone";
        lab.report(&Row::new(case, AES_256, "itself", Unit::Time, measure, &beside_99, &alone_99))?;
        let (alone, beside) = (percentile(&alone, 50)?, percentile(&beside, 50)?);
        lab.note(format_args!(
            "{case}: beside {calls} calls, the median goes from {alone:.0} to {beside:.0} us ({:.2}x)",
            beside / alone
        ));
    }
    Ok(())
}

/// A percentile of latencies, in microseconds.
fn percentile(latencies: &[Duration], part: usize) -> Result<f64> {
    let mut sorted = latencies.to_vec();
    sorted.sort();
    Ok(sorted.get(sorted.len() * part / 100).context("no calls")?.as_secs_f64() * 1e6)
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
