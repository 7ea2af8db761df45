//! A reader that is a process of its own: `connector-host watch`, killed at any moment, which goes on from the cursors that
//! it keeps in a database.
//!
//! It promises to commit each event before it prints the next one. So a kill leaves at most one event in doubt, of all
//! partitions together: the last one that was printed.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use azure_iot_emulator::EmulatorOptions;
use fastrand::Rng;
use serde_json::{Value, json};

use super::events::{Record, mixed};
use super::ledger::{Delivery, Entry, Ledger};
use super::plan;
use crate::{World, component, host_program, values, workspace};

/// Links and connections among which a fault happens: so many that faults seldom follow each other at once, since each
/// one doubles the pause.
const EARLY: usize = 30;

/// How many events there are to one kill.
const EVENTS_TO_A_KILL: usize = 200;

/// How long a process may say nothing before it is killed, which also happens in its pauses after failures: so long for
/// the first, and so much longer for each one after it that said nothing at all.
const QUIET: Duration = Duration::from_secs(4);

/// How many processes one after the other may say nothing at all.
const MOST_QUIET: u32 = 15;

/// How long a process may take that comes to its end by itself.
const PATIENCE: Duration = Duration::from_secs(180);

/// How many milliseconds a process has to itself before it is killed, where nothing was heard of it yet.
const STARTING: Range<u64> = 1..1_500;

/// How many milliseconds a process goes on unheard before it is killed: it fills the pipe and is stuck in the middle of a
/// line, which is where a cursor that is committed too early loses an event.
const UNHEARD: Range<u64> = 0..400;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Events that there were.
    pub events: usize,
    /// Events that were printed again.
    pub repeated: usize,
    /// Processes that were killed.
    pub kills: usize,
    /// Faults that the emulator's rules made.
    pub faults: u64,
}

/// Sends events over four partitions, has `connector-host watch` read them while it is killed again and again and the
/// connections fail, and checks each promise of [`super::ledger`].
///
/// # Errors
/// The first promise that was broken.
pub async fn run(seed: u64, events: usize) -> Result<Summary> {
    let world = World::with(EmulatorOptions { fault_seed: seed, ..EmulatorOptions::default() }).await?;
    let record = Arc::new(Record::send(&world.emulator, mixed(seed, events))?);
    plan::apply(&world.emulator, plan::rules(seed, &record, 1, EARLY)?);
    let account =
        json!({ "authProfile": "shared-access-key", "values": values(&world.emulator, "connector", "connector")? });
    let watch = Arc::new(Watch::new(&account, &world.emulator.event_hub_host())?);
    let reader = watch.clone();
    let (mut ledgers, kills) = tokio::task::spawn_blocking(move || read(seed, &record, &reader)).await??;
    let faults = world.emulator.faults().fired();
    ensure!(faults > 0, "no fault was met");
    world.emulator.faults().clear();
    let ledgers = tokio::task::spawn_blocking(move || read_rest(&mut ledgers, &watch).map(|()| ledgers)).await??;
    let sum = |of: fn(&Ledger) -> usize| ledgers.iter().map(of).sum();
    let summary = Summary { events: sum(Ledger::seen), repeated: sum(Ledger::repeated), kills, faults };
    ensure!(summary.events == events, "{} of {events} events are accounted for", summary.events);
    world.emulator.shutdown().await;
    Ok(summary)
}

/// Reads to the end of every partition, in as many lives as that takes.
fn read(seed: u64, record: &Arc<Record>, watch: &Watch) -> Result<(Vec<Ledger>, usize)> {
    let mut random = Rng::with_seed(seed ^ 0x5161_4B11);
    let mut ledgers: Vec<Ledger> =
        record.partitions().map(|partition| Ledger::new(record.clone(), partition)).collect();
    let (mut kills, mut quiet) = (0, 0);
    while ledgers.iter().any(|ledger| ledger.seen() < ledger.all()) {
        // Some are killed before they have said anything.
        let lines = if random.u32(..4) == 0 { 0 } else { random.usize(1..EVENTS_TO_A_KILL * 2) };
        let life = watch.start(&["watch", "--start", "earliest"], lines)?;
        let patience = QUIET * (quiet + 1);
        let mut last: Option<usize> = None;
        for _ in 0..lines {
            match life.next_line(patience) {
                Next::Line(line) => printed(&mut ledgers, &mut last, &line)?,
                Next::Ended => bail!("it ended by itself: {}", life.last_words()),
                Next::Silence => break,
            }
            if ledgers.iter().all(|ledger| ledger.seen() == ledger.all()) {
                break;
            }
        }
        let unheard = if lines == 0 { STARTING } else { UNHEARD };
        std::thread::sleep(Duration::from_millis(random.u64(unheard)));
        let words = life.last_words();
        for line in life.kill()? {
            printed(&mut ledgers, &mut last, &line)?;
        }
        quiet = if last.is_some() || lines == 0 { 0 } else { quiet + 1 };
        ensure!(quiet < MOST_QUIET, "{quiet} processes said nothing; the last one: {words}");
        kills += 1;
        ledgers.iter_mut().try_for_each(|ledger| ledger.enter(&Entry::Killed))?;
    }
    ledgers.iter().try_for_each(Ledger::finish)?;
    Ok((ledgers, kills))
}

/// What the last kill left in doubt comes now, and no more: the cursors are at the end.
fn read_rest(ledgers: &mut [Ledger], watch: &Watch) -> Result<()> {
    let pages = watch.start(&["poll", "--start", "earliest"], usize::MAX)?.end_well()?;
    ensure!(pages.len() == ledgers.len(), "{} pages of {} partitions", pages.len(), ledgers.len());
    let mut last = None;
    for page in pages {
        let page: Value = serde_json::from_str(&page)?;
        for event in page["events"].as_array().context("events")? {
            delivered(ledgers, &mut last, event)?;
        }
    }
    Ok(())
}

/// Enters a line that was printed: one event as JSON.
fn printed(ledgers: &mut [Ledger], last: &mut Option<usize>, line: &str) -> Result<()> {
    let event = serde_json::from_str(line).with_context(|| format!("not an event: {line}"))?;
    delivered(ledgers, last, &event)
}

/// Enters a delivery, and with it that the one before it was committed, of whatever partition that was.
fn delivered(ledgers: &mut [Ledger], last: &mut Option<usize>, event: &Value) -> Result<()> {
    if let Some(before) = *last {
        ledgers[before].commit_delivered()?;
    }
    let id = event["id"].as_str().context("an id")?.to_owned();
    let partition: usize = event["partition"].as_str().context("a partition")?.parse()?;
    let data = event["data"].get("json").with_context(|| format!("the data of {id} is not JSON"))?.clone();
    let ledger = ledgers.get_mut(partition).with_context(|| format!("there is no partition {partition}"))?;
    ledger.enter(&Entry::Delivered(Delivery { id, data }))?;
    *last = Some(partition);
    Ok(())
}

/// How the program is started.
struct Watch {
    program: PathBuf,
    folder: tempfile::TempDir,
    event_hub: String,
    component: PathBuf,
}

impl Watch {
    fn new(account: &Value, event_hub: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("account.json"), account.to_string())?;
        std::fs::write(folder.path().join("config.json"), "{}")?;
        Ok(Self { program: host_program()?, folder, event_hub: event_hub.to_owned(), component: component()? })
    }

    /// Starts it. After so many lines nobody listens, until it has ended.
    fn start(&self, command: &[&str], heard: usize) -> Result<Life> {
        let path = |name: &str| self.folder.path().join(name);
        let errors = path("errors");
        let mut child = Command::new(&self.program)
            .arg("--json")
            .arg("--component")
            .arg(&self.component)
            .arg("--connection")
            .arg(path("account.json"))
            .arg("--cache")
            .arg(workspace().join("target/compiled"))
            .args(["--allow-private-networks", "--allow-host", "localhost", "--allow-host", &self.event_hub])
            .args(command)
            .arg(crate::TELEMETRY)
            .arg("--config")
            .arg(path("config.json"))
            .arg("--cursor")
            .arg(path("cursors"))
            .env_remove("CONNECTOR_CONNECTION")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors)?)
            .spawn()
            .with_context(|| format!("{} does not start", self.program.display()))?;
        let mut stdout = BufReader::new(child.stdout.take().context("its output")?);
        let (sender, lines) = channel();
        let (living, ended) = channel::<()>();
        std::thread::spawn(move || {
            for number in 0.. {
                if number == heard {
                    // Nothing is ever sent: this is over once the other end is dropped.
                    let _ = ended.recv();
                }
                let mut line = String::new();
                // A line that it had begun when it was killed is none.
                let whole = stdout.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n');
                if !whole || sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Life { child, lines, living: Some(living), errors })
    }
}

/// A process, from its start to its end.
struct Life {
    child: Child,
    lines: Receiver<String>,
    /// Dropped once it has ended, so that the rest of its lines is heard.
    living: Option<Sender<()>>,
    errors: PathBuf,
}

enum Next {
    Line(String),
    Ended,
    Silence,
}

impl Life {
    fn next_line(&self, patience: Duration) -> Next {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Next::Line(line),
            Err(RecvTimeoutError::Disconnected) => Next::Ended,
            Err(RecvTimeoutError::Timeout) => Next::Silence,
        }
    }

    /// Kills it, and returns what it had printed before.
    fn kill(mut self) -> Result<Vec<String>> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it ended by itself with {status}: {}", self.last_words());
        }
        self.child.kill()?;
        self.child.wait()?;
        self.living = None;
        Ok(self.lines.iter().collect())
    }

    /// Waits for its good end, and returns what it printed.
    fn end_well(mut self) -> Result<Vec<String>> {
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(begun.elapsed() < PATIENCE, "it does not end: {}", self.last_words());
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "it ended with {status}: {}", self.last_words());
        Ok(self.lines.iter().collect())
    }

    fn last_words(&self) -> String {
        let mut words = String::new();
        let read = File::open(&self.errors).and_then(|mut file| file.read_to_string(&mut words));
        read.map_or_else(|error| error.to_string(), |_| words)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
