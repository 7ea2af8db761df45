//! Waits for a job over several calls. The pause between two looks grows, because jobs run for seconds or for days.

use std::time::Duration;

use serde_json::{Value, json};

use crate::actions::shared::declaration::{Field, optional};
use crate::actions::shared::stepped::{Step, foreign_state};
use crate::error::{EffectState, Error, ErrorCode, Result};
use crate::form::schema::{help, integer, with};
use crate::session::Session;

/// How long to wait if the input states nothing, in seconds.
const USUAL: u64 = 3600;
/// The longest wait, in seconds: the hub forgets a job 30 days after its end.
const LONGEST: i64 = 30 * 24 * 60 * 60;
/// The first pause, which doubles with each look.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long to wait for the job's end.
pub const TIMEOUT: Field = optional("timeoutSeconds", || {
    help(
        with(integer("Give up after (s)", 1, LONGEST), json!({ "default": USUAL })),
        "How long to wait for the job's end. The job itself is not ended.",
    )
});

/// A wait for one job, as it is kept between calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// The job's id.
    pub job: String,
    /// When the wait began, in seconds since the Unix epoch.
    since: u64,
    /// How often the job was looked at.
    looks: u64,
}

impl Waiting {
    /// A wait that begins now.
    pub fn begin(session: &Session, job: &str) -> Self {
        Self { job: job.to_owned(), since: session.platform().unix_time().as_secs(), looks: 0 }
    }

    /// The wait of an earlier call.
    ///
    /// # Errors
    /// `invalid-input` if the state is none of this function's.
    pub fn read(state: &Value) -> Result<Self> {
        let number = |name: &str| state.get(name).and_then(Value::as_u64).ok_or_else(foreign_state);
        let job = state.get("job").and_then(Value::as_str).ok_or_else(foreign_state)?;
        Ok(Self { job: job.to_owned(), since: number("since")?, looks: number("looks")? })
    }

    /// The step for a job that has not ended. `changes` states whether the action itself started the job.
    ///
    /// # Errors
    /// `timeout` if the job took longer than the input allows.
    pub fn again(self, session: &Session, timeout: Option<u64>, progress: String, changes: bool) -> Result<Step> {
        let timeout = timeout.unwrap_or(USUAL);
        let waited = session.platform().unix_time().as_secs().saturating_sub(self.since);
        let left = timeout.saturating_sub(waited);
        if left == 0 {
            let message = format!(
                "The job \"{}\" has not ended within {timeout} seconds ({progress}). It goes on at the hub: wait for it again, or cancel it.",
                self.job
            );
            let effect = if changes { EffectState::Applied } else { EffectState::None };
            return Err(Error::new(ErrorCode::Timeout, message).with_effect(effect));
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.looks.min(10));
        let after = doubled.min(LONGEST_PAUSE).min(Duration::from_secs(left));
        let state = json!({ "job": self.job, "since": self.since, "looks": self.looks.saturating_add(1) });
        Ok(Step::Pending { state, after, message: progress })
    }
}

/// Whether the job has ended.
pub fn has_ended(job: &Value) -> bool {
    matches!(status(job), "completed" | "failed" | "cancelled")
}

/// The job's status.
pub fn status(job: &Value) -> &str {
    job.get("status").and_then(Value::as_str).unwrap_or("unknown")
}
