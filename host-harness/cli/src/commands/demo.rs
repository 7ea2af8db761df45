//! `demo`.

mod live;
mod print;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use connector_host::interface::connection::{Report, Validation};
use connector_host_cli::demo::{Demo, DemoError, DemoOptions, Fleet, PLANT, Script, Summary};
use serde_json::json;

use self::live::Live;
use super::output::{FIELD_HEADER, Output, field_rows};
use super::session::Session;
use super::signals::interrupted;
use super::{Done, Exit, files, test, usage};

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Which workflow to run [default: cooling; with --fleet, commissioning].
    #[arg(long, value_enum)]
    workflow: Option<WorkflowChoice>,
    /// A CSV file of the devices to commission; fleets/README.md explains the columns [default: the 200 devices of
    /// fleets/plant.csv].
    #[arg(long, value_name = "FILE")]
    fleet: Option<PathBuf>,
    /// The seed of the random choices: keys, overloads and the moments of failures.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The factor by which the run is faster than planned, such as 2.5.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = speed)]
    speed: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WorkflowChoice {
    /// Machines send telemetry. The workflow cools hot machines by a direct method and an update of the twin.
    Cooling,
    /// Devices are enrolled, register, change and leave. The workflow tags and tests devices, and disables those that
    /// left.
    Commissioning,
    /// Both workflows, at the same time.
    Both,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "must be a number, such as 2.5".to_owned())?;
    if (0.01..=100.0).contains(&speed) { Ok(speed) } else { Err("must be a number from 0.01 to 100".to_owned()) }
}

impl From<DemoError> for Exit {
    fn from(error: DemoError) -> Self {
        match error {
            DemoError::Call(error) => Self::Call(error),
            error => Self::Failed(error.into()),
        }
    }
}

/// Runs the demonstration. Fails if its self-check finds a difference.
pub(crate) async fn run(session: &Session<'_>, output: &Output, arguments: DemoArguments) -> Done {
    let begun = Instant::now();
    let options = DemoOptions { script: script(&arguments)?, seed: arguments.seed, speed: arguments.speed };
    let connector = session.connector().await?;
    let descriptor = connector.descriptor();
    let title = format!("{} {} ({})", descriptor.title, descriptor.version, descriptor.id);
    let loaded = begun.elapsed();
    let demo = Demo::start(connector, options.clone()).await?;
    let shown = tokio::select! {
        biased;
        () = interrupted() => Err(Exit::Said),
        shown = show(&demo, output, &title, loaded, &options.script) => shown,
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
        print::summary(output, &summary, wall_ms)?;
    }
    if summary.check.holds { Ok(()) } else { Err(Exit::Said) }
}

fn script(arguments: &DemoArguments) -> Done<Script> {
    let usual = if arguments.fleet.is_some() { WorkflowChoice::Commissioning } else { WorkflowChoice::Cooling };
    let choice = arguments.workflow.unwrap_or(usual);
    if choice == WorkflowChoice::Cooling && arguments.fleet.is_some() {
        return Err(usage(anyhow!("`--fleet` is for the workflow `commissioning`, or for `both`")));
    }
    let commissioning = match choice {
        WorkflowChoice::Cooling => None,
        WorkflowChoice::Commissioning | WorkflowChoice::Both => Some(read_fleet(arguments)?),
    };
    Ok(Script { cooling: choice != WorkflowChoice::Commissioning, commissioning })
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

/// Runs the demonstration up to its end, and prints what a person is to see before that.
async fn show(
    demo: &Demo,
    output: &Output,
    title: &str,
    loaded: Duration,
    script: &Script,
) -> Done<(Validation, String, Report, Summary)> {
    let people = !output.is_json();
    let [hub, dps, event_hub] = demo.hosts();
    if people {
        output.line(&format!("Loaded {title} in {} ms.", loaded.as_millis()))?;
        output.line(&format!(
            "Emulator: IoT Hub at https://{hub}, its telemetry at amqps://{event_hub}, Device Provisioning Service at https://{dps}."
        ))?;
    }
    let (validation, label) = demo.validate().await?;
    if people {
        output.heading(&format!("Account {label}, checked without the network"))?;
        output.table(FIELD_HEADER, field_rows(&validation.problems))?;
    }
    let report = demo.test().await?;
    if people {
        output.heading("Permissions")?;
        test::permissions(output, report.permissions.clone())?;
        tell_story(output, script)?;
    }
    let live = Live::new(output);
    let summary = demo.run(&|now| live.report(now)).await;
    live.end();
    Ok((validation, label, report, summary?))
}

/// Prints what is about to happen.
fn tell_story(output: &Output, script: &Script) -> Done {
    if script.cooling {
        output.heading(
            "Cooling: 20 furnaces and 10 sensors send telemetry, and the furnaces are overloaded now and then.",
        )?;
        output.line(
            "The trigger `device-telemetry` delivers only readings above 80 °C; for each the workflow calls the direct method\n\
             `startCooling` and patches the device's twin, and the furnace cools down. Meanwhile connections break, links\n\
             are detached, the hub throttles, furnaces lose their connection, and the engine's loops die and go on.",
        )?;
    }
    if let Some(fleet) = &script.commissioning {
        output.heading(&format!(
            "Commissioning: {} devices are enrolled, register, change and leave.",
            fleet.devices.len()
        ))?;
        output.line(
            "Triggers deliver each change of an enrollment and a registration; the workflow tags devices, tests them and\n\
             shuts them out. Meanwhile requests fail, and the engine's loops die and go on.",
        )?;
    }
    output.line("")
}
