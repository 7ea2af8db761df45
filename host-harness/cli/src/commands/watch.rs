//! `watch`: every partition is polled by a task with a warm instance of its own. Only [`run`] prints and commits.

mod task;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use connector_host::CallError;
use connector_host::interface::trigger::Page;
use connector_host::interface::types::{Cursor, Retry};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::task::{Failures, Task, Update};
use self::view::{View, trying_again};
use super::cursor::Cursors;
use super::output::Output;
use super::poll::{Polling, TriggerArguments, print_event, print_notice};
use super::session::{Linked, PARALLEL, Session, seconds};
use super::signals::interrupted;
use super::{Done, Exit};

/// The longest time that a poll waits for events. A person sees the events of a poll, or that there are none, only when
/// the poll returns.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    #[command(flatten)]
    trigger: TriggerArguments,
    /// End after this number of events.
    #[arg(long, value_name = "EVENTS")]
    until: Option<u64>,
    /// The pause between two polls, in seconds [default: the pause that the connector advises].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    interval: Option<Duration>,
}

/// Polls until it is interrupted or has enough events. Each event is committed after it was printed. A partition with
/// an error that does not pass is given up, and the others continue; an error of the account ends all of them. When the
/// polling has ended, the first such error is returned.
///
/// An interruption cancels the polls that are under way, which changes nothing at the service. Pages that were fetched
/// already are printed and committed before the program ends.
pub(crate) async fn run(session: &Session<'_>, output: &Output, arguments: WatchArguments) -> Done {
    let mut polling = Polling::begin(session, arguments.trigger).await?;
    let interrupted = interrupted();
    tokio::pin!(interrupted);
    let partitions = tokio::select! {
        biased;
        () = &mut interrupted => return Ok(()),
        partitions = partitions(&polling, output) => partitions?,
    };
    let Linked { connector, tenant, connection } = &polling.linked;
    let instance = connector.open(tenant, connection).await?;
    let left = Arc::new(AtomicU64::new(arguments.until.unwrap_or(u64::MAX)));
    let (stop, stopped) = watch::channel(false);
    let (sender, mut updates) = mpsc::channel(1);
    let turns = Arc::new(Semaphore::new(PARALLEL as usize));
    let crowd = u32::try_from(partitions.len()).unwrap_or(u32::MAX).div_ceil(PARALLEL).max(1);
    let mut tasks = JoinSet::new();
    for (index, partition) in partitions.iter().enumerate() {
        let task = Task {
            partition: index,
            instance: instance.sibling(),
            request: polling.request(partition, Default::default()),
            interval: arguments.interval,
            // At most half of the deadline, so that time is left for the answer. With more partitions than [`PARALLEL`]
            // the wait is shorter, because they take turns.
            wait: LONGEST_WAIT.min(tenant.deadline() / 2) / crowd,
            left: left.clone(),
            turns: turns.clone(),
            updates: sender.clone(),
            stopped: stopped.clone(),
        };
        tasks.spawn(task.run());
    }
    // Only the tasks hold senders now, so that the channel ends with the last task.
    drop((sender, stopped));

    let mut view = View::new(output, &partitions);
    output.warn(match partitions.len() {
        1 => "watching; Ctrl-C ends it",
        _ => "watching all partitions; Ctrl-C ends it",
    });
    let mut refresh = tokio::time::interval(view::REFRESH);
    let mut ended = Ok(());
    // The number of partitions that were not given up.
    let mut reading = partitions.len();
    let mut interruptible = true;
    if left.load(Ordering::Relaxed) == 0 {
        stop.send_replace(true);
    }
    loop {
        tokio::select! {
            biased;
            () = &mut interrupted, if interruptible => {
                interruptible = false;
                stop.send_replace(true);
            }
            _ = refresh.tick() => view.refresh(),
            update = updates.recv() => match update {
                None => break,
                Some(Update::Page { partition, given, page, committed }) => {
                    view.polled(partition, page.lag);
                    let id = &partitions[partition];
                    fire(&mut view, &mut polling.cursors, (partition, id), given.as_ref(), page, &left)?;
                    if left.load(Ordering::Relaxed) == 0 {
                        stop.send_replace(true);
                    }
                    // Sending fails if the task was stopped meanwhile; then nobody waits for the message.
                    let _ = committed.send(());
                }
                Some(Update::Failure { partition, error, pause }) => {
                    view.failed(partition, &error, pause);
                    if pause.is_none() {
                        // An error of one partition, or of one of its events, is no reason to give up the other
                        // partitions.
                        reading -= 1;
                        if is_about_the_account(&error) {
                            stop.send_replace(true);
                        } else if reading > 0 {
                            view.given_up(partition);
                        }
                        ended = ended.and(Err(Exit::Call(error)));
                    }
                }
            },
        }
    }
    view.finish();
    ended
}

/// Whether the error concerns the account: all partitions fail with it until the account is linked again.
fn is_about_the_account(error: &CallError) -> bool {
    error.connector().is_some_and(|error| error.retry == Retry::AfterReauthentication)
}

/// The ids of the partitions to watch. A failed request is repeated with the same pauses as a failed poll.
async fn partitions(polling: &Polling, output: &Output) -> Result<Vec<String>, CallError> {
    let mut failures = Failures::default();
    loop {
        match polling.partitions().await {
            Ok(partitions) => return Ok(partitions),
            Err(error) => {
                let Some(pause) = failures.pause_after(&error) else { return Err(error) };
                output.warn(&trying_again(&error, pause));
                sleep(pause).await;
            }
        }
    }
}

/// Prints the events of a page, and commits each one after it was printed. Stops when `left` is zero.
fn fire(
    view: &mut View<'_>,
    cursors: &mut Cursors,
    (partition, id): (usize, &str),
    given: Option<&Cursor>,
    page: Page,
    left: &AtomicU64,
) -> Done {
    for notice in &page.notices {
        view.aside(|output| print_notice(output, notice));
    }
    for event in &page.events {
        let wanted = left.load(Ordering::Relaxed);
        if wanted == 0 {
            // The next run delivers the rest of the page.
            return Ok(());
        }
        view.aside(|output| print_event(output, event))?;
        cursors.commit(id, event.cursor(given))?;
        view.fired(partition, event);
        if wanted != u64::MAX {
            left.store(wanted - 1, Ordering::Relaxed);
        }
    }
    cursors.commit(id, page.next)
}
