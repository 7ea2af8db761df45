//! What the host does for a call beside its guest: its HTTP exchanges, and the connections that they use.
//!
//! The task that polls the guest does this work itself. A task for each exchange and one for its connection would run
//! on other threads, and to wake a thread takes longer than all other work of an exchange: a call would pay for it four
//! times.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;

/// How often guest and errands are polled in turn before other tasks of the thread get theirs.
const ROUNDS: usize = 32;

/// The errands of one call that are not begun yet.
#[derive(Default)]
pub(crate) struct Errands {
    added: Mutex<Vec<BoxFuture<'static, ()>>>,
    /// Whether somebody polls the errands.
    attended: AtomicBool,
    bells: Arc<Bells>,
}

/// Which side has been woken since its last poll.
#[derive(Default)]
struct Bells {
    guest: AtomicBool,
    errands: AtomicBool,
    /// Whether guest and errands are being polled now: the poll itself answers the bells then.
    polling: AtomicBool,
    /// The waker of the call's task.
    task: AtomicWaker,
}

impl Bells {
    fn ring(&self, side: &AtomicBool) {
        side.store(true, Ordering::SeqCst);
        if !self.polling.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }

    fn is_rung(&self) -> bool {
        self.guest.load(Ordering::SeqCst) || self.errands.load(Ordering::SeqCst)
    }
}

/// The bell of the guest.
struct GuestBell(Arc<Bells>);

impl Wake for GuestBell {
    fn wake(self: Arc<Self>) {
        Self::wake_by_ref(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.ring(&self.0.guest);
    }
}

/// The bell of the errands.
struct ErrandBell(Arc<Bells>);

impl Wake for ErrandBell {
    fn wake(self: Arc<Self>) {
        Self::wake_by_ref(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.ring(&self.0.errands);
    }
}

impl Errands {
    /// Adds an errand. Returns it where nobody polls errands, as in tests without a guest: it then needs a task.
    pub(super) fn add(&self, errand: BoxFuture<'static, ()>) -> Result<(), BoxFuture<'static, ()>> {
        if !self.is_attended() {
            return Err(errand);
        }
        self.added().push(errand);
        self.bells.ring(&self.bells.errands);
        Ok(())
    }

    pub(super) fn is_attended(&self) -> bool {
        self.attended.load(Ordering::SeqCst)
    }

    /// Polls the errands from now on, beside the futures that [`Attendant::beside`] is given.
    pub(crate) fn attend(&self) -> Attendant<'_> {
        self.attended.store(true, Ordering::SeqCst);
        let bells = &self.bells;
        let wakers = [Arc::new(GuestBell(bells.clone())).into(), Arc::new(ErrandBell(bells.clone())).into()];
        Attendant { errands: self, running: FuturesUnordered::new(), wakers }
    }

    fn added(&self) -> MutexGuard<'_, Vec<BoxFuture<'static, ()>>> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Errands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Errands").finish_non_exhaustive()
    }
}

/// Polls the errands of one call. Errands that have not ended when this value is dropped are dropped with it.
pub(crate) struct Attendant<'e> {
    errands: &'e Errands,
    running: FuturesUnordered<BoxFuture<'static, ()>>,
    /// Wake the guest and the errands.
    wakers: [Waker; 2],
}

impl Drop for Attendant<'_> {
    fn drop(&mut self) {
        self.errands.attended.store(false, Ordering::SeqCst);
        self.running.clear();
        // Dropped without the lock: the end of an errand may add another.
        let left = std::mem::take(&mut *self.errands.added());
        drop(left);
    }
}

impl Attendant<'_> {
    /// Polls `guest` to its end, and the errands beside it.
    pub(crate) async fn beside<F: Future>(&mut self, guest: F) -> F::Output {
        let mut guest = pin!(guest);
        self.errands.bells.guest.store(true, Ordering::SeqCst);
        std::future::poll_fn(move |context| self.poll(guest.as_mut(), context)).await
    }

    fn poll<F: Future>(&mut self, mut guest: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
        let bells = self.errands.bells.clone();
        bells.task.register(context.waker());
        for _ in 0..ROUNDS {
            let polling = Polling::begin(&bells);
            if bells.guest.swap(false, Ordering::SeqCst)
                && let Poll::Ready(output) = guest.as_mut().poll(&mut Context::from_waker(&self.wakers[0]))
            {
                return Poll::Ready(output);
            }
            if bells.errands.swap(false, Ordering::SeqCst) {
                self.poll_errands();
            }
            drop(polling);
            if !bells.is_rung() {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_errands(&mut self) {
        // An errand that is added meanwhile rings the bell again.
        let added = std::mem::take(&mut *self.errands.added());
        self.running.extend(added);
        let mut context = Context::from_waker(&self.wakers[1]);
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(&mut context) {}
    }
}

/// Guest and errands are being polled, until this value is dropped, also by a panic.
struct Polling<'b>(&'b Bells);

impl<'b> Polling<'b> {
    fn begin(bells: &'b Bells) -> Self {
        bells.polling.store(true, Ordering::SeqCst);
        Self(bells)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.polling.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn guest_and_errands_are_polled_in_turn_in_one_poll() {
        let errands = Errands::default();
        let mut attendant = errands.attend();
        let (asked, question) = oneshot::channel();
        let (answered, answer) = oneshot::channel();
        let errand = async move {
            let question: u32 = question.await.unwrap();
            answered.send(question + 1).unwrap();
        };
        let guest = async {
            assert!(errands.add(errand.boxed()).is_ok());
            asked.send(1).unwrap();
            answer.await.unwrap()
        };
        // Nobody has to be woken for that.
        assert_eq!(attendant.beside(guest).now_or_never(), Some(2));
    }

    #[tokio::test]
    async fn a_side_is_polled_only_after_it_was_woken() {
        let errands = Errands::default();
        let mut attendant = errands.attend();
        let polls = Arc::new(AtomicUsize::new(0));
        let counting = polls.clone();
        let errand = async move {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(errands.add(errand.boxed()).is_ok());
        let mut sleep = Box::pin(tokio::time::sleep(Duration::from_millis(50)));
        let guest = std::future::poll_fn(move |context| {
            counting.fetch_add(1, Ordering::SeqCst);
            sleep.as_mut().poll(context)
        });
        attendant.beside(guest).await;
        assert_eq!(polls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn errands_end_with_their_attendant() {
        let errands = Errands::default();
        let (kept, ended) = oneshot::channel::<()>();
        let mut attendant = errands.attend();
        let errand = async move {
            let _kept = kept;
            std::future::pending().await
        };
        assert!(errands.add(errand.boxed()).is_ok());
        assert!(attendant.beside(std::future::pending::<()>()).now_or_never().is_none());
        drop(attendant);
        assert!(ended.await.is_err());
        assert!(errands.add(async {}.boxed()).is_err());
    }
}
