//! When to try again, and after how long.
//!
//! | what happened | read, or twice is once | anything else |
//! |---|---|---|
//! | nothing reached the service (no address, refused, TLS) | again | again |
//! | 429, or 503 with `Retry-After`: the service did not begin | again | again |
//! | 408, 500, 502, 503, 504, a broken or silent connection | again | not: it may have been done |
//! | all else | not | not |

use std::time::Duration;

use super::client::Safety;
use crate::platform::{ExchangeError, ExchangeErrorKind};

/// Attempts in all.
pub const ATTEMPTS: u32 = 4;
/// No attempt is begun with less time than this left: it would end in a time-out that hides what is really wrong.
pub const TIME_FOR_AN_ATTEMPT: Duration = Duration::from_millis(500);
/// The first pause; doubled each time. IoT Hub asks for one to thirty seconds ("IoT Hub quotas and throttling").
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause of our own choice.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whether an answer with this status may be asked for again.
pub fn status_is_transient(status: u16, safety: Safety, has_retry_after: bool) -> bool {
    match status {
        429 => true,
        503 => has_retry_after || safety != Safety::Once,
        408 | 500 | 502 | 504 => safety != Safety::Once,
        _ => false,
    }
}

/// Whether an exchange without an answer may be tried again.
pub fn failure_is_transient(error: &ExchangeError, safety: Safety) -> bool {
    match error.kind {
        ExchangeErrorKind::Denied | ExchangeErrorKind::TooLarge | ExchangeErrorKind::HostLimit => false,
        // The certificate will not be a better one in a moment.
        ExchangeErrorKind::Tls => false,
        _ => !error.sent || safety != Safety::Once,
    }
}

/// The pause before attempt `next` (2, 3, …): what the service asked for, or a random share of a doubling span.
pub fn pause(next: u32, asked: Option<Duration>, random: u64) -> Duration {
    if let Some(asked) = asked {
        return asked;
    }
    let span = FIRST_PAUSE.saturating_mul(1 << next.saturating_sub(2).min(16)).min(LONGEST_PAUSE);
    // Between half and all of the span: spread out, and never at once.
    let share = 0.5 + 0.5 * (random >> 11) as f64 / (1_u64 << 53) as f64;
    span.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for random in [0, u64::MAX / 3, u64::MAX] {
            let mut last = Duration::ZERO;
            for next in 2..40 {
                let span = pause(next, None, random);
                assert!(span >= last && span <= LONGEST_PAUSE && span >= FIRST_PAUSE / 2, "{next}: {span:?}");
                last = span;
            }
        }
    }

    #[test]
    fn what_may_have_been_done_is_not_done_again() {
        let broken = ExchangeError { kind: ExchangeErrorKind::Broken, sent: true, detail: String::new() };
        assert!(!failure_is_transient(&broken, Safety::Once));
        assert!(failure_is_transient(&broken, Safety::Repeatable));
        let refused = ExchangeError { kind: ExchangeErrorKind::Connect, sent: false, detail: String::new() };
        assert!(failure_is_transient(&refused, Safety::Once));
        assert!(!status_is_transient(500, Safety::Once, true));
        assert!(status_is_transient(429, Safety::Once, false));
    }
}
