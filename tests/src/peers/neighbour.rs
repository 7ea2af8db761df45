//! A quiet tenant of the same host, and the latencies of its calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use connector_host::interface::action::Call;
use connector_host::{Connection, Connector, Tenant};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

/// The pause between two of its calls.
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Default)]
struct Record {
    latencies: Mutex<Vec<Duration>>,
    failures: Mutex<Vec<String>>,
    over: AtomicBool,
    /// Locked during a call.
    call: Arc<tokio::sync::Mutex<()>>,
}

fn take<T>(values: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *values.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The quiet tenant. It reads a device again and again, each time in a new instance.
pub struct Neighbour {
    record: Arc<Record>,
    worker: JoinHandle<()>,
}

impl Neighbour {
    /// Starts the tenant's calls.
    pub fn start(connector: Connector, tenant: Tenant, connection: Connection) -> Self {
        let record = Arc::new(Record::default());
        let worker = tokio::spawn(work(record.clone(), connector, tenant, connection));
        Self { record, worker }
    }

    /// How many calls were made whose latencies were not taken yet.
    pub fn calls(&self) -> usize {
        self.record.latencies.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The latencies of the calls since they were last taken.
    pub fn take_latencies(&self) -> Vec<Duration> {
        take(&self.record.latencies)
    }

    /// The errors of the failed calls since they were last taken.
    pub fn take_failures(&self) -> Vec<String> {
        take(&self.record.failures)
    }

    /// Waits until the tenant has made this many calls since latencies were last taken, but at most for `most`.
    pub async fn wait_for(&self, calls: usize, most: Duration) {
        let begun = Instant::now();
        while self.calls() < calls && begun.elapsed() < most {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Stops the tenant's calls until the returned guard is dropped.
    pub async fn hush(&self) -> OwnedMutexGuard<()> {
        self.record.call.clone().lock_owned().await
    }

    /// Ends the tenant.
    pub async fn end(self) {
        self.record.over.store(true, Ordering::SeqCst);
        let _ = self.worker.await;
    }
}

async fn work(record: Arc<Record>, connector: Connector, tenant: Tenant, connection: Connection) {
    let call = Call::default();
    while !record.over.load(Ordering::SeqCst) {
        let turn = record.call.lock().await;
        let begun = Instant::now();
        let answer =
            connector.account(&tenant, &connection).invoke("get-device", r#"{"deviceId":"pump"}"#, &call).await;
        let took = begun.elapsed();
        record.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        if let Err(error) = answer {
            record.failures.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
        }
        drop(turn);
        tokio::time::sleep(PAUSE).await;
    }
}

/// A percentile of these latencies. Zero where there are no calls.
#[must_use]
pub fn percentile(calls: &[Duration], percent: usize) -> Duration {
    let mut sorted = calls.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
