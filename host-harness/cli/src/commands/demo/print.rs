//! The summary of a run, for people.

use std::collections::BTreeMap;

use connector_host_cli::demo::{CommissioningSummary, CoolingSummary, Latency, Summary, TrafficNumbers};

use super::super::Done;
use super::super::output::{Output, word};

/// The largest number of alarms, and of dead letters, that are listed.
const MOST: usize = 6;

/// Prints the whole summary of a run.
pub(super) fn summary(output: &Output, summary: &Summary, wall_ms: u64) -> Done {
    if let Some(it) = &summary.cooling {
        cooling(output, it)?;
    }
    if let Some(it) = &summary.commissioning {
        commissioning(output, it)?;
    }
    actions(output, summary)?;
    times(output, summary)?;
    failures(output, summary)?;
    check(output, summary)?;
    let TrafficNumbers { requests, bytes, .. } = summary.traffic;
    output.heading(&format!(
        "Seed {}; {requests} requests, {:.1} MB over HTTP; run {:.1} s, all {:.1} s.",
        summary.seed,
        bytes as f64 / 1e6,
        summary.elapsed_ms as f64 / 1e3,
        wall_ms as f64 / 1e3,
    ))?;
    output.line(if summary.check.holds {
        "Self-check: ✓ nothing was lost, doubled or made up."
    } else {
        "Self-check: ✗ see what differs above."
    })
}

fn cooling(output: &Output, summary: &CoolingSummary) -> Done {
    let hot: u64 = summary.partitions.iter().map(|it| it.hot_readings).sum();
    output.heading(&format!(
        "Telemetry: {} messages, of which {hot} were hot; {} answered, {} parked",
        summary.sent,
        summary.answered,
        summary.dead_letters.len()
    ))?;
    let rows = summary.partitions.iter().map(|it| {
        let again = it.deliveries.saturating_sub(it.hot_readings);
        [&it.hot_readings, &it.deliveries, &again, &it.commits, &it.restarts].map(u64::to_string)
    });
    let rows = summary.partitions.iter().zip(rows).map(|(it, [hot, delivered, again, commits, restarts])| {
        [it.id.clone(), hot, delivered, again, commits, restarts]
    });
    output.table(
        ["Partition", "Hot readings", "Deliveries", "Of these, repeated after a restart", "Commits", "Restarts"],
        rows.collect(),
    )?;
    output.heading("Machines that ran hot")?;
    let rows = summary.machines.iter().filter(|it| it.cooled > 0 || it.stopped).map(|it| {
        [
            it.device_id.clone(),
            format!("{:.1} °C", it.hottest),
            it.cooled.to_string(),
            format!("{:.1} °C", it.temperature),
            if it.stopped { "switched itself off: nobody could cool it" } else { "" }.to_owned(),
        ]
    });
    output.table(["Machine", "Hottest", "Cooled", "At the end", ""], rows.collect())?;
    if !summary.dead_letters.is_empty() {
        output.heading("Dead letters: events that were given up on, so that their partition could go on")?;
        let rows = summary.dead_letters.iter().take(MOST).map(|it| {
            [
                it.device_id.clone(),
                format!("{:.1} °C", it.temperature),
                it.action.clone(),
                it.tries.to_string(),
                it.message.clone(),
            ]
        });
        output.table(["Device", "Reading", "Action", "Tries", "Last error"], rows.collect())?;
        more(output, summary.dead_letters.len())?;
    }
    Ok(())
}

fn commissioning(output: &Output, summary: &CommissioningSummary) -> Done {
    let plant = &summary.plant;
    output.heading(&format!(
        "Plant: {} devices, {} enrollments, {} registrations, {} refused, {} left",
        plant.devices, plant.enrolled, plant.registered, plant.refused, plant.left
    ))?;
    let events = summary.events.iter();
    output.table(
        ["Trigger", "Change", "Events"],
        events.map(|it| [it.trigger.clone(), it.change.clone(), it.count.to_string()]).collect(),
    )?;
    for changes in &summary.changes {
        output.line(&format!(
            "{}: {} changes became {} events; of several changes of one record between two polls, the last is delivered.",
            word(&changes.collection),
            changes.recorded,
            changes.told,
        ))?;
    }
    if !summary.alarms.is_empty() {
        output.heading(&format!("Alarms: {}", summary.alarms.len()))?;
        let rows = summary.alarms.iter().take(MOST);
        output.table(
            ["Device", "Status", "What the service says"],
            rows.map(|it| [it.registration_id.clone(), it.status.clone(), it.message.clone()]).collect(),
        )?;
        more(output, summary.alarms.len())?;
    }
    Ok(())
}

fn more(output: &Output, all: usize) -> Done {
    match all.saturating_sub(MOST) {
        0 => Ok(()),
        more => output.line(&format!("and {more} more; `--json` has them all")),
    }
}

fn actions(output: &Output, summary: &Summary) -> Done {
    output.heading("Actions")?;
    let rows = summary.actions.iter().map(|it| {
        let repeats = if it.repeats == 0 { String::new() } else { it.repeats.to_string() };
        [it.caller.to_owned(), it.action.clone(), it.outcome.clone(), it.count.to_string(), repeats]
    });
    output.table(["Caller", "Action", "Outcome", "Calls", "Repeated by the engine"], rows.collect())
}

fn times(output: &Output, summary: &Summary) -> Done {
    output.heading("Times, including the pauses between polls and after failures")?;
    let latency = |name: &str, it: &Latency| {
        let ms = |value: f64| format!("{value:.1} ms");
        [name.to_owned(), it.count.to_string(), ms(it.p50_ms), ms(it.p95_ms), ms(it.max_ms)]
    };
    let mut rows = Vec::new();
    rows.extend(summary.cooling.as_ref().map(|it| latency("hot reading to the machine's answer", &it.reaction)));
    rows.extend(summary.commissioning.as_ref().map(|it| latency("change in the service to event", &it.event_latency)));
    rows.extend(summary.action_latency.iter().map(|(action, it)| latency(action, it)));
    output.table(["", "Count", "p50", "p95", "max"], rows)
}

fn failures(output: &Output, summary: &Summary) -> Done {
    output.heading("Failures overcome")?;
    let traffic = &summary.traffic;
    let mut polls: BTreeMap<String, u64> = BTreeMap::new();
    let mut notices = polls.clone();
    let mut restarts = polls.clone();
    let add = |to: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>| {
        from.iter().for_each(|(name, count)| *to.entry(name.clone()).or_default() += count);
    };
    if let Some(it) = &summary.cooling {
        add(&mut polls, &it.poll_failures);
        add(&mut notices, &it.notices);
        let count = it.partitions.iter().map(|partition| partition.restarts).sum();
        restarts.insert("device-telemetry".to_owned(), count);
    }
    if let Some(it) = &summary.commissioning {
        add(&mut polls, &it.polling.failures);
        add(&mut notices, &it.polling.notices);
        add(&mut restarts, &it.polling.crashes);
    }
    let mut injected = traffic.failed.clone();
    let others = traffic.injected.saturating_sub(injected.values().sum());
    if others > 0 {
        injected.insert("in AMQP, or in the body of an answer".to_owned(), others);
    }
    let rows = [
        ("injected by the emulator", traffic.injected, &injected),
        ("overcome by retries inside of the component", traffic.overcome_inside, &BTreeMap::new()),
        ("reached the engine from a poll, which the engine repeated", polls.values().sum(), &polls),
        (
            "reached the engine from an action, which the engine repeated",
            summary.action_failures.values().sum(),
            &summary.action_failures,
        ),
        ("notices of the component", notices.values().sum(), &notices),
        ("engine died and went on from its committed cursor", restarts.values().sum(), &restarts),
    ];
    let text = |counts: &BTreeMap<String, u64>| {
        counts.iter().map(|(name, count)| format!("{name} × {count}")).collect::<Vec<_>>().join("\n")
    };
    output.table(
        ["Failures", "Count", ""],
        rows.map(|(name, count, which)| [name.to_owned(), count.to_string(), text(which)]).into(),
    )
}

fn check(output: &Output, summary: &Summary) -> Done {
    output.heading("Component compared with emulator")?;
    let rows = summary.check.lines.iter().map(|line| {
        [
            if line.holds { "✓" } else { "✗" }.to_owned(),
            line.name.clone(),
            line.component.to_string(),
            line.emulator.to_string(),
            line.differences.join("\n"),
        ]
    });
    output.table(["", "Compared", "Component", "Emulator", "What differs"], rows.collect())
}
