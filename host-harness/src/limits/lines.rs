//! What libraries log while they work for a connection, with the bounds of what a guest logs.
//!
//! A service decides how often a library below a connection has something to say: h2 logs a warning for each answer to a
//! ping that nobody sent. The program that set the log up does not know which line belongs to which call. So while such work is
//! polled, the thread's subscriber is one of ours, which counts what comes from others than this host and hands it on to
//! the one that was there before.

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

/// Lines that libraries may log about one call, or about one connection that no call uses.
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

    /// Counts a line; false where it is one too many.
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

/// Polls a future with what libraries log bounded; `lines` is asked at each poll.
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
        // Where nobody logs, nothing is to be counted.
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
    /// What this thread is working for.
    static INSIDE: RefCell<Option<Inside>> = const { RefCell::new(None) };
}

#[derive(Clone)]
struct Inside {
    /// The subscriber that the thread had before.
    outer: Dispatch,
    lines: Arc<Lines>,
}

/// Puts back what the thread was working for, also where a poll panics.
struct Restored(Option<Inside>);

impl Drop for Restored {
    fn drop(&mut self) {
        let done = INSIDE.replace(self.0.take());
        drop(done);
    }
}

/// One for the whole process: each that is made is asked about every line of code that logs.
static COUNTING: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Counting));

/// Hands everything on to the subscriber that was there before, but for lines that are too many.
struct Counting;

impl Counting {
    /// The subscriber that was there before. Nothing is borrowed meanwhile: it may come back here.
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
        // Which subscriber is behind this one changes from poll to poll.
        if Self::outer().enabled(metadata) { Interest::sometimes() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Whatever is behind this one has reported its own.
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
        // It never fails.
        let _ = write!(self, "{value:?}");
    }
}

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(text.len());
        Ok(())
    }
}
