//! The component's exchanges in an operator's metrics: they are counted by status, use pooled connections, and show no
//! key.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use azure_iot_emulator::{Emulator, EmulatorOptions};
use connector_host::interface::action::Call;
use connector_host::{Host, HostOptions};
use connector_tests::{component, link, tenant, values, workspace};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tracing_subscriber::fmt::MakeWriter;

/// The sums of a metric, by the values of one label.
fn sums(exporter: &InMemoryMetricExporter, metric: &str, label: &str) -> Result<BTreeMap<String, i64>> {
    let mut sums = BTreeMap::new();
    let exported = exporter.get_finished_metrics()?;
    let last = exported.last().context("nothing was exported")?;
    for found in last.scope_metrics().flat_map(|scope| scope.metrics()).filter(|it| it.name() == metric) {
        let mut add = |labels: Vec<&KeyValue>, value: i64| {
            let label = labels.into_iter().find(|it| it.key.as_str() == label).map(|it| it.value.to_string());
            *sums.entry(label.unwrap_or_default()).or_default() += value;
        };
        match found.data() {
            AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                sum.data_points().for_each(|point| add(point.attributes().collect(), point.value() as i64));
            }
            AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                sum.data_points().for_each(|point| add(point.attributes().collect(), point.value()));
            }
            other => anyhow::bail!("{metric} is {other:?}"),
        }
    }
    Ok(sums)
}

/// Keeps all log lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The log has the finest level, for all crates.
#[test]
fn exchanges_are_counted_and_no_key_is_seen() -> Result<()> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    tracing_subscriber::util::SubscriberInitExt::try_init(subscriber)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let secrets = runtime.block_on(sequence())?;
    let log = log.0.lock().unwrap_or_else(PoisonError::into_inner);
    let log = String::from_utf8_lossy(&log);
    assert!(log.contains("connector.call"), "nothing was logged");
    for secret in secrets {
        let at = log.find(&secret).map(|at| log.get(at.saturating_sub(300)..at));
        assert_eq!(at, None, "the log holds a key");
    }
    Ok(())
}

/// Makes calls with known exchanges. Returns the secrets that must not be in the log.
async fn sequence() -> Result<Vec<String>> {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build();
    let emulator = Emulator::start(EmulatorOptions::default()).await?;
    let mut options = HostOptions::default();
    options.cache_directory = Some(workspace().join("target/compiled"));
    options.meter = Some(provider.meter("tests"));
    let connector = Host::new(options)?.load_file(component()?).await?;
    let tenant = tenant(&emulator)?;
    let entered = values(&emulator, "connector", "connector")?;
    let secrets = ["sharedAccessKey", "dpsSharedAccessKey"];
    let secrets = secrets.map(|field| entered[field].as_str().unwrap_or_default().to_owned()).to_vec();
    anyhow::ensure!(secrets.iter().all(|secret| secret.len() > 16));
    let connection = link(entered);
    let call = Call::default();
    let present = r#"{"deviceId":"present"}"#;
    connector.account(&tenant, &connection).invoke("create-device", present, &call).await?;
    for _ in 0..3 {
        connector.account(&tenant, &connection).invoke("get-device", present, &call).await?;
    }
    let absent = connector.account(&tenant, &connection).invoke("get-device", r#"{"deviceId":"absent"}"#, &call).await;
    anyhow::ensure!(absent.is_err());
    // The connector retries by itself; the engine states its own retry.
    emulator.faults().add_text("hub:GET /devices/present=503x1")?;
    connector
        .account(&tenant, &connection)
        .invoke("get-device", present, &Call { attempt: 2, ..Call::default() })
        .await?;

    provider.force_flush()?;
    let exchanges = sums(&exporter, "connector.http.exchanges", "http.response.status_code")?;
    assert_eq!(exchanges, BTreeMap::from([("200".to_owned(), 5), ("404".to_owned(), 1), ("503".to_owned(), 1)]));
    let retries = sums(&exporter, "connector.retries", "connector.retry.by")?;
    assert_eq!(retries, BTreeMap::from([("connector".to_owned(), 1), ("engine".to_owned(), 1)]));
    let calls = sums(&exporter, "connector.calls", "connector.outcome")?;
    assert_eq!(calls, BTreeMap::from([("ok".to_owned(), 5), ("connector".to_owned(), 1)]));
    let errors = sums(&exporter, "connector.calls", "error.type")?;
    assert_eq!(errors.get("not-found"), Some(&1), "{errors:?}");
    // All exchanges used one connection.
    let connections = sums(&exporter, "connector.http.connections", "network.protocol.version")?;
    assert_eq!(connections.values().sum::<i64>(), 1, "{connections:?}");
    let bytes = sums(&exporter, "connector.http.io", "network.io.direction")?;
    assert!(bytes["transmit"] > 0 && bytes["receive"] > bytes["transmit"], "{bytes:?}");
    emulator.shutdown().await;
    Ok(secrets)
}
