//! Warm instances: what they keep between calls, and what ends them.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use connector_host::interface::action::{Call, Outcome};
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_host::{
    Account, CallError, CancellationToken, Connection, Connector, Host, HostOptions, LimitName, Limits, Scope, Tenant,
    TenantOptions,
};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

mod guests;

async fn connector(options: HostOptions) -> Connector {
    let mut options = options;
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    options.cache_directory = Some(target);
    Host::new(options).unwrap().load_file(guests::stream_guest()).await.unwrap()
}

fn few() -> HostOptions {
    let mut options = HostOptions::default();
    (options.concurrent_calls, options.warm_instances) = (8, 8);
    options
}

fn tenant(change: impl FnOnce(&mut Limits)) -> Tenant {
    let mut limits = Limits::default();
    change(&mut limits);
    let mut options = TenantOptions::default();
    options.limits = limits;
    options.allow_hosts = vec!["localhost".parse().unwrap()];
    options.allow_private_networks = true;
    Tenant::new(options).unwrap()
}

fn account(port: u16) -> Connection {
    Connection::new("none", json!({ "server": format!("localhost:{port}") }).to_string())
}

/// A server that sends all bytes back. It counts open connections, and connections that were ended with `BYE`.
struct Echo {
    port: u16,
    open: Arc<AtomicUsize>,
    ever: Arc<AtomicUsize>,
    releases: Arc<AtomicUsize>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("localhost:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let [open, ever, releases] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
        let counts = (open.clone(), ever.clone(), releases.clone());
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let (open, ever, releases) = counts.clone();
                open.fetch_add(1, Ordering::SeqCst);
                ever.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut buffer = [0; 1024];
                    while let Ok(read @ 1..) = tcp.read(&mut buffer).await {
                        if buffer[..read].ends_with(b"BYE\n") {
                            releases.fetch_add(1, Ordering::SeqCst);
                        }
                        if tcp.write_all(&buffer[..read]).await.is_err() {
                            break;
                        }
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { port, open, ever, releases }
    }

    /// Waits until `count` connections have been opened and all of them are closed.
    async fn wait_for_ended(&self, count: usize) {
        let begun = Instant::now();
        while self.ever.load(Ordering::SeqCst) != count || self.open.load(Ordering::SeqCst) != 0 {
            assert!(begun.elapsed() < Duration::from_secs(10), "{} came", self.ever.load(Ordering::SeqCst));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn wait_for_open(&self, count: usize) {
        let begun = Instant::now();
        while self.open.load(Ordering::SeqCst) != count {
            assert!(begun.elapsed() < Duration::from_secs(10), "{} open", self.open.load(Ordering::SeqCst));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn call(warm: &Account, command: &str) -> Result<String, CallError> {
    match warm.invoke("run", &json!(command).to_string(), &Call::default()).await? {
        Outcome::Done(text) => Ok(serde_json::from_str(&text).unwrap()),
        other => panic!("{other:?}"),
    }
}

/// Makes a call in an instance of its own.
async fn fresh(connector: &Connector, tenant: &Tenant, account: &Connection, command: &str) -> Result<(), CallError> {
    let input = json!(command).to_string();
    connector.account(tenant, account).invoke("run", &input, &Call::default()).await.map(drop)
}

fn over(error: &CallError, limit: LimitName, allowed: u64) -> bool {
    assert_eq!(error.limit(), Some(limit), "{error}");
    matches!(error, CallError::Limit(exceeded) if exceeded.allowed == allowed && exceeded.wanted > allowed)
}

async fn said(warm: &Account, command: &str) -> String {
    call(warm, command).await.unwrap()
}

#[tokio::test]
async fn state_and_connections_live_on_between_calls() {
    let echo = Echo::start().await;
    let warm = connector(few()).await.open(&tenant(|_| ()), &account(echo.port)).await.unwrap();
    for expected in ["1", "2", "3"] {
        assert_eq!(said(&warm, "count").await, expected);
    }
    assert_eq!(said(&warm, &format!("keep localhost {}", echo.port)).await, "1");
    for text in ["hello", "again"] {
        assert_eq!(said(&warm, &format!("use-kept {text}")).await, text);
    }
    assert_eq!(echo.ever.load(Ordering::SeqCst), 1);
    assert!(warm.validate().await.unwrap().is_usable());
    assert_eq!(warm.label().await.unwrap(), "test");
    assert_eq!(warm.partitions("lines", r#"{"partitions":3}"#).await.unwrap().len(), 3);

    // An error that the connector returns does not end the instance.
    assert!(matches!(warm.resume("run", "token", &Call::default()).await, Err(CallError::Connector(_))));
    assert_eq!(said(&warm, "count").await, "4");

    warm.discard().await;
    echo.wait_for_open(0).await;
    assert_eq!(said(&warm, "count").await, "1");
}

/// A server for the guest's polls. It answers each after 150 ms that there is nothing new, and counts its connections
/// and the most polls that it had at the same time.
async fn slow_lines() -> (u16, Arc<[AtomicUsize; 3]>) {
    let listener = TcpListener::bind("localhost:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let counts: Arc<[AtomicUsize; 3]> = Arc::default();
    let counting = counts.clone();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            counting[0].fetch_add(1, Ordering::SeqCst);
            let counting = counting.clone();
            tokio::spawn(async move {
                let [_, running, most] = &*counting;
                let mut buffer = [0; 1024];
                while let Ok(1..) = tcp.read(&mut buffer).await {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(150)).await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    if tcp.write_all(b"0\n").await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (port, counts)
}

#[tokio::test]
async fn polls_run_one_at_a_time_in_one_instance() {
    let (port, counts) = slow_lines().await;
    let seen = || [0, 2].map(|index| counts[index].load(Ordering::SeqCst));
    let warm = connector(few()).await.open(&tenant(|_| ()), &account(port)).await.unwrap();
    let request = PollRequest {
        trigger: "lines".to_owned(),
        partition: "0".to_owned(),
        config: "{}".to_owned(),
        start: Start::Now,
        on_position_lost: LostPolicy::Stop,
        cursor: None,
        budget: Budget::default(),
    };
    let begun = Instant::now();
    let (first, second, third) = tokio::join!(warm.poll(&request), warm.poll(&request), warm.poll(&request));
    assert!(first.is_ok() && second.is_ok() && third.is_ok(), "{first:?} {second:?} {third:?}");
    assert!(begun.elapsed() >= Duration::from_millis(450));
    assert_eq!(seen(), [1, 1]);

    // A poll that gets no turn in time does nothing, and its error says so.
    let hasty = warm.with_deadline(Duration::from_millis(100));
    let (long, short) = tokio::join!(warm.poll(&request), hasty.poll(&request));
    assert!(long.is_ok(), "{long:?}");
    assert!(matches!(short, Err(CallError::Occupied { .. })), "{short:?}");

    // Other calls do not wait for a poll, and a sibling polls beside it.
    let sibling = warm.sibling();
    let (poll, beside, count) =
        tokio::join!(warm.poll(&request), sibling.poll(&request), async { (said(&warm, "count").await, seen()) });
    assert!(poll.is_ok() && beside.is_ok(), "{poll:?} {beside:?}");
    assert_eq!(count.0, "1");
    assert_eq!(seen(), [2, 2]);
}

#[tokio::test]
async fn other_calls_run_at_once_each_in_an_instance_for_itself() {
    let tenant = tenant(|limits| limits.warm_instances = 2);
    let warm = connector(few()).await.open(&tenant, &account(1)).await.unwrap();
    let begun = Instant::now();
    let calls = tokio::join!(call(&warm, "sleep 400"), call(&warm, "sleep 400"), call(&warm, "sleep 400"));
    assert!(calls.0.is_ok() && calls.1.is_ok() && calls.2.is_ok(), "{calls:?}");
    assert!(begun.elapsed() < Duration::from_millis(1_100), "{:?}", begun.elapsed());
    // Two of three instances were kept, and calls one after another find the same.
    for expected in ["1", "2", "3"] {
        assert_eq!(said(&warm, "count").await, expected);
    }
    let (first, second) = tokio::join!(call(&warm, "sleep 200"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        said(&warm, "count").await
    });
    assert_eq!((first.unwrap(), second), ("slept".to_owned(), "1".to_owned()));
    // Discarding waits for the calls that run, and leaves none of their instances.
    let (running, ()) = tokio::join!(call(&warm, "sleep 200"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        warm.discard().await;
    });
    assert_eq!(running.unwrap(), "slept");
    assert_eq!(warm.memory_bytes().await, None);
    assert_eq!(said(&warm, "count").await, "1");
}

#[tokio::test]
async fn faults_end_an_instance_and_the_next_call_is_given_a_new_one() {
    let echo = Echo::start().await;
    let tenant = tenant(|limits| {
        limits.cpu = Duration::from_millis(300);
        limits.memory_bytes = 8 << 20;
        limits.output_bytes = 100_000;
        limits.hostcall_bytes = 200_000;
    });
    let warm = connector(few()).await.open(&tenant, &account(echo.port)).await.unwrap();
    type IsExpected = fn(&CallError) -> bool;
    let faults: [(&str, IsExpected); 6] = [
        ("trap", |error| matches!(error, CallError::Trap { .. })),
        ("spin", |error| matches!(error, CallError::CpuBudget { .. })),
        ("grow 100000000", |error| matches!(error, CallError::MemoryLimit { .. })),
        ("say 150000", |error| over(error, LimitName::OutputBytes, 100_000)),
        ("say 250000", |error| over(error, LimitName::HostcallBytes, 200_000)),
        ("sleep 60000", |error| matches!(error, CallError::Deadline { .. })),
    ];
    for (command, is_expected) in faults {
        assert_eq!(said(&warm, "count").await, "1", "{command}");
        assert_eq!(said(&warm, &format!("keep localhost {}", echo.port)).await, "1");
        let hasty =
            if command.starts_with("sleep") { warm.with_deadline(Duration::from_millis(300)) } else { warm.clone() };
        let error = call(&hasty, command).await.unwrap_err();
        assert!(is_expected(&error), "{command}: {error}");
        echo.wait_for_open(0).await;
    }

    // A dropped call ends the instance.
    assert_eq!(said(&warm, "count").await, "1");
    assert_eq!(said(&warm, &format!("keep localhost {}", echo.port)).await, "1");
    let dropped = tokio::time::timeout(Duration::from_millis(100), call(&warm, "sleep 60000")).await;
    assert!(dropped.is_err());
    echo.wait_for_open(0).await;
    assert_eq!(said(&warm, "count").await, "1");

    // Closing the tenant ends the instance.
    said(&warm, &format!("keep localhost {}", echo.port)).await;
    tenant.close();
    echo.wait_for_open(0).await;
    assert!(matches!(call(&warm, "count").await, Err(CallError::Cancelled)));
}

#[tokio::test]
async fn a_token_cancels_its_calls_and_no_others() {
    let echo = Echo::start().await;
    let connector = connector(few()).await;
    let (tenant, account) = (tenant(|_| ()), account(echo.port));
    let token = CancellationToken::new();
    let cancellable = tenant.with_cancellation(token.clone());
    let warm = connector.open(&tenant, &account).await.unwrap();
    assert_eq!(said(&warm, &format!("keep localhost {}", echo.port)).await, "1");
    let (own, kept, other, ()) = tokio::join!(
        fresh(&connector, &cancellable, &account, "sleep 60000"),
        async { call(&warm.with_cancellation(token.clone()), "sleep 60000").await },
        fresh(&connector, &tenant, &account, "sleep 1000"),
        async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            token.cancel();
        }
    );
    assert!(matches!(own, Err(CallError::Cancelled)), "{own:?}");
    assert!(matches!(kept, Err(CallError::Cancelled)), "{kept:?}");
    assert!(other.is_ok(), "{other:?}");
    // The instance has ended with its call, and the instance's connection with it.
    echo.wait_for_open(0).await;
    assert_eq!(said(&warm, "count").await, "1");
    let late = connector.account(&cancellable, &account).label().await;
    assert!(matches!(late, Err(CallError::Cancelled)), "{late:?}");
}

#[tokio::test]
async fn draining_lets_calls_finish_then_cancels_and_closes_warm_instances() {
    let echo = Echo::start().await;
    let mut options = few();
    options.cache_directory = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
    let host = Host::new(options).unwrap();
    let connector = host.load_file(guests::stream_guest()).await.unwrap();
    let [first, second] = [tenant(|_| ()), tenant(|_| ())];
    let account = account(echo.port);
    let warm = connector.open(&first, &account).await.unwrap();
    said(&warm, &format!("keep localhost {}", echo.port)).await;
    let busy = connector.open(&second, &account).await.unwrap();

    // Draining one tenant does not affect the other tenant.
    let (quick, slow, report) = tokio::join!(
        fresh(&connector, &first, &account, "sleep 600"),
        fresh(&connector, &first, &account, "sleep 60000"),
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            first.drain(Duration::from_secs(3)).await
        }
    );
    assert!(quick.is_ok(), "{quick:?}");
    assert!(matches!(slow, Err(CallError::Cancelled)), "{slow:?}");
    assert_eq!((report.finished, report.cancelled, report.warm_instances), (1, 1, 1));
    echo.wait_for_open(0).await;
    let refused = call(&warm, "count").await;
    assert!(matches!(refused, Err(CallError::Draining { scope: Scope::Tenant })), "{refused:?}");
    assert_eq!(said(&busy, "count").await, "1");

    // Draining the host ends all instances.
    let report = host.drain(Duration::from_secs(20)).await;
    assert_eq!((report.finished, report.cancelled, report.warm_instances), (0, 0, 1));
    let refused = call(&busy, "count").await;
    assert!(matches!(refused, Err(CallError::Draining { scope: Scope::Host })), "{refused:?}");
}

/// More calls than may run at once, for one tenant and for all tenants together.
#[tokio::test]
async fn a_call_that_never_has_its_turn_says_whose_calls_were_in_its_way() {
    let mut options = few();
    options.concurrent_calls = 2;
    let connector = connector(options).await;
    let account = account(1);
    let small = tenant(|limits| limits.concurrent_calls = 1);
    let hasty = small.with_deadline(Duration::from_millis(400));
    let (held, refused) = tokio::join!(fresh(&connector, &small, &account, "sleep 1500"), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        fresh(&connector, &hasty, &account, "count").await
    });
    assert!(held.is_ok(), "{held:?}");
    assert!(matches!(refused, Err(CallError::Busy { scope: Scope::Tenant, limit: 1 })), "{refused:?}");

    let large = tenant(|_| ());
    let (first, second, refused) = tokio::join!(
        fresh(&connector, &large, &account, "sleep 1500"),
        fresh(&connector, &large, &account, "sleep 1500"),
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            fresh(&connector, &hasty, &account, "count").await
        }
    );
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    assert!(matches!(refused, Err(CallError::Busy { scope: Scope::Host, limit: 2 })), "{refused:?}");
}

/// The waiting calls of one tenant must not make another tenant wait behind them.
#[tokio::test]
async fn turns_are_fair_between_tenants() {
    let mut options = few();
    options.concurrent_calls = 1;
    let connector = connector(options).await;
    let account = account(1);
    let [flood, quiet] = [tenant(|_| ()), tenant(|_| ())];
    let finished = AtomicUsize::new(0);
    let flooding = async {
        let call = || async {
            fresh(&connector, &flood, &account, "sleep 100").await.unwrap();
            finished.fetch_add(1, Ordering::SeqCst);
        };
        tokio::join!(call(), call(), call(), call(), call(), call(), call(), call(), call(), call());
    };
    let quietly = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // This call takes two turns, because the check of the connection is a run of its own.
        fresh(&connector, &quiet, &account, "count").await.unwrap();
        finished.load(Ordering::SeqCst)
    };
    let ((), before) = tokio::join!(flooding, quietly);
    assert!(before <= 4, "{before} of the flood's calls came first");
}

#[tokio::test]
async fn limits_are_counted_anew_for_each_call() {
    let tenant = tenant(|limits| limits.cpu = Duration::from_millis(400));
    let warm = connector(few()).await.open(&tenant, &account(1)).await.unwrap();
    // The calls together compute much longer than the budget of one call.
    for _ in 0..4 {
        assert_eq!(said(&warm, "burn 200").await, "burnt");
        // Epochs that pass between calls do not count.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(said(&warm, "count").await, "1");
    assert!(matches!(call(&warm, "burn 2000").await, Err(CallError::CpuBudget { .. })));
}

/// A peer that sends continuously must not make an idle instance work or fill memory.
#[tokio::test]
async fn an_idle_instance_with_a_busy_connection_does_nothing() {
    let listener = TcpListener::bind("localhost:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        while let Ok(written) = tcp.write(&[0; 65_536]).await {
            count.fetch_add(written, Ordering::SeqCst);
        }
    });
    let warm = connector(few()).await.open(&tenant(|_| ()), &account(port)).await.unwrap();
    assert_eq!(said(&warm, &format!("keep localhost {port}")).await, "1");
    let metrics = tokio::runtime::Handle::current().metrics();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (before, tasks) = (sent.load(Ordering::SeqCst), metrics.num_alive_tasks());
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The kernel's buffers are full, and nothing is read from them.
    assert_eq!(sent.load(Ordering::SeqCst), before);
    // Only the server above and the timer that ends idle instances may run.
    assert!(tasks <= 2, "{tasks} tasks");
}

#[tokio::test]
async fn idle_instances_are_discarded() {
    let echo = Echo::start().await;
    let tenant = tenant(|limits| limits.warm_idle = Duration::from_millis(200));
    let warm = connector(few()).await.open(&tenant, &account(echo.port)).await.unwrap();
    said(&warm, &format!("keep localhost {}", echo.port)).await;
    for expected in ["1", "2", "3"] {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(said(&warm, "count").await, expected);
    }
    echo.wait_for_open(0).await;
    assert_eq!(said(&warm, "count").await, "1");
    said(&warm, &format!("keep localhost {}", echo.port)).await;
    echo.wait_for_open(1).await;
    drop(warm);
    echo.wait_for_open(0).await;
}

#[tokio::test]
async fn an_instance_is_released_at_its_end() {
    let echo = Echo::start().await;
    let connector = connector(few()).await;
    let keep = format!("keep localhost {}", echo.port);
    let patient = tenant(|_| ());
    let warm = connector.open(&patient, &account(echo.port)).await.unwrap();
    let (mut connections, mut releases) = (0, 0);
    let mut expect = async |more: usize| {
        connections += 1;
        releases += more;
        echo.wait_for_ended(connections).await;
        assert_eq!(echo.releases.load(Ordering::SeqCst), releases);
    };

    // `release` is called when the engine discards an instance, before the next one is made.
    said(&warm, &keep).await;
    warm.discard().await;
    expect(1).await;
    // After a trap the instance cannot be called, so `release` is not.
    said(&warm, &keep).await;
    call(&warm, "trap").await.unwrap_err();
    expect(0).await;
    // `release` is called when an instance has been idle for too long, and when its tenant is closed.
    let hasty = tenant(|limits| limits.warm_idle = Duration::from_millis(100));
    let idle = connector.open(&hasty, &account(echo.port)).await.unwrap();
    said(&idle, &keep).await;
    expect(1).await;
    said(&warm, &keep).await;
    patient.close();
    expect(1).await;
    // `release` is also called for an instance that serves only one call.
    let tenant = tenant(|limits| limits.warm_instances = 0);
    let single = connector.open(&tenant, &account(echo.port)).await.unwrap();
    said(&single, &keep).await;
    expect(1).await;
}

#[tokio::test]
async fn a_release_is_bounded_and_may_fail() {
    let connector = connector(few()).await;
    let tenant = tenant(|limits| limits.release_timeout = Duration::from_millis(200));
    for wickedness in ["sleep 3600000", "spin", "trap", "grow 1000000000"] {
        let warm = connector.open(&tenant, &account(1)).await.unwrap();
        assert_eq!(said(&warm, &format!("on-release {wickedness}")).await, "noted");
        tokio::time::timeout(Duration::from_secs(20), warm.discard()).await.expect(wickedness);
        assert_eq!(said(&warm, "count").await, "1", "{wickedness}");
    }
}

#[tokio::test]
async fn warm_instances_are_bounded_and_calls_beyond_them_still_run() {
    let connector = connector(few()).await;
    let tenant = tenant(|limits| limits.warm_instances = 1);
    let first = connector.open(&tenant, &account(1)).await.unwrap();
    let second = connector.open(&tenant, &account(1)).await.unwrap();
    assert_eq!(said(&first, "count").await, "1");
    assert_eq!(said(&second, "count").await, "1");
    assert_eq!(said(&first, "count").await, "2");
    // There is no slot for an instance of the second account.
    assert_eq!(said(&second, "count").await, "1");
    first.discard().await;
    assert_eq!(said(&second, "count").await, "1");
    assert_eq!(said(&second, "count").await, "2");
}

#[tokio::test]
async fn more_instances_are_kept_than_calls_run_at_once() {
    let mut options = HostOptions::default();
    (options.concurrent_calls, options.warm_instances) = (1, 6);
    let connector = connector(options).await;
    let tenant = tenant(|_| ());
    let mut kept = Vec::new();
    for _ in 0..6 {
        let warm = connector.open(&tenant, &account(1)).await.unwrap();
        assert_eq!(said(&warm, "count").await, "1");
        kept.push(warm);
    }
    for warm in &kept {
        assert_eq!(said(warm, "count").await, "2");
    }
}
