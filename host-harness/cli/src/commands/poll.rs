//! `poll`.

use std::path::PathBuf;

use clap::Args;
use connector_host::CallError;
use connector_host::interface::metadata::StartMode;
use connector_host::interface::trigger::{Budget, Event, LostPolicy, Notice, Partition, Payload, PollRequest, Start};

use super::cursor::Cursors;
use super::output::{Output, clean, word};
use super::session::{Linked, Session};
use super::{Done, files, usage};

/// The arguments that `poll` and `watch` share.
#[derive(Debug, Args)]
pub(crate) struct TriggerArguments {
    /// The id of the trigger.
    pub(crate) trigger: String,
    /// A file with the trigger's configuration, as a JSON object (- is standard input).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The database file that keeps the cursors. It is created if it does not exist, and can keep the cursors of
    /// several triggers [default: the cursors are not kept].
    #[arg(long, value_name = "FILE")]
    pub(crate) cursor: Option<PathBuf>,
    /// Where to begin if there is no cursor: now, earliest, at-time=RFC3339 or at-position=TEXT [default: now or
    /// earliest, whichever the trigger lists first].
    #[arg(long, value_parser = start)]
    pub(crate) start: Option<Start>,
    /// What to do if the cursor's position no longer exists at the service: stop, or continue at earliest or now.
    #[arg(long, default_value = "stop", value_parser = lost_policy)]
    pub(crate) on_position_lost: LostPolicy,
    /// Poll only this partition; '' polls all partitions in one poll with one cursor [default: all partitions, each in
    /// a poll of its own].
    #[arg(long, value_name = "ID")]
    pub(crate) partition: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PollArguments {
    #[command(flatten)]
    trigger: TriggerArguments,
    /// The largest number of events that one poll returns.
    #[arg(long, default_value_t = Budget::default().events, value_parser = clap::value_parser!(u32).range(1..))]
    events: u32,
    /// How long a poll waits for a first event, in milliseconds.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    wait: u64,
}

fn start(text: &str) -> Result<Start, String> {
    Ok(match text.split_once('=') {
        None if text == "now" => Start::Now,
        None if text == "earliest" => Start::Earliest,
        Some(("at-time", instant)) => Start::AtTime(instant.to_owned()),
        Some(("at-position", position)) => Start::AtPosition(position.to_owned()),
        _ => return Err("must be now, earliest, at-time=RFC3339 or at-position=TEXT".to_owned()),
    })
}

/// The first of the trigger's start modes that needs neither a time nor a position; `now` if there is none.
fn default_start(modes: &[StartMode]) -> Start {
    let usable = modes.iter().find_map(|mode| match mode {
        StartMode::Now => Some(Start::Now),
        StartMode::Earliest => Some(Start::Earliest),
        StartMode::AtTime | StartMode::AtPosition => None,
    });
    usable.unwrap_or(Start::Now)
}

fn lost_policy(text: &str) -> Result<LostPolicy, String> {
    match text {
        "stop" => Ok(LostPolicy::Stop),
        "earliest" => Ok(LostPolicy::Earliest),
        "now" => Ok(LostPolicy::Now),
        _ => Err("must be stop, earliest or now".to_owned()),
    }
}

/// A trigger that is about to be polled.
pub(crate) struct Polling {
    pub(crate) linked: Linked,
    pub(crate) cursors: Cursors,
    only: Option<String>,
    request: PollRequest,
}

impl Polling {
    pub(crate) async fn begin(session: &Session<'_>, arguments: TriggerArguments) -> Done<Self> {
        let config = files::read_json(arguments.config.as_deref()).map_err(usage)?;
        let linked = session.linked().await?;
        let Linked { connector, tenant, .. } = &linked;
        let trigger = arguments.trigger;
        let cursors = Cursors::open(arguments.cursor.as_deref(), connector, tenant, &trigger).await?;
        let declared = connector.descriptor().triggers.iter().find(|declared| declared.operation.id == trigger);
        // The connector itself refuses a trigger that it does not declare.
        let default = declared.map_or(Start::Now, |declared| default_start(&declared.start_modes));
        let request = PollRequest {
            trigger,
            partition: String::new(),
            config,
            start: arguments.start.unwrap_or(default),
            on_position_lost: arguments.on_position_lost,
            cursor: None,
            budget: Budget::default(),
        };
        Ok(Self { linked, cursors, only: arguments.partition, request })
    }

    /// The ids of the partitions to poll.
    pub(crate) async fn partitions(&self) -> Result<Vec<String>, CallError> {
        if let Some(partition) = &self.only {
            return Ok(vec![partition.clone()]);
        }
        let Linked { connector, tenant, connection } = &self.linked;
        let found =
            connector.account(tenant, connection).partitions(&self.request.trigger, &self.request.config).await?;
        Ok(found.into_iter().map(|Partition { id, .. }| id).collect())
    }

    /// The request for the next poll of a partition.
    pub(crate) fn request(&self, partition: &str, budget: Budget) -> PollRequest {
        PollRequest {
            partition: partition.to_owned(),
            cursor: self.cursors.get(partition).cloned(),
            budget,
            ..self.request.clone()
        }
    }
}

/// Polls each partition one time, and commits its cursor after its events were printed.
pub(crate) async fn run(session: &Session<'_>, output: &Output, arguments: PollArguments) -> Done {
    let PollArguments { trigger, events, wait } = arguments;
    let budget = Budget { events, wait_ms: wait, ..Budget::default() };
    let mut polling = Polling::begin(session, trigger).await?;
    for partition in polling.partitions().await? {
        let Linked { connector, tenant, connection } = &polling.linked;
        let request = polling.request(&partition, budget);
        let page = {
            let _spinner = output.spinner("polling");
            connector.account(tenant, connection).poll(&request).await?
        };
        if output.is_json() {
            output.json(&page)?;
        } else {
            page.notices.iter().for_each(|notice| print_notice(output, notice));
            page.events.iter().try_for_each(|event| print_event(output, event))?;
            let more = if page.more { ", and there are more" } else { "" };
            let lag = page.lag.map(|lag| format!(", {lag} waiting")).unwrap_or_default();
            let whence = if partition.is_empty() { "all partitions" } else { &format!("partition {partition}") };
            output.line(&format!(
                "{} from {whence}{more}{lag}; next poll in {} ms.",
                match page.events.len() {
                    1 => "1 event".to_owned(),
                    count => format!("{count} events"),
                },
                if page.more { 0 } else { page.wait_hint_ms }
            ))?;
        }
        polling.cursors.commit(&partition, page.next)?;
    }
    Ok(())
}

/// Prints one event: a summary line, and the event's data.
pub(crate) fn print_event(output: &Output, event: &Event) -> Done {
    if output.is_json() {
        return output.json(event);
    }
    let time = event.time.as_deref().unwrap_or("-");
    output.line(&format!("{time}  {}  {}", event.event_type, event.summary))?;
    match &event.data {
        Payload::Json(text) => {
            let indented = serde_json::from_str::<serde_json::Value>(text)
                .and_then(|value| serde_json::to_string_pretty(&value))
                .unwrap_or_else(|_| clean(text));
            output.line(&indented.lines().map(|line| format!("    {line}\n")).collect::<String>())
        }
        Payload::Text(text) => output.line(&format!("    {text}\n")),
        Payload::Bytes(bytes) => output.line(&format!("    ({} bytes)\n", bytes.len())),
    }
}

/// Prints a notice on standard error.
pub(crate) fn print_notice(output: &Output, notice: &Notice) {
    output.warn(&format!("{}: {} ({})", word(&notice.severity), notice.message, notice.code));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_mode_that_needs_no_value_is_the_default() {
        use StartMode::{AtPosition, AtTime, Earliest, Now};
        for (modes, expected) in [
            (&[Earliest, AtTime, Now][..], Start::Earliest),
            (&[AtTime, Now, Earliest], Start::Now),
            (&[AtPosition], Start::Now),
            (&[], Start::Now),
        ] {
            assert_eq!(default_start(modes), expected, "{modes:?}");
        }
    }

    #[test]
    fn reads_start_modes() {
        assert_eq!(start("now").unwrap(), Start::Now);
        assert_eq!(start("at-time=2026-01-01T00:00:00Z").unwrap(), Start::AtTime("2026-01-01T00:00:00Z".into()));
        assert_eq!(start("at-position=a=b").unwrap(), Start::AtPosition("a=b".into()));
        assert!(start("later").is_err());
        assert!(start("now=1").is_err());
    }
}
