//! Whether a request is tried again in the same call, and after which pause.
//!
//! | result of an attempt | reads and repeatable changes | other changes |
//! |---|---|---|
//! | nothing reached the service (no address, connection refused) | repeated | repeated |
//! | a code of the table that asks for a retry and means that nothing was done (404012, 429001, …) | repeated | repeated |
//! | 429, or 503 with `Retry-After`: the service did not begin | repeated | repeated |
//! | another temporary code or status (400029, 500001, 502, …), a broken or silent connection | repeated | not repeated: the change may have been made |
//! | anything else, including problems that only a long wait solves (a quota, an offline device) | not repeated | not repeated |

use std::time::Duration;

use super::client::Safety;
use super::fault::Verdict;
use crate::error::{EffectState, ErrorCode, Retry};
use crate::platform::{ExchangeError, ExchangeErrorKind};

pub const ATTEMPTS: u32 = 4;
/// No attempt is begun with less time left: it would end in a time-out that hides the real problem.
pub const TIME_FOR_AN_ATTEMPT: Duration = Duration::from_millis(500);
/// The first pause, which doubles with each attempt. IoT Hub asks for pauses of one to thirty seconds ("IoT Hub quotas
/// and throttling").
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause, unless the service asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whether a request with this refusal may be sent again in the same call.
pub fn refusal_is_transient(verdict: &Verdict, status: u16, safety: Safety) -> bool {
    let may_pass = matches!(verdict.code, ErrorCode::RateLimited | ErrorCode::Unavailable | ErrorCode::Timeout)
        && matches!(verdict.retry, Retry::Backoff | Retry::After(_));
    let not_begun = verdict.effect == EffectState::None && (verdict.known || matches!(status, 429 | 503));
    may_pass && (safety != Safety::Once || not_begun)
}

/// Whether a request without an answer may be sent again in the same call.
pub fn failure_is_transient(error: &ExchangeError, safety: Safety) -> bool {
    match error.kind {
        ExchangeErrorKind::Denied | ExchangeErrorKind::TooLarge | ExchangeErrorKind::HostLimit => false,
        // The certificate will be the same in a moment.
        ExchangeErrorKind::Tls => false,
        _ => !error.sent || safety != Safety::Once,
    }
}

/// The pause before attempt number `next` (2, 3, …): the pause that the service asked for, or a random part of a span
/// that doubles with each attempt.
pub fn pause(next: u32, asked: Option<Duration>, random: u64) -> Duration {
    if let Some(asked) = asked {
        return asked;
    }
    let span = FIRST_PAUSE.saturating_mul(1 << next.saturating_sub(2).min(16)).min(LONGEST_PAUSE);
    // The pause is between half of the span and the whole span, so that attempts are spread out and never immediate.
    let share = 0.5 + 0.5 * (random >> 11) as f64 / (1_u64 << 53) as f64;
    span.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fault::Fault;
    use crate::platform::WireResponse;

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
    }

    #[test]
    fn a_refusal_is_tried_again_by_what_its_code_means() {
        // status, body, read, once
        let cases = [
            (429, "", true, true),
            (500, "", true, false),
            (503, "", true, false),
            (404, r#"{"Message":"ErrorCode:IotHubFailingOver;x"}"#, true, true),
            (404, r#"{"Message":"ErrorCode:QueryStoreClusterNotFound;x"}"#, true, true),
            (404, r#"{"Message":"ErrorCode:DeviceNotFound;x"}"#, false, false),
            (404, r#"{"Message":"ErrorCode:DeviceNotOnline;x"}"#, false, false),
            (404, "<html>", false, false),
            (404, "", true, false),
            (400, r#"{"errorCode":400027}"#, true, false),
            (400, r#"{"errorCode":400029}"#, true, false),
            (400, r#"{"errorCode":400030}"#, true, true),
            (400, r#"{"errorCode":400024}"#, true, false),
            (400, r#"{"errorCode":400004}"#, false, false),
            (403, r#"{"errorCode":403002}"#, false, false),
            (403, r#"{"errorCode":403800}"#, true, true),
            (403, "", false, false),
            (502, "<html>", true, false),
        ];
        for (status, body, read, once) in cases {
            let response = WireResponse { status, headers: Vec::new(), body: body.into() };
            let verdict = Fault::read(&response, Duration::ZERO).verdict();
            let transient = |safety| refusal_is_transient(&verdict, status, safety);
            assert_eq!((transient(Safety::Read), transient(Safety::Once)), (read, once), "{status} {body}");
            assert_eq!(transient(Safety::Repeatable), read, "{status} {body}");
        }
        for (status, once) in [(503, true), (500, false)] {
            let headers = vec![("retry-after".to_owned(), "1".to_owned())];
            let response = WireResponse { status, headers, body: Vec::new() };
            let verdict = Fault::read(&response, Duration::ZERO).verdict();
            assert_eq!(refusal_is_transient(&verdict, status, Safety::Once), once, "{status}");
        }
    }
}
