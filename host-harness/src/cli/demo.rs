//! `demo`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::Args;
use connector_host::demo::{Demo, DemoError, DemoOptions, Fleet, Latency, PLANT, Progress, Summary};
use connector_host::interface::connection::{Report, Validation};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::output::{FIELD_HEADER, Output, field_rows, word};
use super::session::Session;
use super::signals::interrupted;
use super::{Done, Exit, files, test, usage};

/// Between two lines of progress where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Alarms that are spelled out.
const MOST_ALARMS: usize = 6;

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// The plant's devices, a CSV file; fleets/README.md names the columns [default: the 200 of fleets/plant.csv].
    #[arg(long, value_name = "FILE")]
    fleet: Option<PathBuf>,
    /// Decides keys and the moments of failures.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How much faster than the file's times to run.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = speed)]
    speed: f64,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "a number, such as 2.5".to_owned())?;
    if (0.01..=100.0).contains(&speed) { Ok(speed) } else { Err("a number from 0.01 to 100".to_owned()) }
}

impl From<DemoError> for Exit {
    fn from(error: DemoError) -> Self {
        match error {
            DemoError::Call(error) => Self::Call(error),
            error => Self::Failed(error.into()),
        }
    }
}

/// Runs the demonstration; fails where its check does not hold.
pub(crate) async fn run(session: &Session<'_>, output: &Output, arguments: DemoArguments) -> Done {
    let begun = Instant::now();
    let fleet = read_fleet(&arguments)?;
    let connector = session.connector().await?;
    let descriptor = connector.descriptor();
    let title = format!("{} {} ({})", descriptor.title, descriptor.version, descriptor.id);
    let loaded = begun.elapsed();
    let options = DemoOptions { fleet, seed: arguments.seed, speed: arguments.speed };
    let devices = options.fleet.devices.len();
    let demo = Demo::start(connector, options).await?;
    let shown = tokio::select! {
        biased;
        () = interrupted() => Err(Exit::Said),
        shown = show(&demo, output, &title, loaded, devices) => shown,
    };
    demo.shutdown().await;
    let (validation, label, report, summary) = match shown {
        Ok(shown) => shown,
        Err(Exit::Said) => {
            output.warn("Interrupted; nothing was checked.");
            return Err(Exit::Said);
        }
        Err(exit) => return Err(exit),
    };
    let wall_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    if output.is_json() {
        output.json(&json!({
            "connector": title,
            "label": label,
            "validation": validation,
            "test": report,
            "summary": summary,
            "wallMs": wall_ms,
        }))?;
    } else {
        print(output, &summary, wall_ms)?;
    }
    if summary.check.holds { Ok(()) } else { Err(Exit::Said) }
}

fn read_fleet(arguments: &DemoArguments) -> Done<Fleet> {
    let text = match &arguments.fleet {
        Some(path) => files::read_text(path).map_err(usage)?,
        None => PLANT.to_owned(),
    };
    Fleet::parse(&text).map_err(|error| {
        let problems: String = error.problems.iter().map(|problem| format!("\n  {problem}")).collect();
        usage(anyhow!("{error}:{problems}"))
    })
}

/// Everything up to the end of the run, with what a person sees on the way.
async fn show(
    demo: &Demo,
    output: &Output,
    title: &str,
    loaded: Duration,
    devices: usize,
) -> Done<(Validation, String, Report, Summary)> {
    let people = !output.is_json();
    let [hub, dps] = demo.hosts();
    if people {
        output.line(&format!("Loaded {title} in {} ms.", loaded.as_millis()))?;
        output.line(&format!("Emulator: IoT Hub at https://{hub}, Device Provisioning Service at https://{dps}."))?;
    }
    let (validation, label) = demo.validate().await?;
    if people {
        output.heading(&format!("Account {label}, understood as"))?;
        output.table(FIELD_HEADER, field_rows(&validation.problems))?;
        output.json_text(&validation.normalized)?;
    }
    let report = demo.test().await?;
    if people {
        output.heading("Permissions")?;
        test::permissions(output, report.permissions.clone())?;
        output.heading(&format!("Running a plant of {devices} devices and a workflow on its events …"))?;
    }
    let progress = Live::new(people);
    let summary = demo.run(&|now| progress.tell(output, &now)).await;
    progress.end();
    Ok((validation, label, report, summary?))
}

/// Live progress: a bar on a terminal, otherwise a line now and then; both on standard error.
struct Live {
    bar: Option<ProgressBar>,
    told: Mutex<Option<Instant>>,
}

impl Live {
    fn new(people: bool) -> Self {
        let bar = (people && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(1000);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        // Machines are told nothing on the way.
        Self { bar, told: Mutex::new(people.then(Instant::now)) }
    }

    fn tell(&self, output: &Output, now: &Progress) {
        let plant = &now.plant;
        let text = format!(
            "{:4.1} s  {} enrolled, {} registered, {} refused, {} left | {} events, {} handled | {} actions | {} alarms | {} faults, {} restarts",
            now.at.as_secs_f64(),
            plant.enrolled,
            plant.registered,
            plant.refused,
            plant.left,
            now.events,
            now.handled,
            now.actions,
            now.alarms,
            now.injected,
            now.crashes,
        );
        match &self.bar {
            Some(bar) => {
                let share = now.at.as_secs_f64() / now.of.as_secs_f64().max(0.001);
                bar.set_position((share.min(1.0) * 1000.0) as u64);
                bar.set_message(text);
            }
            None => {
                let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if let Some(last) = &mut *told
                    && last.elapsed() >= LINE_INTERVAL
                {
                    *last = Instant::now();
                    output.warn(&text);
                }
            }
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end();
    }
}

fn print(output: &Output, summary: &Summary, wall_ms: u64) -> Done {
    let Summary { plant, polling, traffic, .. } = summary;
    output.heading("Events")?;
    let events = summary.events.iter();
    output.table(
        ["Trigger", "Change", "Events"],
        events.map(|it| [it.trigger.clone(), it.change.clone(), it.count.to_string()]).collect(),
    )?;
    output.heading("Actions")?;
    let rows = summary.actions.iter().map(|it| {
        let repeats = if it.repeats == 0 { String::new() } else { it.repeats.to_string() };
        [it.caller.to_owned(), it.action.clone(), it.outcome.clone(), it.count.to_string(), repeats]
    });
    output.table(["Caller", "Action", "Outcome", "Calls", "Repeated by the engine"], rows.collect())?;
    if !summary.alarms.is_empty() {
        output.heading(&format!("Alarms: {}", summary.alarms.len()))?;
        let rows = summary.alarms.iter().take(MOST_ALARMS);
        output.table(
            ["Device", "Status", "What the service says"],
            rows.map(|it| [it.registration_id.clone(), it.status.clone(), it.message.clone()]).collect(),
        )?;
        let more = summary.alarms.len().saturating_sub(MOST_ALARMS);
        if more > 0 {
            output.line(&format!("and {more} more; `--json` has them all"))?;
        }
    }
    output.heading("Time, with the pauses between polls and those that failures force")?;
    let latency = |name: String, it: &Latency| {
        let ms = |value: f64| format!("{value:.1} ms");
        [name, it.count.to_string(), ms(it.p50_ms), ms(it.p95_ms), ms(it.max_ms)]
    };
    let mut rows = vec![latency("change in the service to event".to_owned(), &summary.event_latency)];
    rows.extend(summary.action_latency.iter().map(|(action, it)| latency(action.clone(), it)));
    output.table(["", "Count", "p50", "p95", "max"], rows)?;

    output.heading("Failures overcome")?;
    let counts = |counts: &std::collections::BTreeMap<String, u64>| {
        counts.iter().map(|(name, count)| format!("{name} × {count}")).collect::<Vec<_>>().join(", ")
    };
    let rows = [
        ("injected by the emulator", traffic.injected.to_string(), counts(&traffic.failed)),
        ("overcome by retries inside of the component", traffic.overcome_inside.to_string(), String::new()),
        (
            "reached the engine from a poll, which it made again",
            polling.failures.values().sum::<u64>().to_string(),
            counts(&polling.failures),
        ),
        ("notices of the component", polling.notices.values().sum::<u64>().to_string(), counts(&polling.notices)),
        (
            "engine died and went on from its committed cursor",
            polling.crashes.values().sum::<u64>().to_string(),
            counts(&polling.crashes),
        ),
    ];
    output.table(
        ["Failures", "Count", ""],
        rows.into_iter().map(|(name, count, which)| [name.to_owned(), count, which]).collect(),
    )?;

    output.heading("Component beside emulator")?;
    let rows = summary.check.lines.iter().map(|line| {
        [
            if line.holds { "✓" } else { "✗" }.to_owned(),
            line.name.clone(),
            line.component.to_string(),
            line.emulator.to_string(),
            line.differences.join("\n"),
        ]
    });
    output.table(["", "Compared", "Component", "Emulator", "What differs"], rows.collect())?;
    for changes in &summary.check.changes {
        output.line(&format!(
            "{}: {} changes became {} events; of several changes of one record between two polls, the last is told.",
            word(&changes.collection),
            changes.recorded,
            changes.told,
        ))?;
    }
    output.heading(&format!(
        "{} devices, {} enrollments, {} registrations, {} refused, {} left; {} polls, {} scans; {} requests, {:.1} MB; run {:.1} s, all {:.1} s.",
        plant.devices,
        plant.enrolled,
        plant.registered,
        plant.refused,
        plant.left,
        polling.polls,
        polling.scans,
        traffic.requests,
        traffic.bytes as f64 / 1e6,
        summary.elapsed_ms as f64 / 1e3,
        wall_ms as f64 / 1e3,
    ))?;
    output.line(if summary.check.holds {
        "Self-check: ✓ nothing was lost, doubled or made up."
    } else {
        "Self-check: ✗ see what differs above."
    })
}
