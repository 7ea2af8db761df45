//! Reading a partition: one poll after the other, on a warm instance that keeps its link to the hub open.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::super::DemoError;
use super::super::actions::{code, pause_after};
use super::ledger::Ledger;
use connector_host::Account;
use connector_host::interface::trigger::{Page, PollRequest};
use connector_host::interface::types::Cursor;

/// The number of failed polls in a row after which a trigger counts as broken.
const FAILURES: u32 = 20;

/// A page, and the cursor that its poll was given.
pub(super) struct Read {
    pub(super) given: Option<Cursor>,
    pub(super) page: Page,
}

/// Reads one partition, one page ahead of the work on its events.
pub(super) struct Reader {
    pub(super) instance: Account,
    /// The request for the next poll.
    pub(super) request: PollRequest,
    pub(super) ledger: Arc<Ledger>,
    /// True after the machines and sensors have sent their last message.
    pub(super) done: watch::Receiver<bool>,
    /// The channel has room for one page, so that the reader waits for the work.
    pub(super) pages: mpsc::Sender<Read>,
}

impl Reader {
    /// Reads until nobody receives its pages any more, or until the log was read to its end and no more messages will
    /// be sent.
    pub(super) async fn run(mut self) -> Result<(), DemoError> {
        let mut done = false;
        loop {
            if !done && *self.done.borrow() {
                done = true;
                // An open link knows the log's end only from the messages that it receives; a new link asks the hub.
                self.instance.discard().await;
            }
            let page = self.poll().await?;
            let given = self.request.cursor.replace(page.next.clone());
            let last = done && !page.more && page.lag == Some(0);
            let pause = if page.more { Duration::ZERO } else { Duration::from_millis(page.wait_hint_ms) };
            if self.pages.send(Read { given, page }).await.is_err() || last {
                return Ok(());
            }
            sleep(pause).await;
        }
    }

    /// Polls until a poll succeeds. Fails if trying again does not help.
    pub(super) async fn poll(&self) -> Result<Page, DemoError> {
        let partition = &self.request.partition;
        let mut attempt = 1;
        loop {
            self.ledger.entries().polls += 1;
            match self.instance.poll(&self.request).await {
                Ok(page) => {
                    let mut entries = self.ledger.entries();
                    for notice in &page.notices {
                        *entries.notices.entry(notice.code.clone()).or_default() += 1;
                    }
                    let reading = entries.reading.entry(partition.clone()).or_default();
                    (reading.lag, reading.trouble) = (page.lag, None);
                    return Ok(page);
                }
                Err(error) => {
                    let pause = pause_after(&error, attempt).filter(|_| attempt < FAILURES);
                    {
                        let mut entries = self.ledger.entries();
                        *entries.failures.entry(code(&error)).or_default() += 1;
                        entries.reading.entry(partition.clone()).or_default().trouble = Some(error.to_string());
                    }
                    sleep(pause.ok_or(DemoError::Call(error))?).await;
                    attempt += 1;
                }
            }
        }
    }
}
