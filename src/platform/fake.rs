//! A scripted platform: time passes only when it is slept, and answers come from a queue.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use super::{ExchangeError, ExchangeLimits, Platform, WireRequest, WireResponse};

type Answer = Box<dyn FnOnce(&WireRequest, &ExchangeLimits) -> Result<WireResponse, ExchangeError>>;

/// The script and what came of it.
#[derive(Default)]
pub struct FakePlatform {
    /// Time since both epochs.
    pub now: Cell<Duration>,
    /// By how many seconds the time of day is ahead of that.
    pub jump: Cell<i64>,
    /// Answers still to be given.
    pub answers: RefCell<VecDeque<Answer>>,
    /// Requests seen.
    pub requests: RefCell<Vec<WireRequest>>,
    /// Sleeps asked for.
    pub sleeps: RefCell<Vec<Duration>>,
    /// How often numbers for keys were drawn; each draw yields its own count.
    pub draws: Cell<u8>,
}

impl FakePlatform {
    /// A platform at a moment in the Unix epoch.
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

    /// Adds a plain answer to the script.
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
