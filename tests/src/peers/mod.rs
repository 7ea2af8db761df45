//! Hostile peers: a table of all the ways in which a server can misbehave (`tests/peers/`). Servers play its entries to
//! the built component in the host.
//!
//! | module | what it is |
//! |---|---|
//! | [`table`] | the entries: a script of steps, and the outcomes that a call may have |
//! | [`server`] | servers on loopback that play the scripts, on a thread of their own |
//! | [`http2`], [`amqp`] | frames as bytes, and the parts of a client's or service's bytes |
//! | [`neighbour`] | a quiet tenant of the same host |
//! | [`measure`] | the resources and log lines of the process |
//!
//! An HTTP peer writes what the table says. An AMQP peer stands between the component and a correct emulator: it passes
//! on everything up to the unit that the table names, and alters, repeats or replaces data from there on. So a script
//! contains only the misbehaviour.
//!
//! Each behaviour is played to a tenant of its own. The behaviour passes if
//! - each call ends in a page or a typed error that the table expects, within its deadline plus a tenth of it;
//! - after the tenant has ended, no socket to the peer is left, and tasks, descriptors and memory are as before;
//! - neither a call nor an idle connection fills the log, and an idle connection costs little computing time;
//! - the quiet tenant's calls all succeed, and their median is at most twice that of just before, plus an allowance.
//!
//! Where the whole table is played, the quiet tenant is measured again, with more calls, beside the ten worst
//! behaviours.

pub mod amqp;
pub mod http2;
pub mod measure;
pub mod neighbour;
pub mod server;
pub mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_iot_emulator::{Emulator, EmulatorOptions, TelemetryMessage};
use connector_host::interface::action::Call;
use connector_host::interface::trigger::{Budget, LostPolicy, Page, PollRequest, Start};
use connector_host::{Account, CallError, Connection, Connector, Limits, Tenant, TenantOptions, TrustRoots};
use serde_json::{Value, json};

use crate::{connector, link, process, tenant, values};
use measure::{Held, Log, Logged, sockets_to};
use neighbour::{Neighbour, percentile};
use server::{Apart, Backend, Playing, Servers};
use table::{Peer, Probe};

/// The deadline of each call.
const DEADLINE: Duration = Duration::from_secs(3);
/// The deadline of the call whose log lines are counted.
const DEADLINE_LOGGED: Duration = Duration::from_millis(1_500);
/// A behaviour is repeated for at least this time and until the quiet tenant has made [`FEWEST`] calls, but at most
/// [`MOST_ROUNDS`] times.
const SHORTEST: Duration = Duration::from_millis(300);
const FEWEST: usize = 15;
const MOST_ROUNDS: usize = 20;
/// How many calls of the quiet tenant are measured just before a behaviour.
const ALONE: usize = 30;
/// The median of the quiet tenant's calls may be longer than twice its median alone by this time. A delay of up to one
/// turn of the scheduler and one epoch is no harm.
const ALLOWANCE: Duration = Duration::from_millis(20);
/// A port where no server listens. The hub is there, because a telemetry poll could otherwise ask it for another
/// endpoint.
const NOBODY: u16 = 1;
/// The number of worst behaviours, by the quiet tenant's slowest calls, that are played once more for [`CLOSER`] calls
/// of the quiet tenant. A 99th percentile needs many calls.
const WORST: usize = 10;
const CLOSER: usize = 300;
/// The longest time for those calls.
const CLOSER_TIME: Duration = Duration::from_secs(30);
/// The largest allowed ratio of the quiet tenant's 99th percentiles, beside a behaviour and alone.
const MOST_TIMES: f64 = 2.0;
/// How often a behaviour is tried if the quiet tenant was slow. Other programs on the machine can be the reason.
const ATTEMPTS: usize = 3;
/// How long the process may take to release its resources.
const SETTLING: Duration = Duration::from_secs(5);
/// While no calls are made, the host may use a processor for at most one of this many parts of the time.
const MOST_IDLE: u32 = 4;
/// How many more descriptors than before are allowed: the runtimes need them.
const SPARE_DESCRIPTORS: usize = 2;
/// How many more bytes of memory than before are allowed: allocators keep them.
const SPARE_MEMORY: u64 = 32 << 20;
/// The most that one call may write to the operator's usual log.
const MOST_LOGGED: Logged = Logged { lines: 50, bytes: 32 << 10 };
/// The most that one call may write to the log of an operator who looks for a fault: twice what a guest may log,
/// because each line also has a time, a target and spans.
const MOST_LOGGED_CLOSER: Logged = Logged { lines: 2_100, bytes: 768 << 10 };

/// Which behaviours are played, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The seed of the random order, for a sample.
    pub seed: u64,
    /// A sample of all protocols in random order: no behaviour begins after this time. None plays all of them in the
    /// table's order.
    pub sample: Option<Duration>,
    /// Play only behaviours whose ids begin with one of these texts. Empty for all.
    pub only: Vec<String>,
}

/// The result of one behaviour.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The behaviour's id.
    pub id: String,
    /// The broken promises.
    pub failures: Vec<String>,
    /// The outcomes of the calls, without repetitions.
    pub outcomes: Vec<String>,
    /// The longest time that a call took beyond its deadline.
    pub overrun: Duration,
    /// How many sockets to the peer were left.
    pub sockets: usize,
    /// The host's computing time while no calls were made.
    pub computed: Duration,
    /// The quiet tenant's latencies during the behaviour.
    beside: Vec<Duration>,
    /// The quiet tenant's latencies just before the behaviour.
    alone: Vec<Duration>,
    /// How much one call logged for an operator who looks for a fault.
    logged: Logged,
}

/// The quiet tenant's latencies beside one behaviour, measured with many calls.
#[derive(Clone, Debug)]
pub struct Closer {
    /// The behaviour's id.
    pub id: String,
    /// The latencies just before the behaviour.
    alone: Vec<Duration>,
    /// The latencies during the behaviour.
    beside: Vec<Duration>,
    /// How often this was measured. The best measurement counts, because other programs use the machine too.
    tries: usize,
}

impl Closer {
    fn ratio(&self, percent: usize) -> f64 {
        ratio(percentile(&self.beside, percent), percentile(&self.alone, percent))
    }
}

fn ratio(beside: Duration, alone: Duration) -> f64 {
    beside.as_secs_f64() / alone.as_secs_f64().max(1e-6)
}

/// The results of all behaviours.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The result of each behaviour.
    pub reports: Vec<Report>,
    /// The behaviours that slowed the quiet tenant most. Empty for a sample.
    pub worst: Vec<Closer>,
}

impl Summary {
    /// Fails where a behaviour broke a promise.
    ///
    /// # Errors
    /// The behaviours that broke a promise.
    pub fn judge(&self) -> Result<()> {
        let failed: Vec<&str> = self.failed().map(|report| report.id.as_str()).collect();
        ensure!(failed.is_empty(), "{} behaviours broke a promise: {}", failed.len(), failed.join(", "));
        let slow: Vec<&str> =
            self.worst.iter().filter(|peer| peer.ratio(99) > MOST_TIMES).map(|peer| peer.id.as_str()).collect();
        ensure!(
            slow.is_empty(),
            "the quiet tenant's p99 is over {MOST_TIMES} times its own beside: {}",
            slow.join(", ")
        );
        Ok(())
    }

    fn failed(&self) -> impl Iterator<Item = &Report> {
        self.reports.iter().filter(|report| !report.failures.is_empty())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let overrun = self.reports.iter().map(|report| report.overrun).max().unwrap_or_default();
        let sockets: usize = self.reports.iter().map(|report| report.sockets).sum();
        writeln!(
            f,
            "{} behaviours, {} failures, worst overrun of a deadline {} ms, {sockets} sockets left",
            self.reports.len(),
            self.failed().count(),
            overrun.as_millis()
        )?;
        let alone: Vec<Duration> = self.reports.iter().flat_map(|report| report.alone.iter().copied()).collect();
        let [p50, p99] = [50, 99].map(|percent| percentile(&alone, percent));
        writeln!(f, "quiet tenant alone: {} calls, p50 {p50:.1?}, p99 {p99:.1?}", alone.len())?;
        if !self.worst.is_empty() {
            writeln!(
                f,
                "{:<44} {:>6} {:>9} {:>9} {:>6} {:>6} {:>6}",
                "beside the worst peers", "calls", "p99 alone", "beside", "p50 x", "p99 x", "tries"
            )?;
        }
        for peer in &self.worst {
            let [alone, beside] = [&peer.alone, &peer.beside].map(|calls| format!("{:.1?}", percentile(calls, 99)));
            let (p50, p99) = (peer.ratio(50), peer.ratio(99));
            let (id, calls, tries) = (&peer.id, peer.beside.len(), peer.tries);
            writeln!(f, "{id:<44} {calls:>6} {alone:>9} {beside:>9} {p50:>6.2} {p99:>6.2} {tries:>6}")?;
        }
        for report in self.failed() {
            writeln!(f, "FAILED {}: {}", report.id, report.failures.join("; "))?;
        }
        Ok(())
    }
}

/// Plays the table, and prints a line for each behaviour.
///
/// # Errors
/// Where the table cannot be read, or a server or tenant cannot be set up. Broken promises are in the summary.
pub async fn run(options: &Options) -> Result<Summary> {
    let all = table::read()?;
    let wanted = |peer: &Peer| options.only.is_empty() || options.only.iter().any(|id| peer.id.starts_with(id));
    let peers: Vec<(usize, &Peer)> = all.iter().enumerate().filter(|(_, peer)| wanted(peer)).collect();
    let peers = if options.sample.is_some() { mixed(peers, options.seed) } else { peers };
    let arena = Arena::start().await?;
    let begun = Instant::now();
    let mut summary = Summary::default();
    for &(number, peer) in &peers {
        if options.sample.is_some_and(|most| begun.elapsed() >= most) {
            break;
        }
        let started = Instant::now();
        let report = arena.meet(peer, number).await.with_context(|| peer.id.clone())?;
        let verdict = if report.failures.is_empty() { "held" } else { "FAILED" };
        println!(
            "{:>7} {:<9} {:<44} {:>5.1} s  {}  log {} lines, {} KB  idle {} ms  neighbour {:.1}x{}",
            verdict,
            peer.protocol.to_string(),
            peer.id,
            started.elapsed().as_secs_f64(),
            report.outcomes.join(" "),
            report.logged.lines,
            report.logged.bytes >> 10,
            report.computed.as_millis(),
            ratio(percentile(&report.beside, 50), percentile(&report.alone, 50)),
            report.failures.iter().map(|failure| format!("\n          {failure}")).collect::<String>(),
        );
        summary.reports.push(report);
    }
    if options.sample.is_none() {
        let mut slowest: Vec<(Duration, (usize, &Peer))> =
            summary.reports.iter().map(|report| percentile(&report.beside, 99)).zip(peers).collect();
        slowest.sort_by_key(|(p99, _)| std::cmp::Reverse(*p99));
        for (_, (number, peer)) in slowest.into_iter().take(WORST) {
            summary.worst.push(arena.look_closer(peer, number).await.with_context(|| peer.id.clone())?);
        }
    }
    arena.end().await;
    Ok(summary)
}

/// The behaviours in random order, with the protocols in turn. Each behaviour keeps its number in the table.
fn mixed(mut peers: Vec<(usize, &Peer)>, seed: u64) -> Vec<(usize, &Peer)> {
    fastrand::Rng::with_seed(seed).shuffle(&mut peers);
    let mut turns = BTreeMap::new();
    let mut placed = Vec::new();
    for (number, peer) in peers {
        let turn: &mut usize = turns.entry(peer.protocol).or_default();
        placed.push((*turn, number, peer));
        *turn += 1;
    }
    placed.sort_by_key(|(turn, ..)| *turn);
    placed.into_iter().map(|(_, number, peer)| (number, peer)).collect()
}

/// The host, the emulator, the peers and the quiet tenant.
struct Arena {
    connector: Connector,
    emulator: Arc<Emulator>,
    /// The thread on which the emulator runs.
    service: Apart,
    servers: Servers,
    neighbour: Neighbour,
    log: Log,
}

impl Arena {
    async fn start() -> Result<Self> {
        let log = Log::start()?;
        let service = Apart::start("service")?;
        let emulator = service.run(Emulator::start(EmulatorOptions { partitions: 1, ..Default::default() })).await??;
        let emulator = Arc::new(emulator);
        let connector = connector().await?;
        let calm = tenant(&emulator)?;
        let account = link(values(&emulator, "connector", "connector")?);
        let call = Call::default();
        connector.account(&calm, &account).invoke("create-device", r#"{"deviceId":"pump"}"#, &call).await?;
        let device = emulator.clone();
        service
            .run(async move {
                for number in 0..5 {
                    let message = TelemetryMessage::json("pump", &json!({ "number": number }));
                    device.devices().send_telemetry(message).await?;
                }
                Ok::<_, anyhow::Error>(())
            })
            .await??;
        let port = |host: String| -> Result<u16> { Ok(host.rsplit(':').next().context("no port")?.parse()?) };
        let servers = Servers::start(Backend {
            event_hub: port(emulator.event_hub_host())?,
            hub_amqp: port(emulator.hub_amqp_host())?,
            ca: emulator.ca_pem().to_owned(),
        })?;
        let neighbour = Neighbour::start(connector.clone(), calm, account);
        neighbour.wait_for(2 * ALONE, SETTLING).await;
        Ok(Self { connector, emulator, service, servers, neighbour, log })
    }

    async fn end(self) {
        self.neighbour.end().await;
        let emulator = self.emulator.clone();
        let ended = self.service.run(async move { drop(Arc::into_inner(emulator).map(Emulator::shutdown)) });
        drop(self.emulator);
        let _ = ended.await;
    }

    /// Plays a behaviour. Plays it again if the only failure is a slow quiet tenant.
    async fn meet(&self, peer: &Peer, number: usize) -> Result<Report> {
        let mut attempt = 1;
        loop {
            let mut report = self.once(peer, number).await?;
            if slowed(&report).is_some() {
                // The quiet tenant may be as slow alone. It is measured alone once more, and the slower of both times
                // counts.
                let after = self.alone(ALONE, SETTLING).await;
                if percentile(&after, 50) > percentile(&report.alone, 50) {
                    report.alone = after;
                }
            }
            match slowed(&report) {
                Some(_) if attempt < ATTEMPTS => attempt += 1,
                slow => {
                    report.failures.extend(slow);
                    return Ok(report);
                }
            }
        }
    }

    /// The latencies of the quiet tenant's next calls.
    async fn alone(&self, calls: usize, most: Duration) -> Vec<Duration> {
        self.neighbour.take_latencies();
        self.neighbour.wait_for(calls, most).await;
        self.neighbour.take_latencies()
    }

    /// Measures the quiet tenant closely, again where it was too slow: other programs use the machine, too.
    async fn look_closer(&self, peer: &Peer, number: usize) -> Result<Closer> {
        let mut best = self.closely(peer, number).await?;
        while best.ratio(99) > MOST_TIMES && best.tries < ATTEMPTS {
            let tries = best.tries + 1;
            let measured = self.closely(peer, number).await?;
            if measured.ratio(99) < best.ratio(99) {
                best = measured;
            }
            best.tries = tries;
        }
        Ok(best)
    }

    /// Plays a behaviour for many calls of the quiet tenant, and measures only that tenant's calls.
    async fn closely(&self, peer: &Peer, number: usize) -> Result<Closer> {
        let alone = self.alone(CLOSER, CLOSER_TIME).await;
        let playing = self.servers.play(peer).await?;
        let caller = Caller::new(self, peer, &playing)?;
        let mut unjudged = Report::default();
        self.neighbour.take_latencies();
        let begun = Instant::now();
        while self.neighbour.calls() < CLOSER && begun.elapsed() < CLOSER_TIME {
            for probe in peer.calls() {
                caller.call(*probe, DEADLINE, &mut unjudged).await;
            }
            tokio::time::sleep(Duration::from_millis(peer.idle)).await;
        }
        let beside = self.neighbour.take_latencies();
        caller.end(number).await;
        playing.end();
        Ok(Closer { id: peer.id.clone(), alone, beside, tries: 1 })
    }

    async fn once(&self, peer: &Peer, number: usize) -> Result<Report> {
        let mut report = Report { id: peer.id.clone(), ..Report::default() };
        report.alone = self.alone(ALONE, SETTLING).await;
        let hush = self.neighbour.hush().await;
        self.neighbour.take_failures();
        let before = Held::now()?;
        let playing = self.servers.play(peer).await?;
        let caller = Caller::new(self, peer, &playing)?;
        self.count_log(&caller, &mut report).await?;
        drop(hush);

        self.log.take();
        self.neighbour.take_latencies();
        let (begun, mut calls) = (Instant::now(), 0);
        for _ in 0..MOST_ROUNDS {
            for probe in peer.calls() {
                caller.call(*probe, DEADLINE, &mut report).await;
                calls += 1;
            }
            // A behaviour with an idle time is played only once, because the idle time is long enough.
            let long_enough = begun.elapsed() >= SHORTEST && self.neighbour.calls() >= FEWEST;
            if long_enough || peer.idle > 0 {
                break;
            }
        }
        self.idle(peer, &mut report).await?;
        report.beside = self.neighbour.take_latencies();
        report
            .failures
            .extend(self.neighbour.take_failures().into_iter().take(2).map(|error| format!("neighbour: {error}")));
        let logged = self.log.take();
        if logged.lines > MOST_LOGGED.lines * calls || logged.bytes > MOST_LOGGED.bytes * calls {
            report.failures.push(format!("{calls} calls logged {} lines, {} bytes", logged.lines, logged.bytes));
        }
        report.failures.extend(playing.troubles().into_iter().map(|trouble| format!("the table: {trouble}")));
        if playing.connections() == 0 {
            report.failures.push("nobody connected to the peer".to_owned());
        }

        let _hush = self.neighbour.hush().await;
        caller.end(number).await;
        self.look_back(before, &playing, &mut report).await?;
        Ok(report)
    }

    /// Makes no calls for some time, and measures how much the host computes for the open connections.
    async fn idle(&self, peer: &Peer, report: &mut Report) -> Result<()> {
        if peer.idle == 0 {
            return Ok(());
        }
        let idle = Duration::from_millis(peer.idle);
        // Half of the time the quiet tenant makes calls, which may be slowed down. Half of the time it is silent.
        tokio::time::sleep(idle / 2).await;
        let _hush = self.neighbour.hush().await;
        let (before, theirs) = (process::computed(), self.servers.computed().await?);
        let begun = Instant::now();
        tokio::time::sleep(idle / 2).await;
        let time = begun.elapsed();
        let theirs = self.servers.computed().await?.saturating_sub(theirs);
        report.computed = process::computed().saturating_sub(before).saturating_sub(theirs);
        if report.computed > time / MOST_IDLE {
            report
                .failures
                .push(format!("the host computed {:.1?} of {time:.1?} in which nobody called", report.computed));
        }
        Ok(())
    }

    /// Counts the log lines of one call, for an operator who looks for a fault.
    async fn count_log(&self, caller: &Caller<'_>, report: &mut Report) -> Result<()> {
        let Some(probe) = caller.peer.calls().first() else { return Ok(()) };
        self.log.look_closer(true)?;
        self.log.take();
        // The call's outcome and time are not judged, because it has a shorter deadline and writes more log lines.
        caller.call(*probe, DEADLINE_LOGGED, &mut Report::default()).await;
        tokio::time::sleep(Duration::from_millis(caller.peer.idle)).await;
        report.logged = self.log.take();
        self.log.look_closer(false)?;
        let Logged { lines, bytes } = report.logged;
        if lines > MOST_LOGGED_CLOSER.lines || bytes > MOST_LOGGED_CLOSER.bytes {
            report.failures.push(format!("one call logged {lines} lines, {bytes} bytes at the level of debugging"));
        }
        Ok(())
    }

    /// Checks that the process has released all resources after the tenant has ended.
    async fn look_back(&self, before: Held, playing: &Playing, report: &mut Report) -> Result<()> {
        let begun = Instant::now();
        report.sockets = sockets_to(playing.port)?;
        while report.sockets > 0 && begun.elapsed() < SETTLING {
            tokio::time::sleep(Duration::from_millis(10)).await;
            report.sockets = sockets_to(playing.port)?;
        }
        if report.sockets > 0 {
            report.failures.push(format!("{} sockets outlive their tenant", report.sockets));
        }
        playing.end();
        let settled = |now: Held| {
            now.tasks <= before.tasks
                && now.descriptors <= before.descriptors + SPARE_DESCRIPTORS
                && now.memory <= before.memory + SPARE_MEMORY
        };
        let begun = Instant::now();
        let mut now = Held::now()?;
        while !settled(now) && begun.elapsed() < SETTLING {
            tokio::time::sleep(Duration::from_millis(10)).await;
            now = Held::now()?;
        }
        if !settled(now) {
            report.failures.push(format!("left behind: {before:?}, then {now:?}"));
        }
        Ok(())
    }
}

/// A failure if the quiet tenant was slower than allowed.
fn slowed(report: &Report) -> Option<String> {
    let [alone, beside] = [&report.alone, &report.beside].map(|calls| percentile(calls, 50));
    let slow = beside > alone * 2 + ALLOWANCE;
    slow.then(|| format!("the neighbour's calls took {beside:.1?} in the median instead of {alone:.1?}"))
}

/// A tenant that calls a hostile peer.
struct Caller<'a> {
    connector: &'a Connector,
    tenant: Tenant,
    /// The first connection is for telemetry, the second for all other calls.
    connections: [Connection; 2],
    peer: &'a Peer,
    playing: &'a Playing,
    warm: tokio::sync::OnceCell<Account>,
}

impl<'a> Caller<'a> {
    fn new(arena: &'a Arena, peer: &'a Peer, playing: &'a Playing) -> Result<Self> {
        let here = format!("localhost:{}", playing.port);
        let trusted = format!("{}{}", arena.emulator.ca_pem(), arena.servers.trusted());
        let mut account = values(&arena.emulator, "connector", "connector")?;
        account["iotHubName"] = here.as_str().into();
        account["eventHubEndpoint"] = format!("sb://{here}/").into();
        account["eventHubPath"] = arena.emulator.event_hub_name().into();
        account["trustedCertificates"] = trusted.as_str().into();
        let mut options = TenantOptions::default();
        options.name.clone_from(&peer.id);
        options.limits = Limits::default();
        options.trust_roots = TrustRoots::Only(trusted);
        options.allow_hosts = vec!["localhost".parse()?];
        options.allow_private_networks = true;
        let tenant = Tenant::new(options)?.with_deadline(DEADLINE);
        let connections = [format!("localhost:{NOBODY}"), here].map(|hub| {
            account["iotHubAmqpHost"] = hub.into();
            link(account.clone())
        });
        Ok(Self { connector: &arena.connector, tenant, connections, peer, playing, warm: tokio::sync::OnceCell::new() })
    }

    fn connection(&self, probe: Probe) -> &Connection {
        let [telemetry, other] = &self.connections;
        if probe == Probe::Telemetry { telemetry } else { other }
    }

    /// Makes a call, and judges its time and outcome.
    async fn call(&self, probe: Probe, deadline: Duration, report: &mut Report) {
        self.playing.expect(probe);
        let begun = Instant::now();
        let ended =
            if self.peer.warm { self.warm_call(probe, deadline).await } else { self.cold_call(probe, deadline).await };
        let took = begun.elapsed();
        report.overrun = report.overrun.max(took.saturating_sub(deadline));
        if took > deadline + deadline / 10 {
            report.failures.push(format!("{probe:?} took {took:.2?} with a deadline of {deadline:?}"));
        }
        let (outcome, message) = match &ended {
            Ok(shown) => ("page".to_owned(), shown.clone()),
            Err(error) => (name(error), format!("{error} {}", json!(error))),
        };
        report.failures.extend(self.unclean(&message).filter(|failure| !report.failures.contains(failure)));
        if !self.peer.expect.contains(&outcome) {
            let failure = format!("{probe:?} ended with {outcome}: {message}");
            if !report.failures.contains(&failure) {
                report.failures.push(failure);
            }
        }
        if !report.outcomes.contains(&outcome) {
            report.outcomes.push(outcome);
        }
    }

    /// A failure if a text for a person (an error, a notice or an event's summary) holds a secret or invisible
    /// characters.
    fn unclean(&self, message: &str) -> Option<String> {
        let signatures = self.playing.signatures();
        let repeats = |signature: &String| {
            let plain = signature.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
            message.contains(signature.as_str()) || message.contains(&plain)
        };
        if signatures.iter().any(repeats) {
            return Some("a text repeats the signature of a token".to_owned());
        }
        let hidden = |c: char| {
            c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        message.chars().any(hidden).then(|| "a text holds control or bidirectional characters".to_owned())
    }

    async fn cold_call(&self, probe: Probe, deadline: Duration) -> Result<String, CallError> {
        let (tenant, connection) = (self.tenant.with_deadline(deadline), self.connection(probe));
        match work(probe) {
            Work::Action(action, input) => {
                self.connector
                    .account(&tenant, connection)
                    .invoke(action, &input.to_string(), &Call::default())
                    .await?;
                Ok(String::new())
            }
            Work::Poll(request) => Ok(shown(&self.connector.account(&tenant, connection).poll(&request).await?)),
        }
    }

    async fn warm_call(&self, probe: Probe, deadline: Duration) -> Result<String, CallError> {
        let open = || self.connector.open(&self.tenant, self.connection(probe));
        let instance = self.warm.get_or_try_init(open).await?.with_deadline(deadline);
        match work(probe) {
            Work::Action(action, input) => {
                instance.invoke(action, &input.to_string(), &Call::default()).await?;
                Ok(String::new())
            }
            Work::Poll(request) => Ok(shown(&instance.poll(&request).await?)),
        }
    }

    /// Ends the tenant. The number decides in which of three ways.
    async fn end(self, number: usize) {
        let Self { tenant, warm, .. } = self;
        drop(warm);
        match number % 3 {
            0 => drop(tenant.drain(Duration::from_secs(1)).await),
            1 => tenant.close(),
            _ => {}
        }
    }
}

enum Work {
    Action(&'static str, Value),
    Poll(PollRequest),
}

fn work(probe: Probe) -> Work {
    let poll = |trigger: &str, partition: &str| {
        Work::Poll(PollRequest {
            trigger: trigger.to_owned(),
            partition: partition.to_owned(),
            config: "{}".to_owned(),
            start: Start::Earliest,
            on_position_lost: LostPolicy::Stop,
            cursor: None,
            budget: Budget { events: 100, bytes: 1 << 20, wait_ms: 200 },
        })
    };
    match probe {
        Probe::GetDevice => Work::Action("get-device", json!({ "deviceId": "pump" })),
        Probe::Upload => {
            let body = json!({ "text": "x".repeat(250_000) });
            Work::Action("send-device-to-cloud-message", json!({ "deviceId": "pump", "body": body }))
        }
        Probe::Poll => poll("service-configuration-changed", "all"),
        Probe::Telemetry => poll(crate::TELEMETRY, "0"),
        Probe::Message => {
            Work::Action("send-cloud-to-device-message", json!({ "deviceId": "pump", "body": { "go": 1 } }))
        }
        Probe::Feedback => poll("cloud-to-device-message-feedback", "all"),
    }
}

/// All texts of a page that a person sees.
fn shown(page: &Page) -> String {
    let notices = page.notices.iter().map(|notice| notice.message.as_str());
    page.events.iter().map(|event| event.summary.as_str()).chain(notices).collect()
}

/// The outcome of a failed call, in the words of the table.
fn name(error: &CallError) -> String {
    let code = error.connector().and_then(|error| serde_json::to_value(error.code).ok());
    code.as_ref().and_then(Value::as_str).map_or_else(|| format!("host:{}", error.kind()), str::to_owned)
}
