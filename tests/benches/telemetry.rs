//! Measures how fast telemetry is read: the component in its host and native clients read from one emulator, in one
//! run.
//!
//! | reader | what it is |
//! |---|---|
//! | component | a warm instance, polled by its host as by an engine; AMQP and TLS run inside WebAssembly |
//! | its client, native | the same AMQP client and TLS as a native program, without the trigger and the sandbox |
//! | `fe2o3-amqp` | a native client without shared code; Microsoft's own client for Rust is built on it |
//! | `azure-eventhub` | Microsoft's client for Python, unchanged |
//!
//! Each table is for one cipher suite. All readers use this suite, because the emulator offers no other. IoT Hub
//! documents AES-256-GCM and AES-128-GCM. It does not document ChaCha20-Poly1305, which is measured last and shows how
//! much AES costs in WebAssembly.
//!
//! The emulator runs in a process of its own, and has prepared the bytes of every event. The result is the CPU time of
//! the reader's process, including host and kernel, because reader and emulator may share cores. Rounds alternate, and
//! the median of each reader's rounds counts.

use std::cell::Cell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_iot_connector::amqp_transport::AmqpTransport;
use azure_iot_connector::auth::SharedAccessKey;
use azure_iot_connector::eventhub::{Access, Endpoint, EventHub, ReadBudget, ReceiverOptions, Roots, StartPosition};
use azure_iot_emulator::{Emulator, EmulatorOptions, TelemetryEvent, TlsSuites};
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_host::{Account, Connection, Connector, Limits, Tenant, TenantOptions, TrustRoots};
use connector_tests::{connector, link, over_web_sockets, values, workspace};
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp_types::definitions::SenderSettleMode;
use fe2o3_amqp_types::messaging::{Body, Source};
use rustix::time::{ClockId, clock_gettime};
use serde_amqp::Value as AmqpValue;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use serde_json::{Value, json};
use system::System;

#[path = "../../host-harness/emulator/tests/common/python.rs"]
mod python;
#[path = "../native/system.rs"]
mod system;
mod tls;

/// The argument that makes this program serve the emulator.
const EMULATOR: &str = "--emulator";
/// The cipher suites in the order of measurement. The name of each is an argument of the emulator's process.
const SUITES: [(&str, TlsSuites); 3] = [
    ("AES-256-GCM", TlsSuites::Aes256Gcm),
    ("AES-128-GCM", TlsSuites::Aes128Gcm),
    ("ChaCha20-Poly1305", TlsSuites::ChaCha20Poly1305),
];
const ROUNDS: usize = 5;
/// The number of events that are read before the measurement begins: the connection, the caches and the first credit
/// need them.
const WARM_UP: usize = 1_000;
const EVENTS: usize = 20_000;
/// The size of an event's body, in bytes.
const BODY: usize = 1_024;
/// The size of a large body, in bytes. Reading such bodies costs little besides TLS, so they measure TLS.
const LARGE_BODY: usize = 60_000;
const LARGE_EVENTS: usize = 1_500;
/// The partition with the small events. The next constant is the partition with the large events.
const SMALL: u16 = 0;
const LARGE: u16 = 1;
/// The number of events that a client requests ahead, if it has such a setting. It is the default of Microsoft's
/// client.
const PREFETCH: u32 = 300;

fn main() -> Result<()> {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    if has(EMULATOR) {
        let chosen = SUITES.into_iter().find(|(name, _)| has(name)).context("the name of a suite")?;
        return runtime()?.block_on(emulate(chosen.1));
    }
    // `cargo test` runs benchmarks only to check that they build. `cargo bench` measures.
    if !has("--bench") {
        println!("0 measured: run `cargo xtask bench`");
        return Ok(());
    }
    let without_python = has("--without-python");
    let only_component = has("--only-component");
    runtime()?.block_on(measure(without_python || only_component, only_component))
}

/// Runs the emulator: prints its addresses, and ends when its standard input ends.
async fn emulate(tls_suites: TlsSuites) -> Result<()> {
    let emulator = Emulator::start(EmulatorOptions { partitions: 2, tls_suites, ..EmulatorOptions::default() }).await?;
    let telemetry = emulator.telemetry();
    telemetry.send_all((0..WARM_UP + EVENTS).map(|number| {
        TelemetryEvent::new(format!("press-{:02}", number % 20), body(number))
            .json()
            .property("line", (number % 3).to_string())
            .partition(SMALL)
    }));
    telemetry.send_all((0..LARGE_EVENTS).map(|number| {
        TelemetryEvent::new("camera-1", bytes::Bytes::from(vec![number as u8; LARGE_BODY])).partition(LARGE)
    }));
    let policy = emulator.hub_policy("service").context("a policy")?;
    let addresses = json!({
        "values": values(&emulator, "connector", "connector")?,
        "authority": emulator.ca_pem(),
        "host": emulator.event_hub_host(),
        "hubHost": emulator.hub_host(),
        "hub": emulator.event_hub_name(),
        "policy": policy.name,
        "key": policy.primary_key,
        "connectionString": emulator.event_hub_connection_string("service").context("a policy")?,
    });
    println!("{addresses}");
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    emulator.shutdown().await;
    Ok(())
}

/// The message of a machine in a plant: numbers, texts and a list, as JSON of 1 KB.
fn body(number: usize) -> String {
    let mut body = json!({
        "machine": { "id": format!("press-{:02}", number % 20), "site": "north", "hall": 3, "firmware": "4.17.2" },
        "time": format!("2026-05-04T07:{:02}:{:02}.250Z", number / 60 % 60, number % 60),
        "sequence": number,
        "temperature": 61.25 + (number % 40) as f64,
        "pressure": { "value": 10.5, "unit": "bar", "limits": [8.0, 12.5] },
        "samples": (0..40).map(|sample| (number * 31 + sample * 17) % 1_000).collect::<Vec<_>>(),
        "alarms": [{ "code": "E-204", "since": "2026-05-04T06:58:12Z", "text": "Filter pressure \"low\"" }],
        "status": "running",
        "pad": "",
    });
    let missing = BODY - body.to_string().len();
    body["pad"] = "x".repeat(missing).into();
    body.to_string()
}

/// The emulator's process, and the addresses that it printed.
struct Service {
    process: Child,
    printed: Value,
}

impl Service {
    fn start(suite: &str) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([EMULATOR, suite])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the emulator's process cannot be started")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
        Ok(Self { process, printed: serde_json::from_str(&line).context("the emulator did not start")? })
    }

    fn text(&self, name: &str) -> &str {
        self.printed[name].as_str().unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The process ends when its standard input ends.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// How many events a round read, its elapsed time and its CPU time.
#[derive(Clone, Copy)]
struct Cost {
    events: usize,
    wall: Duration,
    cpu: Duration,
}

impl Cost {
    fn per_core(self) -> f64 {
        self.events as f64 / self.cpu.as_secs_f64()
    }

    fn per_second(self) -> f64 {
        self.events as f64 / self.wall.as_secs_f64()
    }
}

/// The clocks at the beginning of a round.
struct Clocks {
    wall: Instant,
    cpu: Duration,
}

impl Clocks {
    fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_time() }
    }

    fn stop(self, events: usize) -> Cost {
        Cost { events, wall: self.wall.elapsed(), cpu: cpu_time().saturating_sub(self.cpu) }
    }
}

/// The CPU time of this process: all its threads, and the kernel's work for them.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[derive(Clone, Copy, PartialEq)]
enum Reader {
    Component,
    WebSockets,
    OwnClient,
    Fe2o3,
    Python,
}

impl Reader {
    fn name(self) -> &'static str {
        match self {
            Self::Component => "the component in its host",
            Self::WebSockets => "the same over WebSockets",
            Self::OwnClient => "its AMQP client, native",
            Self::Fe2o3 => "fe2o3-amqp, native",
            Self::Python => "azure-eventhub, Python",
        }
    }
}

async fn measure(without_python: bool, only_component: bool) -> Result<()> {
    for (suite, _) in SUITES {
        measure_with(suite, without_python, only_component).await?;
    }
    Ok(())
}

async fn measure_with(suite: &str, without_python: bool, only_component: bool) -> Result<()> {
    let service = Service::start(suite)?;
    let sandbox = Sandbox::new(&service, service.printed["values"].clone()).await?;
    let web_sockets = Sandbox::new(&service, over_web_sockets(service.printed["values"].clone())).await?;
    let mut readers = vec![Reader::Component, Reader::WebSockets];
    if !only_component {
        readers.extend([Reader::Fe2o3, Reader::OwnClient]);
    }
    let python = if without_python {
        None
    } else {
        readers.push(Reader::Python);
        Some(tokio::task::spawn_blocking(python::virtual_environment).await?)
    };
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); readers.len()];
    for _ in 0..ROUNDS {
        for (reader, costs) in readers.iter().zip(&mut costs) {
            costs.push(match reader {
                Reader::Component => sandbox.small().await?,
                Reader::WebSockets => web_sockets.small().await?,
                Reader::OwnClient => own_client(&service)?,
                Reader::Fe2o3 => fe2o3(&service).await?,
                Reader::Python => microsofts(&service, python.as_deref().context("an interpreter")?).await?,
            });
        }
    }
    println!("\n== {suite}\n{EVENTS} events with bodies of {BODY} bytes, one partition; medians of {ROUNDS} rounds");
    println!("{:<30} {:>16} {:>16} {:>18}", "", "events/s", "events/s a core", "component/this");
    let medians: Vec<(f64, f64)> =
        costs.iter().map(|costs| (median(costs, Cost::per_second), median(costs, Cost::per_core))).collect();
    let ours = medians.first().map_or(0.0, |medians| medians.1);
    for (reader, (wall, core)) in readers.iter().zip(&medians) {
        println!("{:<30} {wall:>16.0} {core:>16.0} {:>17.2}x", reader.name(), ours / core);
    }
    let mut large = Vec::new();
    for _ in 0..3 {
        large.push(sandbox.large().await?);
    }
    let rate = median(&large, Cost::per_core) * LARGE_BODY as f64 / 1e6;
    println!("\nTLS in the guest, by events of {LARGE_BODY} bytes that a filter holds back: {rate:.0} MB/s a core");
    println!("a streaming instance: {:.2} MiB of linear memory", sandbox.memory.get() as f64 / f64::from(1 << 20));
    Ok(())
}

fn median(costs: &[Cost], of: fn(Cost) -> f64) -> f64 {
    let mut rates: Vec<f64> = costs.iter().copied().map(of).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// The component with an account and a tenant.
struct Sandbox {
    connector: Connector,
    tenant: Tenant,
    connection: Connection,
    warm: Account,
    /// The largest linear memory of an instance after it read the small events, in bytes.
    memory: Cell<usize>,
}

impl Sandbox {
    async fn new(service: &Service, values: Value) -> Result<Self> {
        let connector = connector().await?;
        let connection = link(values);
        let mut options = TenantOptions::default();
        options.name = "bench".to_owned();
        options.limits = Limits::default();
        options.trust_roots = TrustRoots::Only(service.text("authority").to_owned());
        options.allow_hosts =
            vec!["localhost".parse()?, service.text("host").parse()?, service.text("hubHost").parse()?];
        options.allow_private_networks = true;
        let tenant = Tenant::new(options)?;
        let warm = connector.open(&tenant, &connection).await?;
        Ok(Self { connector, tenant, connection, warm, memory: Cell::new(0) })
    }

    /// Reads the small events with a new instance.
    async fn small(&self) -> Result<Cost> {
        let warm = self.connector.open(&self.tenant, &self.connection).await?;
        let mut request = request(SMALL, json!({}));
        let mut clocks = None;
        let mut events = 0;
        while events < WARM_UP + EVENTS {
            let page = warm.poll(&request).await?;
            ensure!(!page.events.is_empty() || page.more, "only {events} events came");
            ensure!(page.events.iter().all(|event| event.partition == "0"));
            events += page.events.len();
            request.cursor = Some(page.next);
            if events >= WARM_UP && clocks.is_none() {
                clocks = Some((events, Clocks::start()));
            }
        }
        let (before, clocks) = clocks.context("events")?;
        let cost = clocks.stop(events - before);
        let memory = warm.memory_bytes().await.context("an instance that is kept")?;
        self.memory.set(self.memory.get().max(memory));
        Ok(cost)
    }

    /// Reads the large events with the warm instance. The configuration holds all of them back.
    async fn large(&self) -> Result<Cost> {
        let mut request = request(LARGE, json!({ "deviceIds": ["nobody"] }));
        request.budget.wait_ms = 0;
        // This poll opens the connection before the clocks start.
        request.start = Start::AtPosition((LARGE_EVENTS - 2).to_string());
        self.warm.poll(&request).await?;
        request.start = Start::Earliest;
        let clocks = Clocks::start();
        loop {
            let page = self.warm.poll(&request).await?;
            ensure!(page.events.is_empty(), "they are filtered out");
            request.cursor = Some(page.next);
            if page.lag == Some(0) {
                break;
            }
        }
        Ok(clocks.stop(LARGE_EVENTS))
    }
}

/// A poll with the budget of an engine that reads a busy hub.
fn request(partition: u16, config: Value) -> PollRequest {
    PollRequest {
        trigger: "device-telemetry".to_owned(),
        partition: partition.to_string(),
        config: config.to_string(),
        start: Start::Earliest,
        on_position_lost: LostPolicy::Stop,
        cursor: None,
        budget: Budget { events: 500, bytes: 1 << 20, wait_ms: 1_000 },
    }
}

fn own_client(service: &Service) -> Result<Cost> {
    let (host, port) = service.text("host").rsplit_once(':').context("a port")?;
    let endpoint = Endpoint {
        host: host.to_owned(),
        port: port.parse()?,
        transport: AmqpTransport::Tcp,
        hub: service.text("hub").to_owned(),
    };
    let key = SharedAccessKey {
        policy: service.text("policy").to_owned(),
        key: azure_iot_connector::secret::Secret::new(service.text("key")),
    };
    let platform = System(Instant::now());
    let deadline = Duration::from_secs(120);
    let roots = Roots::Pem(service.text("authority"));
    let mut hub = EventHub::connect(&platform, &endpoint, &Access::Claim(key), roots, deadline)?;
    let options = ReceiverOptions::new("$Default", SMALL.to_string(), StartPosition::Earliest);
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
    read(WARM_UP)?;
    let clocks = Clocks::start();
    let cost = clocks.stop(read(EVENTS)?);
    hub.close();
    Ok(cost)
}

/// Reads with `fe2o3-amqp`, with the same TLS library, prefetch and settlement.
async fn fe2o3(service: &Service) -> Result<Cost> {
    let stream = tls::connect(service.text("authority"), service.text("host")).await?;
    let (username, password) = (service.text("policy").to_owned(), service.text("key").to_owned());
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
        .address(format!("{}/ConsumerGroups/$Default/Partitions/{SMALL}", service.text("hub")))
        .add_to_filter("apache.org:selector-filter:string", filter);
    let mut receiver = fe2o3_amqp::Receiver::builder()
        .name("bench")
        .source(source.build())
        .sender_settle_mode(SenderSettleMode::Settled)
        .credit_mode(CreditMode::Manual)
        .attach(&mut session)
        .await?;
    let mut clocks = Clocks::start();
    for number in 0..WARM_UP + EVENTS {
        if number == WARM_UP {
            clocks = Clocks::start();
        }
        // The client grants new credit only after it has settled deliveries. These arrive settled, so credit is granted
        // here.
        if number.is_multiple_of(PREFETCH as usize / 2) {
            receiver.set_credit(PREFETCH).await?;
        }
        let delivery = receiver.recv::<Body<AmqpValue>>().await?;
        ensure!(delivery.message().message_annotations.is_some(), "an event");
        ensure!(matches!(delivery.body(), Body::Data(_)), "its body");
    }
    let cost = clocks.stop(EVENTS);
    let _ = receiver.close().await;
    let _ = session.end().await;
    let _ = connection.close().await;
    Ok(cost)
}

/// Runs Microsoft's client in a process of its own, which measures itself.
async fn microsofts(service: &Service, interpreter: &Path) -> Result<Cost> {
    let authority = std::env::temp_dir().join(format!("connector-bench-{}.pem", std::process::id()));
    std::fs::write(&authority, service.text("authority"))?;
    let environment = vec![
        ("EVENT_HUB_CONNECTION_STRING", service.text("connectionString").to_owned()),
        ("EVENT_HUB_ENDPOINT", format!("sb://{}", service.text("host"))),
        ("CA_FILE", authority.to_string_lossy().into_owned()),
        ("PARTITION", SMALL.to_string()),
        ("WARM_UP", WARM_UP.to_string()),
        ("EVENTS", EVENTS.to_string()),
        ("PREFETCH", PREFETCH.to_string()),
    ];
    ensure!(workspace().join("tests/witness/eventhub_speed.py").exists());
    let output = python::run_script(interpreter, "eventhub_speed.py", environment).await;
    std::fs::remove_file(&authority)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: Value = serde_json::from_slice(&output.stdout).context("what it measured")?;
    let seconds = |name: &str| printed[name].as_f64().map(Duration::from_secs_f64).context("a time");
    let events = printed["events"].as_u64().context("a number")? as usize;
    Ok(Cost { events, wall: seconds("wall")?, cpu: seconds("cpu")? })
}
