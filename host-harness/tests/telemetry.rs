//! What an operator sees: the exact numbers for a known sequence of calls, and no secrets.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use connector_host::interface::action::Call;
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_host::{CallError, Connection, Connector, Host, HostOptions, Limits, Tenant, TenantOptions};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

mod guests;

const TENANT: &str = "contoso";
const KEY: &str = "hunter2-hunter2-hunter2";

/// Collects measurements as an exporter would.
struct Measured {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

impl Measured {
    fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let provider =
            SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build();
        Self { provider, exporter }
    }

    /// The values by name and labels, as `name{label=value,...}`. For histograms, the number of measurements.
    fn values(&self) -> BTreeMap<String, f64> {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let mut values = BTreeMap::new();
        for resource in self.exporter.get_finished_metrics().unwrap() {
            for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
                let mut add =
                    |labels: String, value: f64| values.insert(format!("{}{{{labels}}}", metric.name()), value);
                macro_rules! points {
                    ($data:expr) => {
                        match $data {
                            MetricData::Sum(sum) => sum.data_points().for_each(|point| {
                                add(labels(point.attributes()), point.value() as f64);
                            }),
                            MetricData::Histogram(histogram) => histogram.data_points().for_each(|point| {
                                add(labels(point.attributes()), point.count() as f64);
                            }),
                            other => panic!("{other:?}"),
                        }
                    };
                }
                match metric.data() {
                    AggregatedMetrics::U64(data) => points!(data),
                    AggregatedMetrics::I64(data) => points!(data),
                    AggregatedMetrics::F64(data) => points!(data),
                }
            }
        }
        values
    }
}

/// The labels without tenant and connector, after checking that both are correct.
fn labels<'a>(attributes: impl Iterator<Item = &'a opentelemetry::KeyValue>) -> String {
    let mut labels: BTreeMap<_, _> = attributes.map(|it| (it.key.to_string(), it.value.to_string())).collect();
    assert_eq!(labels.remove("connector.tenant").as_deref(), Some(TENANT));
    if let Some(connector) = labels.remove("connector.id") {
        assert_eq!(connector, "stream-test");
    }
    let short = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    labels.into_iter().map(|(name, value)| format!("{}={value}", short(&name))).collect::<Vec<_>>().join(",")
}

async fn connector(measured: &Measured) -> Connector {
    let mut options = HostOptions::default();
    (options.concurrent_calls, options.warm_instances) = (4, 4);
    options.cache_directory = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
    options.meter = Some(measured.provider.meter("test"));
    Host::new(options).unwrap().load_file(guests::stream_guest()).await.unwrap()
}

fn tenant() -> Tenant {
    let mut limits = Limits::default();
    limits.cpu = Duration::from_millis(500);
    limits.log_lines = 3;
    let mut options = TenantOptions::default();
    options.name = TENANT.to_owned();
    options.limits = limits;
    options.allow_hosts = vec!["localhost".parse().unwrap()];
    options.allow_private_networks = true;
    Tenant::new(options).unwrap()
}

fn account(port: u16) -> Connection {
    Connection::new("none", json!({ "server": format!("localhost:{port}"), "key": KEY }).to_string())
}

/// Starts a server that sends all bytes back, and that responds to a request for lines with two lines.
async fn server() -> u16 {
    let listener = TcpListener::bind("localhost:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(read @ 1..) = tcp.read(&mut buffer).await {
                    let answer =
                        if buffer.starts_with(b"READ") { &b"2\n0 first\n1 second\n"[..] } else { &buffer[..read] };
                    if tcp.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_known_sequence_of_calls_has_known_numbers() {
    everything();
    let measured = Measured::new();
    let connector = connector(&measured).await;
    let (tenant, port) = (tenant(), server().await);
    let account = account(port);
    let run = async |command: String| {
        connector.account(&tenant, &account).invoke("run", &json!(command).to_string(), &Call::default()).await
    };
    for _ in 0..3 {
        run("count".to_owned()).await.unwrap();
    }
    run(format!("echo localhost {port} 0123456789")).await.unwrap();
    run("trap".to_owned()).await.unwrap_err();
    assert!(matches!(run("spin".to_owned()).await, Err(CallError::CpuBudget { .. })));
    run("log 5".to_owned()).await.unwrap();
    run("connect 127.0.0.1 1".to_owned()).await.unwrap();
    connector.account(&tenant, &account).resume("no-such-action", "t", &Call::default()).await.unwrap_err();
    let request = PollRequest {
        trigger: "lines".to_owned(),
        partition: "0".to_owned(),
        config: "{}".to_owned(),
        start: Start::Earliest,
        on_position_lost: LostPolicy::Stop,
        cursor: None,
        budget: Budget::default(),
    };
    assert_eq!(connector.account(&tenant, &account).poll(&request).await.unwrap().events.len(), 2);
    let dropped = tokio::time::timeout(Duration::from_millis(300), run("sleep 60000".to_owned())).await;
    assert!(dropped.is_err());

    let values = measured.values();
    let invoke = "function=action.invoke,operation=run";
    for (name, expected) in [
        (format!("connector.calls{{{invoke},outcome=ok}}"), 6.0),
        (format!("connector.calls{{{invoke},outcome=trap}}"), 1.0),
        (format!("connector.calls{{{invoke},outcome=cpu-budget}}"), 1.0),
        (format!("connector.calls{{{invoke},outcome=dropped}}"), 1.0),
        // An operation that the descriptor does not have must not become a label.
        ("connector.calls{function=action.resume,outcome=connector,type=unsupported}".to_owned(), 1.0),
        ("connector.calls{function=trigger.poll,operation=lines,outcome=ok}".to_owned(), 1.0),
        (format!("connector.call.duration{{{invoke},outcome=ok}}"), 6.0),
        (format!("connector.call.cpu.time{{{invoke}}}"), 9.0),
        ("connector.events{function=trigger.poll,operation=lines}".to_owned(), 2.0),
        (format!("connector.socket.io{{{invoke},direction=transmit}}"), 10.0),
        (format!("connector.socket.io{{{invoke},direction=receive}}"), 10.0),
        ("connector.socket.io{function=trigger.poll,direction=receive,operation=lines}".to_owned(), 19.0),
        (format!("connector.egress.refusals{{layer=request,{invoke}}}"), 1.0),
        (format!("connector.limits.exceeded{{{invoke},limit=cpu}}"), 1.0),
        (format!("connector.limits.exceeded{{{invoke},limit=log_lines}}"), 1.0),
        ("connector.instances{}".to_owned(), 0.0),
    ] {
        let found = values.iter().find(|(key, _)| same(key, &name)).map(|(_, value)| *value);
        assert_eq!(found, Some(expected), "{name} in {values:#?}");
    }
    assert_eq!(values.keys().filter(|key| key.starts_with("connector.calls{")).count(), 6, "{values:#?}");

    // A warm instance is counted until it is discarded.
    let warm = connector.open(&tenant, &account).await.unwrap();
    warm.invoke("run", r#""count""#, &Call::default()).await.unwrap();
    assert_eq!(measured.values()["connector.instances{}"], 1.0);
    warm.discard().await;
    assert_eq!(measured.values()["connector.instances{}"], 0.0);
}

/// Whether both keys have the same name and the same labels in any order.
fn same(key: &str, name: &str) -> bool {
    let parts = |text: &str| {
        let (name, labels) = text.split_once('{')?;
        let mut labels: Vec<_> = labels.trim_end_matches('}').split(',').map(str::to_owned).collect();
        labels.sort();
        Some((name.to_owned(), labels))
    };
    parts(key) == parts(name)
}

/// Collects the text of every span and event, at the finest level.
#[derive(Clone, Default)]
struct Everything(Arc<Mutex<Vec<String>>>);

impl Visit for &Everything {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.lock().unwrap().push(format!("{}={value:?}", field.name()));
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Everything {
    fn on_new_span(&self, span: &tracing::span::Attributes<'_>, _: &tracing::span::Id, _: Context<'_, S>) {
        self.0.lock().unwrap().push(format!("span {}", span.metadata().name()));
        span.record(&mut &*self);
    }

    fn on_record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>, _: Context<'_, S>) {
        values.record(&mut &*self);
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        event.record(&mut &*self);
    }
}

/// The collected log of all tests in this process. There is only one subscriber, because a log statement that is first
/// reached without a subscriber can stay disabled.
fn everything() -> Everything {
    static SEEN: OnceLock<Everything> = OnceLock::new();
    let seen = SEEN.get_or_init(|| {
        let seen = Everything::default();
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(seen.clone())).unwrap();
        seen
    });
    seen.clone()
}

#[tokio::test]
async fn a_key_is_in_no_span_no_event_and_no_label() {
    let seen = everything();
    let measured = Measured::new();
    let connector = connector(&measured).await;
    let (tenant, account) = (tenant(), account(server().await));
    let warm = connector.open(&tenant, &account).await.unwrap();
    for command in ["count", "log 2", "connect 127.0.0.1 1", "trap"] {
        let input = json!(command).to_string();
        let _ = connector.account(&tenant, &account).invoke("run", &input, &Call::default()).await;
        let _ = warm.invoke("run", &input, &Call::default()).await;
    }
    connector.account(&tenant, &account).test().await.unwrap();
    let seen = seen.0.lock().unwrap();
    for expected in ["span connector.call", "tenant=\"contoso\"", "connector=\"stream-test\"", "outcome=\"trap\""] {
        assert!(seen.iter().any(|text| text == expected), "{expected} in {seen:#?}");
    }
    assert!(seen.iter().any(|text| text.starts_with("duration_ms=")));
    assert!(seen.iter().any(|text| text == "operation=\"run\""), "{seen:#?}");
    let leaks: Vec<_> = seen.iter().filter(|text| text.contains(KEY)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    let labels = measured.values();
    assert!(!labels.is_empty() && labels.keys().all(|labels| !labels.contains(KEY)), "{labels:#?}");
}
