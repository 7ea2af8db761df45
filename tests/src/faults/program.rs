//! A reader in a process of its own: `connector-host watch`. It is killed at random moments, and continues from the
//! cursors in its database.
//!
//! The program promises to commit each event before it prints the next event. So after a kill, only the last printed
//! event may or may not be committed, over all partitions together.

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

/// A fault of links or connections hits one of this many first links or connections. The number is large, so that
/// faults rarely follow each other directly: each of them would double the pause.
const EARLY: usize = 30;

/// The average number of events between two kills.
const EVENTS_TO_A_KILL: usize = 200;

/// How long a process may print nothing before it is killed. After each process in a row that printed nothing at all,
/// the next process has this much more time. A process also prints nothing during its pauses after failures.
const QUIET: Duration = Duration::from_secs(4);

/// How many processes in a row may print nothing at all.
const MOST_QUIET: u32 = 15;

/// How long a process may take that ends by itself.
const PATIENCE: Duration = Duration::from_secs(180);

/// After how many milliseconds a process is killed, where its output is not read.
const STARTING: Range<u64> = 1..1_500;

/// After how many milliseconds a process is killed, after its output is no longer read. The process fills the pipe and
/// blocks in the middle of a line. If it committed a cursor too early, the event of that line would be lost.
const UNHEARD: Range<u64> = 0..400;

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many events were printed.
    pub events: usize,
    /// How many events were printed again.
    pub repeated: usize,
    /// How many processes were killed.
    pub kills: usize,
    /// How many faults the emulator's rules caused.
    pub faults: u64,
}

/// Sends events over four partitions. `connector-host watch` reads them while connections fail and while it is killed
/// again and again. Checks each promise of [`super::ledger`].
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
    ensure!(faults > 0, "no fault happened");
    world.emulator.faults().clear();
    let ledgers = tokio::task::spawn_blocking(move || read_rest(&mut ledgers, &watch).map(|()| ledgers)).await??;
    let sum = |of: fn(&Ledger) -> usize| ledgers.iter().map(of).sum();
    let summary = Summary { events: sum(Ledger::seen), repeated: sum(Ledger::repeated), kills, faults };
    ensure!(summary.events == events, "only {} of {events} events were delivered", summary.events);
    world.emulator.shutdown().await;
    Ok(summary)
}

/// Reads to the end of every partition, with as many processes as needed.
fn read(seed: u64, record: &Arc<Record>, watch: &Watch) -> Result<(Vec<Ledger>, usize)> {
    let mut random = Rng::with_seed(seed ^ 0x5161_4B11);
    let mut ledgers: Vec<Ledger> =
        record.partitions().map(|partition| Ledger::new(record.clone(), partition)).collect();
    let (mut kills, mut quiet) = (0, 0);
    while ledgers.iter().any(|ledger| ledger.seen() < ledger.all()) {
        // A quarter of the processes are killed before their output is read.
        let lines = if random.u32(..4) == 0 { 0 } else { random.usize(1..EVENTS_TO_A_KILL * 2) };
        let life = watch.start(&["watch", "--start", "earliest"], lines)?;
        let patience = QUIET * (quiet + 1);
        let mut last: Option<usize> = None;
        for _ in 0..lines {
            match life.next_line(patience) {
                Next::Line(line) => printed(&mut ledgers, &mut last, &line)?,
                Next::Ended => bail!("the process ended by itself: {}", life.last_words()),
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
        ensure!(quiet < MOST_QUIET, "{quiet} processes in a row printed nothing; errors of the last one: {words}");
        kills += 1;
        ledgers.iter_mut().try_for_each(|ledger| ledger.enter(&Entry::Killed))?;
    }
    ledgers.iter().try_for_each(Ledger::finish)?;
    Ok((ledgers, kills))
}

/// Reads once more. Only the event that the last kill left in doubt may come, because the cursors are at the end.
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

/// Enters a printed line, which is one event as JSON.
fn printed(ledgers: &mut [Ledger], last: &mut Option<usize>, line: &str) -> Result<()> {
    let event = serde_json::from_str(line).with_context(|| format!("not an event: {line}"))?;
    delivered(ledgers, last, &event)
}

/// Enters a delivery. It also commits the delivery before it, in whichever partition that was.
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

/// The program's command line and files.
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

    /// Starts the program. After `heard` lines, its output is not read until the process has ended.
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
                    // No value is ever sent. The call returns when the sender is dropped.
                    let _ = ended.recv();
                }
                let mut line = String::new();
                // A line that the kill cut off does not count.
                let whole = stdout.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n');
                if !whole || sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Life { child, lines, living: Some(living), errors })
    }
}

/// A running process.
struct Life {
    child: Child,
    lines: Receiver<String>,
    /// Dropped when the process has ended. The remaining lines are then read.
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

    /// Kills the process, and returns the lines that it had printed.
    fn kill(mut self) -> Result<Vec<String>> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the process ended by itself with {status}: {}", self.last_words());
        }
        self.child.kill()?;
        self.child.wait()?;
        self.living = None;
        Ok(self.lines.iter().collect())
    }

    /// Waits until the process ends without an error, and returns the lines that it printed.
    fn end_well(mut self) -> Result<Vec<String>> {
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(begun.elapsed() < PATIENCE, "it does not end: {}", self.last_words());
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "the process ended with {status}: {}", self.last_words());
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
        // This fails for a process that has ended already, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
