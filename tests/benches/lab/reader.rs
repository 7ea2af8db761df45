//! Readers of telemetry. Each round of a reader is a process of its own, which measures itself. So the component of an
//! older version can be read with the program of its own time.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use azure_iot_connector::amqp_transport::AmqpTransport;
use azure_iot_connector::auth::SharedAccessKey;
use azure_iot_connector::eventhub::{Access, Endpoint, EventHub, ReadBudget, ReceiverOptions, Roots, StartPosition};
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_host::{Host, HostOptions};
use connector_tests::{TELEMETRY, link, over_web_sockets, workspace};
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp_types::definitions::SenderSettleMode;
use fe2o3_amqp_types::messaging::{Body, Source};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use serde::{Deserialize, Serialize};
use serde_amqp::Value as AmqpValue;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use serde_json::json;
use tokio::process::Command;

use super::clock::{Clocks, Cost};
use super::native;
use super::service::Addresses;
use system::System;

#[path = "../../native/system.rs"]
mod system;

/// The environment variable with a [`Reading`]. A process that has it reads.
const ASKED: &str = "CONNECTOR_BENCH_READER";

/// The number of events that a client requests ahead, if it has such a setting. It is the default of Microsoft's
/// client.
pub const PREFETCH: u32 = 300;

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reader {
    /// The component in its host: a warm instance, polled as by an engine.
    Component,
    /// The same, over WebSockets.
    WebSockets,
    /// The same, with a filter that holds all events back. Their bodies are received, and nothing else is done.
    HoldingBack,
    /// The component's AMQP client and TLS as a native program, without the trigger and the sandbox.
    Own,
    /// A native client without shared code. Microsoft's client for Rust is built on it.
    Fe2o3,
}

/// What a process reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reading {
    /// Who reads.
    pub reader: Reader,
    /// Where the emulator is.
    pub addresses: Addresses,
    /// The component's file.
    pub component: PathBuf,
    /// The partition.
    pub partition: u16,
    /// The number of events that are read before the clocks start: the connection, the caches and the first credit
    /// need them.
    pub warm_up: usize,
    /// The number of events that are measured. The partition has no more than these and the ones before.
    pub events: usize,
}

impl Reading {
    /// Lets a command that starts this program read.
    ///
    /// # Errors
    /// None.
    pub fn ask<'a>(&self, command: &'a mut std::process::Command) -> Result<&'a mut std::process::Command> {
        Ok(command.env(ASKED, serde_json::to_string(self)?))
    }

    /// Reads in a process of its own.
    ///
    /// # Errors
    /// Where the process fails.
    pub async fn measure(&self) -> Result<Cost> {
        self.measure_with(&std::env::current_exe()?).await
    }

    /// Reads in a process of this program, which may be of an older version.
    ///
    /// # Errors
    /// Where the process fails.
    pub async fn measure_with(&self, program: &Path) -> Result<Cost> {
        let output = Command::new(program).env(ASKED, serde_json::to_string(self)?).output().await?;
        ensure!(output.status.success(), "{:?}: {}", self.reader, String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("what it measured")
    }
}

/// Reads, if [`Reading::measure_with`] started this process. Otherwise it does nothing.
///
/// # Errors
/// Where the reading fails.
pub fn read_if_asked() -> Result<bool> {
    let Ok(reading) = std::env::var(ASKED) else { return Ok(false) };
    let reading: Reading = serde_json::from_str(&reading)?;
    let cost = tokio::runtime::Builder::new_multi_thread().event_interval(4).enable_all().build()?.block_on(async {
        match reading.reader {
            Reader::Component => component(&reading, reading.addresses.values.clone()).await,
            Reader::WebSockets => component(&reading, over_web_sockets(reading.addresses.values.clone())).await,
            Reader::HoldingBack => holding_back(&reading).await,
            Reader::Own => own(&reading),
            Reader::Fe2o3 => fe2o3(&reading).await,
        }
    })?;
    println!("{}", serde_json::to_string(&cost)?);
    Ok(true)
}

/// Counts the bytes of the host's sockets.
struct Wire {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

impl Wire {
    fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        // The reader is asked at the end; the interval only keeps it quiet until then.
        let reader = PeriodicReader::builder(exporter.clone()).with_interval(Duration::from_secs(3_600)).build();
        Self { provider: SdkMeterProvider::builder().with_reader(reader).build(), exporter }
    }

    /// The bytes received so far.
    fn received(&self) -> Result<u64> {
        self.provider.force_flush()?;
        let exported = self.exporter.get_finished_metrics()?;
        let metrics = exported.last().context("no metrics")?.scope_metrics().flat_map(|scope| scope.metrics());
        let received = |point: &opentelemetry_sdk::metrics::data::SumDataPoint<u64>| {
            let mut labels = point.attributes();
            let is_received =
                labels.any(|label| label.key.as_str() == "network.io.direction" && label.value.as_str() == "receive");
            if is_received { point.value() } else { 0 }
        };
        let sums = metrics.filter(|metric| metric.name() == "connector.socket.io").map(|metric| match metric.data() {
            AggregatedMetrics::U64(MetricData::Sum(sum)) => sum.data_points().map(received).sum(),
            _ => 0,
        });
        Ok(sums.sum())
    }
}

async fn load(reading: &Reading, wire: &Wire) -> Result<connector_host::Connector> {
    let mut options = HostOptions::default();
    options.cache_directory = Some(workspace().join("target/compiled"));
    options.meter = Some(wire.provider.meter("bench"));
    Ok(Host::new(options)?.load_file(&reading.component).await?)
}

/// A poll with the budget of an engine that reads a busy hub.
fn request(reading: &Reading, config: serde_json::Value) -> PollRequest {
    PollRequest {
        trigger: TELEMETRY.to_owned(),
        partition: reading.partition.to_string(),
        config: config.to_string(),
        start: Start::Earliest,
        on_position_lost: LostPolicy::Stop,
        cursor: None,
        budget: Budget { events: 500, bytes: 1 << 20, wait_ms: 1_000 },
    }
}

async fn component(reading: &Reading, values: serde_json::Value) -> Result<Cost> {
    let wire = Wire::new();
    let connector = load(reading, &wire).await?;
    let instance = connector.open(&reading.addresses.tenant()?, &link(values)).await?;
    let mut request = request(reading, json!({}));
    let mut clocks = (reading.warm_up == 0).then(|| (0, Clocks::start()));
    let mut events = 0;
    while events < reading.warm_up + reading.events {
        let page = instance.poll(&request).await?;
        ensure!(!page.events.is_empty() || page.more, "only {events} events came");
        events += page.events.len();
        request.cursor = Some(page.next);
        if events >= reading.warm_up && clocks.is_none() {
            clocks = Some((events, Clocks::start()));
        }
    }
    let (before, clocks) = clocks.context("events")?;
    let cost = clocks.stop(events - before);
    // All events of the partition were received, but only those after the first ones were measured.
    let wire = wire.received()? as f64 * (events - before) as f64 / events as f64;
    let memory = instance.memory_bytes().await.context("an instance that is kept")?;
    Ok(Cost { memory, wire: wire as u64, ..cost })
}

async fn holding_back(reading: &Reading) -> Result<Cost> {
    let wire = Wire::new();
    let connector = load(reading, &wire).await?;
    let instance = connector.open(&reading.addresses.tenant()?, &reading.addresses.connection()).await?;
    let mut request = request(reading, json!({ "deviceIds": ["nobody"] }));
    request.budget.wait_ms = 0;
    // This poll opens the connection before the clocks start.
    request.start = Start::AtPosition((reading.events - 2).to_string());
    instance.poll(&request).await?;
    request.start = Start::Earliest;
    let clocks = Clocks::start();
    loop {
        let page = instance.poll(&request).await?;
        ensure!(page.events.is_empty(), "they are filtered out");
        request.cursor = Some(page.next);
        if page.lag == Some(0) {
            break;
        }
    }
    let cost = clocks.stop(reading.events);
    Ok(Cost { wire: wire.received()?, ..cost })
}

fn own(reading: &Reading) -> Result<Cost> {
    let addresses = &reading.addresses;
    let (host, port) = addresses.event_hub_host.rsplit_once(':').context("a port")?;
    let endpoint = Endpoint {
        host: host.to_owned(),
        port: port.parse()?,
        transport: AmqpTransport::Tcp,
        hub: addresses.event_hub.clone(),
    };
    let key = SharedAccessKey {
        policy: addresses.policy.clone(),
        key: azure_iot_connector::secret::Secret::new(addresses.key.as_str()),
    };
    let platform = System(Instant::now());
    let deadline = Duration::from_secs(120);
    let roots = Roots::Pem(&addresses.authority);
    let mut hub = EventHub::connect(&platform, &endpoint, &Access::Claim(key), roots, deadline)?;
    let options = ReceiverOptions::new("$Default", reading.partition.to_string(), StartPosition::Earliest);
    let mut receiver = hub.receiver(&options)?;
    let mut read = |count: usize| -> Result<usize> {
        let mut events = 0;
        while events < count {
            let budget = ReadBudget { events: 500.min(count - events), bytes: 1 << 20, wait: Duration::from_secs(10) };
            let page = hub.receive(&mut receiver, budget)?;
            ensure!(!page.is_empty(), "only {events} events came");
            events += page.len();
        }
        Ok(events)
    };
    read(reading.warm_up)?;
    let clocks = Clocks::start();
    let cost = clocks.stop(read(reading.events)?);
    hub.close();
    Ok(cost)
}

/// Reads with `fe2o3-amqp`, with the same TLS library, prefetch and settlement.
async fn fe2o3(reading: &Reading) -> Result<Cost> {
    let addresses = &reading.addresses;
    let stream = native::connect(&addresses.authority, &addresses.event_hub_host).await?;
    let (username, password) = (addresses.policy.clone(), addresses.key.clone());
    let mut connection = fe2o3_amqp::Connection::builder()
        .container_id("bench")
        .hostname("localhost")
        .scheme("amqp")
        .max_frame_size(65_536_u32)
        .sasl_profile(SaslProfile::Plain { username, password })
        .open_with_stream(stream)
        .await?;
    let mut session = fe2o3_amqp::Session::begin(&mut connection).await?;
    let filter = Described {
        descriptor: Descriptor::Code(0x0000_468c_0000_0004),
        value: AmqpValue::String("amqp.annotation.x-opt-offset > '-1'".to_owned()),
    };
    let source = Source::builder()
        .address(format!("{}/ConsumerGroups/$Default/Partitions/{}", addresses.event_hub, reading.partition))
        .add_to_filter("apache.org:selector-filter:string", filter);
    let mut receiver = fe2o3_amqp::Receiver::builder()
        .name("bench")
        .source(source.build())
        .sender_settle_mode(SenderSettleMode::Settled)
        .credit_mode(CreditMode::Manual)
        .attach(&mut session)
        .await?;
    let mut clocks = Clocks::start();
    for number in 0..reading.warm_up + reading.events {
        if number == reading.warm_up {
            clocks = Clocks::start();
        }
        // The client grants new credit only after it has settled deliveries. These arrive settled, so credit is granted
        // here.
        if number.is_multiple_of(PREFETCH as usize / 2) {
            receiver.set_credit(PREFETCH).await?;
        }
        let delivery = receiver.recv::<Body<AmqpValue>>().await?;
        ensure!(delivery.message().message_annotations.is_some(), "an event");
        if !matches!(delivery.body(), Body::Data(_)) {
            bail!("an event without bytes");
        }
    }
    let cost = clocks.stop(reading.events);
    let _ = receiver.close().await;
    let _ = session.end().await;
    let _ = connection.close().await;
    Ok(cost)
}
