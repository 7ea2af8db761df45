//! A host with a hostile plugin and a well-behaved neighbour, and measurements of the neighbour.

use std::fmt::Display;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use connector_host::interface::action::Call;
use connector_host::{CallError, Connection, Connector, Host, Tenant, TenantOptions};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::plugin::{account, done, flawed, host};

/// The smallest number of the neighbour's calls during an attack.
const PROGRESS: usize = 5;
/// How many times longer the median of the neighbour's calls may be during attacks. Attacks use all the computing time
/// they can get, most of all while a component that is to be refused is compiled.
const SLOWER: u32 = 5;
/// How long an attack may be repeated until the neighbour has made its calls.
const PATIENCE: Duration = Duration::from_secs(120);

/// The neighbour: another tenant that uses the same connector in the intended way.
struct Neighbour {
    worker: JoinHandle<()>,
    calls: Arc<AtomicUsize>,
    latencies: Arc<Mutex<Vec<Duration>>>,
    over: Arc<AtomicBool>,
}

impl Neighbour {
    fn start(connector: Connector) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let latencies = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let shared = (calls.clone(), latencies.clone(), over.clone());
        let worker = tokio::spawn(async move {
            let (calls, latencies, over) = shared;
            let mut options = TenantOptions::default();
            options.name = "neighbour".to_owned();
            let tenant = Tenant::new(options).unwrap();
            let connection = account("api.hostile.example.com", "");
            while !over.load(Ordering::SeqCst) {
                let begun = Instant::now();
                let outcome = connector
                    .account(&tenant, &connection)
                    .invoke("echo", r#"{"text":"good day"}"#, &Call::default())
                    .await;
                assert_eq!(done(outcome).expect("a neighbour's call"), json!({ "text": "good day" }));
                latencies.lock().unwrap().push(begun.elapsed());
                calls.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { worker, calls, latencies, over }
    }

    fn calls(&self) -> usize {
        assert!(!self.worker.is_finished(), "the neighbour's task ended early");
        self.calls.load(Ordering::SeqCst)
    }

    fn take_latencies(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.latencies.lock().unwrap())
    }
}

/// Resources that the process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    descriptors: usize,
    kib: usize,
}

impl Held {
    /// None where the operating system does not report the resources.
    fn now() -> Option<Self> {
        let descriptors = fs::read_dir("/proc/self/fd").ok()?.count();
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(Self { descriptors, kib: resident.split_whitespace().next()?.parse().ok()? })
    }
}

/// Runs attacks beside the neighbour. Only one test uses an arena at a time, so that all measurements belong to that
/// test.
pub struct Arena {
    pub host: Host,
    pub hostile: Connector,
    pub connection: Connection,
    title: &'static str,
    neighbour: Neighbour,
    undisturbed: Vec<Duration>,
    before: Mutex<Option<Held>>,
    disturbed: Mutex<Vec<Duration>>,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl Arena {
    pub async fn enter(title: &'static str) -> Self {
        static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let turn = TURN.lock().await;
        let hostile = flawed(&[]).await;
        let neighbour = Neighbour::start(hostile.clone());
        while neighbour.calls() < 40 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let undisturbed = neighbour.take_latencies();
        Self {
            host: host(),
            hostile,
            connection: account("api.hostile.example.com", ""),
            title,
            neighbour,
            undisturbed,
            before: Mutex::new(None),
            disturbed: Mutex::default(),
            _turn: turn,
        }
    }

    /// Runs the attack, and repeats it until the neighbour has made enough calls meanwhile.
    pub async fn attack<T>(&self, what: impl Display, mut attack: impl AsyncFnMut() -> T) -> T {
        let (begun, calls) = (Instant::now(), self.neighbour.calls());
        self.neighbour.take_latencies();
        let mut ended = attack().await;
        while self.neighbour.calls() < calls + PROGRESS {
            assert!(begun.elapsed() < PATIENCE, "{what}: the neighbour makes no progress");
            ended = attack().await;
        }
        let latencies = self.neighbour.take_latencies();
        // Resources are first measured after one attack, because allocators and the kernel need a warm-up.
        self.before.lock().unwrap().get_or_insert_with(|| Held::now().unwrap_or(Held { descriptors: 0, kib: 0 }));
        println!("{}: {what}: neighbour {}", self.title, compare(&latencies, &self.undisturbed));
        self.disturbed.lock().unwrap().extend(latencies);
        ended
    }

    /// Runs one misbehaviour, on an account whose hosts do not exist.
    pub async fn misbehave(&self, tenant: &Tenant, input: Value) -> Result<Value, CallError> {
        self.misbehave_with(tenant, &self.connection, input).await
    }

    pub async fn misbehave_with(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        input: Value,
    ) -> Result<Value, CallError> {
        done(self.hostile.account(tenant, connection).invoke("misbehave", &input.to_string(), &Call::default()).await)
    }

    /// Ends the neighbour, and checks that no resources are left behind.
    pub async fn leave(self) {
        // The neighbour still works after all attacks.
        let calls = self.neighbour.calls();
        while self.neighbour.calls() < calls + PROGRESS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.neighbour.over.store(true, Ordering::SeqCst);
        self.neighbour.worker.await.expect("the neighbour's task ended early");
        let disturbed = self.disturbed.into_inner().unwrap();
        println!("{}: in all: neighbour {}", self.title, compare(&disturbed, &self.undisturbed));
        let [with, without] = [&disturbed, &self.undisturbed].map(|calls| percentile(calls, 50));
        assert!(
            with <= without * SLOWER + Duration::from_millis(5),
            "the neighbour's calls took {with:.1?} instead of {without:.1?}"
        );

        let (Some(before), Some(_)) = (self.before.into_inner().unwrap(), Held::now()) else { return };
        // Tasks of the runtime close files and sockets, which takes a moment.
        let (begun, slack) = (Instant::now(), Held { descriptors: 8, kib: 64 << 10 });
        loop {
            let Some(after) = Held::now() else { return };
            let settled =
                after.descriptors <= before.descriptors + slack.descriptors && after.kib <= before.kib + slack.kib;
            if settled {
                println!(
                    "{}: {} descriptors before, {} after; {} KiB before, {} after",
                    self.title, before.descriptors, after.descriptors, before.kib, after.kib
                );
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "left behind: {before:?}, then {after:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn percentile(calls: &[Duration], percent: usize) -> Duration {
    let mut sorted = calls.to_vec();
    sorted.sort();
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Percentiles of the latencies, as ratios to those of undisturbed calls.
fn compare(calls: &[Duration], undisturbed: &[Duration]) -> String {
    let [p50, p99] = [50, 99].map(|percent| {
        let (with, without) = (percentile(calls, percent), percentile(undisturbed, percent));
        format!("p{percent} {with:.1?} ({:.1}x)", with.as_secs_f64() / without.as_secs_f64().max(1e-6))
    });
    format!("{} calls, {p50}, {p99}", calls.len())
}
