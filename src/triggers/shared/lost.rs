//! What happens after a cursor's position is lost: the request's policy decides, and the person is always notified.

use crate::bindings::exports::workflow::connector::trigger::{LostPolicy, Notice};
use crate::error::{Error, ErrorCode, Result, Severity};

/// Where to begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// With the oldest data that there is.
    Earliest,
    /// With data that is new from now on.
    Now,
}

/// Where to begin again, and a notice that says why the position is lost and where reading continues.
///
/// # Errors
/// `position-lost` where the policy is to stop.
pub fn begin_again(reason: &str, policy: LostPolicy, earliest: &str, now: &str) -> Result<(Restart, Notice)> {
    let (restart, how) = match policy {
        LostPolicy::Stop => return Err(Error::new(ErrorCode::PositionLost, reason)),
        LostPolicy::Earliest => (Restart::Earliest, earliest),
        LostPolicy::Now => (Restart::Now, now),
    };
    let message = format!("{reason} {how}");
    Ok((restart, Notice { severity: Severity::Warning, code: "position-lost".to_owned(), message }))
}
