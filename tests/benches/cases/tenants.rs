//! Many tenants that all stream at once, beside few.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_host::{Account, Connector, Limits};
use connector_tests::apart::{EmulatedAccount, Emulators, Plan};
use connector_tests::{TELEMETRY, component, process};
use serde_json::json;
use tokio::sync::Barrier;

use crate::lab::clock::{Clocks, Cost};
use crate::lab::report::{Row, Unit};
use crate::lab::series::Series;
use crate::lab::{AES_256, Lab, host};

/// The number of tenants.
pub const TENANTS: usize = 1_000;
/// The number that they are compared with.
const FEW: usize = 10;
/// The events that each tenant reads while the clocks run.
const EVENTS: usize = 100;

/// Measures the case of this file.
///
/// # Errors
/// Where a tenant fails.
pub async fn measure(lab: &Lab) -> Result<()> {
    let services = Services::start(TENANTS).await?;
    let (mut many, mut few) = (Series::default(), Series::default());
    for _ in 0..2 {
        // A few tenants read as many events as the many do together, one group of tenants after the other.
        let mut costs = Vec::new();
        for group in services.emulators.accounts.chunks(FEW).take(TENANTS / FEW / 10) {
            costs.push(services.stream(group).await?.0);
        }
        let (events, cpu) = costs.iter().fold((0, 0.0), |(events, cpu), cost| (events + cost.events, cpu + cost.cpu));
        few.push(events as f64 / cpu);
        many.push(services.stream(&services.emulators.accounts).await?.0.per_core());
    }
    let measure = format!("events of 1 KB/s a core of the host: {TENANTS} tenants that all stream at once, to {FEW}");
    lab.report(&Row::new("tenants-1000", AES_256, "itself", Unit::Rate, &measure, &many, &few))
}

/// Eight hubs in a process of their own, with an account for each tenant, and a host.
pub struct Services {
    emulators: Emulators,
    connector: Connector,
}

impl Services {
    /// Starts the hubs. Each partition has the events that its tenants read.
    ///
    /// # Errors
    /// Where they do not start.
    pub async fn start(tenants: usize) -> Result<Self> {
        let plan = Plan {
            hubs: 8,
            accounts: tenants,
            partitions: 32,
            consumer_groups: 20,
            telemetry_rate: 0.0,
            log: 3 * EVENTS,
            faults: Vec::new(),
        };
        let emulators = Emulators::start(&plan).await?;
        let connector = host(u32::try_from(tenants)? + 16)?.load_file(component()?).await?;
        Ok(Self { emulators, connector })
    }

    /// The first tenants of these stream at once.
    ///
    /// # Errors
    /// Where a tenant fails.
    pub async fn stream_first(&self, tenants: usize) -> Result<(Cost, u64)> {
        self.stream(self.emulators.accounts.get(..tenants).context("so many tenants")?).await
    }

    /// Opens a live instance with an open link for each account, and then reads with all of them at once. Returns what
    /// the reading costs, and the private memory that the instances add to the process, in bytes.
    async fn stream(&self, accounts: &[EmulatedAccount]) -> Result<(Cost, u64)> {
        let before = process::private_memory()?;
        let mut live = Vec::new();
        for some in accounts.chunks(20) {
            let opening = some.iter().map(|account| self.open(account));
            for opened in futures_util::future::join_all(opening).await {
                live.push(opened?);
            }
        }
        let begin = Arc::new(Barrier::new(live.len() + 1));
        let mut tasks = tokio::task::JoinSet::new();
        for (instance, request) in live {
            let begin = Arc::clone(&begin);
            tasks.spawn(async move {
                begin.wait().await;
                let read = read(&instance, request, EVENTS).await?;
                // The instance lives until all have read.
                anyhow::Ok((instance, read))
            });
        }
        begin.wait().await;
        let clocks = Clocks::start();
        let (mut events, mut live) = (0, Vec::new());
        while let Some(ended) = tasks.join_next().await {
            let (instance, read) = ended??;
            events += read;
            live.push(instance);
        }
        let cost = clocks.stop(events);
        let memory = process::private_memory()?.saturating_sub(before);
        drop(live);
        Ok((cost, memory))
    }

    async fn open(&self, account: &EmulatedAccount) -> Result<(Account, PollRequest)> {
        let mut limits = Limits::default();
        limits.warm_idle = Duration::from_secs(3_600);
        let instance = self.connector.open(&account.tenant(limits)?, &account.connection).await?;
        let mut request = PollRequest {
            trigger: TELEMETRY.to_owned(),
            partition: account.partition.clone(),
            config: json!({ "consumerGroup": account.consumer_group }).to_string(),
            start: Start::Earliest,
            on_position_lost: LostPolicy::Stop,
            cursor: None,
            budget: Budget { events: 20, bytes: 1 << 20, wait_ms: 2_000 },
        };
        let page = instance.poll(&request).await?;
        ensure!(!page.events.is_empty(), "{} has no telemetry", account.device);
        request.cursor = Some(page.next);
        Ok((instance, request))
    }
}

/// Reads at least this number of events.
async fn read(instance: &Account, mut request: PollRequest, wanted: usize) -> Result<usize> {
    let mut events = 0;
    while events < wanted {
        let page = instance.poll(&request).await?;
        ensure!(!page.events.is_empty() || page.more, "only {events} events came");
        events += page.events.len();
        request.cursor = Some(page.next);
    }
    Ok(events)
}
