//! Bounds what libraries log while they work for a connection, by the same limits as the guest's own log.
//!
//! A service can make a library log without end: h2 logs a warning for each unexpected ping acknowledgement. The
//! program that set up the log does not know which line belongs to which call. So while the work for a connection is
//! polled, the thread's subscriber is [`Counting`]. It counts the lines of all crates except this one, and passes them
//! to the subscriber that was set before.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{Interest, NoSubscriber};
use tracing::{Dispatch, Event, Metadata, Subscriber, dispatcher, span};

use crate::limits::Limits;

/// The bound on lines that libraries log about one call, or about one connection that no call uses.
#[derive(Debug)]
pub(crate) struct Lines {
    tenant: String,
    most_lines: usize,
    most_bytes: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    lines: usize,
    bytes: usize,
    dropped: usize,
}

impl Lines {
    pub(crate) fn new(tenant: &str, limits: &Limits) -> Arc<Self> {
        let (most_lines, most_bytes) = (limits.log_lines, limits.log_bytes);
        Arc::new(Self { tenant: tenant.to_owned(), most_lines, most_bytes, counts: Mutex::default() })
    }

    /// Counts a line. Returns false if the bound is reached.
    fn permit(&self, event: &Event<'_>) -> bool {
        let mut counts = self.counts();
        if counts.lines < self.most_lines && counts.bytes < self.most_bytes {
            let mut length = Length(0);
            event.record(&mut length);
            counts.lines += 1;
            counts.bytes = counts.bytes.saturating_add(length.0);
            return true;
        }
        counts.dropped += 1;
        false
    }

    /// Logs how many lines were dropped.
    pub(crate) fn report_the_rest(&self) {
        let lines = std::mem::take(&mut self.counts().dropped);
        if lines > 0 {
            tracing::warn!(
                tenant = %self.tenant,
                lines,
                "the rest of what libraries logged about connections of this call was dropped",
            );
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.report_the_rest();
    }
}

/// Bounds what libraries log while `future` is polled. `lines` is called at each poll and returns the bound that then
/// applies.
pub(crate) fn bounded<F: Future, L: Fn() -> Arc<Lines>>(future: F, lines: L) -> Bounded<F, L> {
    Bounded { future: Box::pin(future), lines }
}

/// See [`bounded`].
pub(crate) struct Bounded<F, L> {
    future: Pin<Box<F>>,
    lines: L,
}

impl<F: Future, L: Fn() -> Arc<Lines> + Unpin> Future for Bounded<F, L> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Without a subscriber there is no log to bound. Inside another [`Counting`], lines are counted already.
        let outer = Dispatch::default();
        if outer.is::<NoSubscriber>() || outer.is::<Counting>() {
            return self.future.as_mut().poll(context);
        }
        let inside = Inside { outer, lines: (self.lines)() };
        let _restored = Restored(INSIDE.replace(Some(inside)));
        dispatcher::with_default(&COUNTING, || self.future.as_mut().poll(context))
    }
}

thread_local! {
    /// The subscriber and the bound of the poll that this thread runs.
    static INSIDE: RefCell<Option<Inside>> = const { RefCell::new(None) };
}

#[derive(Clone)]
struct Inside {
    /// The subscriber that the thread had before the poll.
    outer: Dispatch,
    lines: Arc<Lines>,
}

/// Restores the previous value of `INSIDE`, also if a poll panics.
struct Restored(Option<Inside>);

impl Drop for Restored {
    fn drop(&mut self) {
        let done = INSIDE.replace(self.0.take());
        drop(done);
    }
}

/// One instance for the whole process, because `tracing` asks every `Dispatch` that is made about every line of code
/// that logs.
static COUNTING: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Counting));

/// Passes everything to the subscriber that was set before, except lines beyond the bound.
struct Counting;

impl Counting {
    /// The subscriber that was set before. `INSIDE` is cloned and not borrowed, because that subscriber may call this
    /// one again.
    fn outer() -> Dispatch {
        match INSIDE.with_borrow(Clone::clone) {
            Some(inside) => inside.outer,
            None => match Dispatch::default() {
                default if default.is::<Self>() => Dispatch::none(),
                default => default,
            },
        }
    }
}

impl Subscriber for Counting {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Never `always`: the subscriber behind this one changes from poll to poll.
        if Self::outer().enabled(metadata) { Interest::sometimes() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The subscriber behind this one has already reported its own level.
        Some(LevelFilter::OFF)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        Self::outer().enabled(metadata)
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        Self::outer().new_span(span)
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        Self::outer().record(span, values);
    }

    fn record_follows_from(&self, span: &span::Id, follows: &span::Id) {
        Self::outer().record_follows_from(span, follows);
    }

    fn event(&self, event: &Event<'_>) {
        match INSIDE.with_borrow(Clone::clone) {
            Some(Inside { outer, lines }) => {
                let target = event.metadata().target();
                let is_own = target.split("::").next() == Some(env!("CARGO_CRATE_NAME"));
                if is_own || lines.permit(event) {
                    outer.event(event);
                }
            }
            None => Self::outer().event(event),
        }
    }

    fn enter(&self, span: &span::Id) {
        Self::outer().enter(span);
    }

    fn exit(&self, span: &span::Id) {
        Self::outer().exit(span);
    }

    fn clone_span(&self, id: &span::Id) -> span::Id {
        Self::outer().clone_span(id)
    }

    fn try_close(&self, id: span::Id) -> bool {
        Self::outer().try_close(id)
    }
}

/// The length of a line's fields, in bytes.
struct Length(usize);

impl Visit for Length {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 = self.0.saturating_add(field.name().len());
        // `write_str` of `Length` never fails.
        let _ = write!(self, "{value:?}");
    }
}

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(text.len());
        Ok(())
    }
}
