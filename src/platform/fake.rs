//! A scripted platform: only sleeping lets time pass, and answers come from a queue.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use super::{ExchangeError, ExchangeLimits, Platform, WireRequest, WireResponse};

type Answer = Box<dyn FnOnce(&WireRequest, &ExchangeLimits) -> Result<WireResponse, ExchangeError>>;

/// The script, and a record of the calls.
#[derive(Default)]
pub struct FakePlatform {
    /// The time since both epochs.
    pub now: Cell<Duration>,
    /// By how many seconds the time of day is ahead of `now`.
    pub jump: Cell<i64>,
    /// The answers that are still to be given.
    pub answers: RefCell<VecDeque<Answer>>,
    /// The requests that were sent.
    pub requests: RefCell<Vec<WireRequest>>,
    /// The sleeps that were requested.
    pub sleeps: RefCell<Vec<Duration>>,
    /// How often random bytes for keys were drawn; each draw fills the bytes with its own number.
    pub draws: Cell<u8>,
}

impl FakePlatform {
    /// A platform at this many seconds of the Unix epoch.
    pub fn at(seconds: u64) -> Self {
        let fake = Self::default();
        fake.now.set(Duration::from_secs(seconds));
        fake
    }

    /// Adds an answer to the script.
    pub fn then(
        &self,
        answer: impl FnOnce(&WireRequest, &ExchangeLimits) -> Result<WireResponse, ExchangeError> + 'static,
    ) -> &Self {
        self.answers.borrow_mut().push_back(Box::new(answer));
        self
    }

    /// Adds an answer with this status, headers and body to the script.
    pub fn then_status(&self, status: u16, headers: &[(&str, &str)], body: &str) -> &Self {
        let response = WireResponse {
            status,
            headers: headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            body: body.as_bytes().to_vec(),
        };
        self.then(move |_, _| Ok(response))
    }
}

impl Platform for FakePlatform {
    fn unix_time(&self) -> Duration {
        let jump = Duration::from_secs(self.jump.get().unsigned_abs());
        if self.jump.get() < 0 { self.now.get().saturating_sub(jump) } else { self.now.get() + jump }
    }
    fn monotonic(&self) -> Duration {
        self.now.get()
    }
    fn sleep(&self, duration: Duration) {
        self.sleeps.borrow_mut().push(duration);
        self.now.set(self.now.get() + duration);
    }
    fn random(&self) -> u64 {
        u64::MAX / 2
    }
    fn secure_random(&self, bytes: &mut [u8]) {
        self.draws.set(self.draws.get().wrapping_add(1));
        bytes.fill(self.draws.get());
    }
    fn exchange(&self, request: &WireRequest, limits: &ExchangeLimits) -> Result<WireResponse, ExchangeError> {
        self.requests.borrow_mut().push(request.clone());
        let answer = self.answers.borrow_mut().pop_front();
        answer.unwrap_or_else(|| {
            panic!("no answer is scripted for {} {}", request.method.as_str(), request.path_with_query)
        })(request, limits)
    }
}
