//! `watch`.

use std::time::Duration;

use clap::Args;
use connector_host::CallError;
use connector_host::interface::trigger::{Budget, Page};
use connector_host::interface::types::{Cursor, Retry};
use tokio::time::{Instant, sleep_until};

use super::output::Output;
use super::poll::{Polling, TriggerArguments, print_event, print_notice};
use super::session::{Linked, Session, seconds};
use super::signals::interrupted;
use super::{Done, Exit};

/// The first pause after a failure, doubled with each one after it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Failures of the connector itself (crashes, exceeded limits) in a row after which to give up.
const DEFECTS: u32 = 5;

#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    #[command(flatten)]
    trigger: TriggerArguments,
    /// End after so many events.
    #[arg(long, value_name = "EVENTS")]
    until: Option<u64>,
    /// The pause between polls [default: what the connector advises].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    interval: Option<Duration>,
}

/// When a partition is polled next, and how it fared.
struct Progress {
    partition: String,
    due: Instant,
    failures: u32,
    defects: u32,
}

/// Polls until it is interrupted or has enough events, committing each event once it was printed.
///
/// An interruption while a poll is under way drops the poll, which changes nothing; one while events are
/// printed takes effect after the page.
pub(crate) async fn run(session: &Session<'_>, output: &Output, arguments: WatchArguments) -> Done {
    let mut polling = Polling::begin(session, arguments.trigger).await?;
    let mut left = arguments.until;
    let mut progress: Vec<Progress> = polling
        .partitions
        .iter()
        .map(|partition| Progress { partition: partition.clone(), due: Instant::now(), failures: 0, defects: 0 })
        .collect();
    let single = progress.len() == 1;
    let interrupted = interrupted();
    tokio::pin!(interrupted);
    output.warn("watching; Ctrl-C ends it");
    while left != Some(0) {
        let Some(next) = progress.iter_mut().min_by_key(|progress| progress.due) else { break };
        let budget = budget(left, single, polling.linked.tenant.deadline());
        let request = polling.request(&next.partition, budget);
        let Linked { connector, tenant, connection } = &polling.linked;
        let poll = async {
            sleep_until(next.due).await;
            connector.poll(tenant, connection, &request).await
        };
        let result = tokio::select! {
            biased;
            () = &mut interrupted => break,
            result = poll => result,
        };
        let pause = match result {
            Ok(page) => {
                (next.failures, next.defects) = (0, 0);
                let pause = match arguments.interval {
                    _ if page.more => Duration::ZERO,
                    Some(interval) => interval,
                    None => Duration::from_millis(page.wait_hint_ms),
                };
                fire(output, &mut polling, &next.partition, request.cursor.as_ref(), page, &mut left)?;
                pause
            }
            Err(error) => {
                let pause = pause_after(&error, next).ok_or(Exit::Call(error.clone()))?;
                output.warn(&format!("{error}; trying again in {} ms", pause.as_millis()));
                pause
            }
        };
        next.due = Instant::now() + pause;
    }
    Ok(())
}

fn budget(left: Option<u64>, single: bool, deadline: Duration) -> Budget {
    let default = Budget::default();
    let events = left.map_or(default.events, |left| u32::try_from(left).unwrap_or(u32::MAX).min(default.events));
    // With several partitions a wait on one would hold up the others.
    let wait = if single { deadline / 2 } else { Duration::ZERO };
    Budget { events, wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), ..default }
}

/// Prints the events of a page, each one committed once it is out.
fn fire(
    output: &Output,
    polling: &mut Polling,
    partition: &str,
    given: Option<&Cursor>,
    page: Page,
    left: &mut Option<u64>,
) -> Done {
    page.notices.iter().for_each(|notice| print_notice(output, notice));
    for event in &page.events {
        print_event(output, event)?;
        polling.cursors.commit(partition, event.cursor(given))?;
        if let Some(left) = left {
            *left = left.saturating_sub(1);
        }
    }
    polling.cursors.commit(partition, page.next)
}

/// How long to wait after a failure; none where waiting does not help.
fn pause_after(error: &CallError, progress: &mut Progress) -> Option<Duration> {
    let doublings = progress.failures.min(6);
    progress.failures += 1;
    let growing = (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
    match error {
        CallError::Connector(failure) => match failure.error.retry {
            Retry::After(ms) => Some(Duration::from_millis(ms)),
            Retry::Backoff => Some(growing),
            Retry::Never | Retry::AfterReauthentication | Retry::AfterReconfiguration => None,
        },
        CallError::Deadline { .. } | CallError::Busy { .. } => Some(growing),
        CallError::Egress(_) | CallError::Cancelled => None,
        _ => {
            progress.defects += 1;
            (progress.defects < DEFECTS).then_some(growing)
        }
    }
}
