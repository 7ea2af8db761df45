//! An HTTP/1.1 connection that a call polls itself while it uses the connection: [`Driven`].
//!
//! A task polls the connection at all other times. It bounds the connection's life, too: with the task the connection
//! ends, whoever polls it then.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;

use super::errands::Errands;

/// The number of the task among those that poll.
const BACKGROUND: u64 = 0;

/// A connection, and who polls it.
pub(super) struct Driven {
    /// None after the end of the connection.
    connection: Mutex<Option<BoxFuture<'static, ()>>>,
    /// The number of the errand that polls, or [`BACKGROUND`].
    driver: AtomicU64,
    drivers: AtomicU64,
    background: AtomicWaker,
    errand: AtomicWaker,
}

impl Driven {
    pub(super) fn new(connection: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            connection: Mutex::new(Some(connection.boxed())),
            driver: AtomicU64::new(BACKGROUND),
            drivers: AtomicU64::new(BACKGROUND),
            background: AtomicWaker::new(),
            errand: AtomicWaker::new(),
        })
    }

    /// Polls the connection while no call does, until it ends. Dropping the future ends the connection.
    pub(super) fn background(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        let task = Background(self.clone());
        poll_fn(move |context| {
            task.0.background.register(context.waker());
            task.0.poll(BACKGROUND, context)
        })
    }

    /// Lets the task look after the connection again, after [`Driver::rest`].
    pub(super) fn watch(&self) {
        self.background.wake();
    }

    /// Polls the connection among a call's errands from now on, as long as the returned value lives. None where nobody
    /// polls the errands.
    pub(super) fn driver(self: &Arc<Self>, errands: &Errands) -> Option<Driver> {
        if !errands.is_attended() {
            // The connection may be at rest.
            self.background.wake();
            return None;
        }
        let number = self.drivers.fetch_add(1, Ordering::SeqCst) + 1;
        self.driver.store(number, Ordering::SeqCst);
        let errand = Errand(Driver { driven: self.clone(), number });
        let errand = poll_fn(move |context| {
            let Driver { driven, number } = &errand.0;
            driven.errand.register(context.waker());
            driven.poll(*number, context)
        });
        match errands.add(errand.boxed()) {
            Ok(()) => Some(Driver { driven: self.clone(), number }),
            // Dropping the errand gives the connection back to the task.
            Err(_) => None,
        }
    }

    /// Polls the connection, unless it is another's turn: the task then waits, and an errand ends.
    fn poll(&self, number: u64, context: &mut Context<'_>) -> Poll<()> {
        let mut connection = self.connection();
        if self.driver.load(Ordering::SeqCst) != number {
            let is_over = connection.is_none() || number != BACKGROUND;
            return if is_over { Poll::Ready(()) } else { Poll::Pending };
        }
        let polled = connection.as_mut().map_or(Poll::Ready(()), |connection| Pin::new(connection).poll(context));
        if polled.is_ready() {
            let ended = connection.take();
            drop(connection);
            drop(ended);
            self.background.wake();
        }
        polled
    }

    /// Ends the right of an errand. Returns false if it had none any more.
    fn give_back(&self, number: u64) -> bool {
        let given = self.driver.compare_exchange(number, BACKGROUND, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if given {
            // The errand has nothing more to do.
            self.errand.wake();
        }
        given
    }

    fn connection(&self) -> MutexGuard<'_, Option<BoxFuture<'static, ()>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the connection when it is dropped.
struct Background(Arc<Driven>);

impl Drop for Background {
    fn drop(&mut self) {
        let ended = self.0.connection().take();
        drop(ended);
        self.0.errand.wake();
    }
}

/// The right of one call to poll a connection. The task gets it back when this value is dropped.
pub(super) struct Driver {
    driven: Arc<Driven>,
    number: u64,
}

impl Driver {
    /// Gives the right back without waking the task. Returns false if the right had ended already.
    pub(super) fn rest(self) -> bool {
        self.driven.give_back(self.number)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.driven.give_back(self.number) {
            self.driven.background.wake();
        }
    }
}

/// The errand that polls. When it is dropped with its call, the right to poll ends as well.
struct Errand(Driver);
