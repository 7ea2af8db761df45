//! Cancels a scheduled job.
//!
//! ```scenario
//! done {"jobId": "someday"}
//! done {"jobId": "someday"}
//! done {"jobId": "nightly", "ifEnded": "ignore"}
//! conflict {"jobId": "nightly"}
//! not-found {"jobId": "missing"}
//! ```

use serde_json::Value;

use super::scheduled::{self, JOB};
use super::waiting::{has_ended, status};
use crate::actions::shared::declaration::{Declaration, optional};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::{EffectState, Error, ErrorCode, Result};
use crate::form::schema::{help, literal, one_of, with};
use crate::http::{Request, Safety};
use crate::platform::Method;
use crate::session::Session;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "cancel-job",
        title: "Cancel a job",
        help: "Stops a scheduled job that has not ended, and returns it. What it changed on devices stays, and it cannot be started again. Needs a hub of the Standard or Free tier.",
        group: "Jobs",
        input: &[
            JOB,
            optional("ifEnded", || {
                with(
                    help(
                        one_of("If it has ended", &["fail", "ignore"]),
                        "`ignore`: count as done, and return the job as it ended.",
                    ),
                    literal!({ "default": "fail", "x-visibility": "advanced" }),
                )
            }),
        ],
        input_sample: r#"{ "jobId": "nightly" }"#,
        output: scheduled::output,
        output_sample: scheduled::sample,
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::JOBS],
        effect: Effect::Write,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = scheduled::read_id(input.required_text("jobId"))?;
        cancel(session, id, input.text("ifEnded") == Some("ignore"))
    },
};

fn cancel(session: &Session, id: &str, may_have_ended: bool) -> Result<Value> {
    let segments = ["jobs", "v2", id, "cancel"];
    let request = Request::new(Method::Post, segments, Safety::Repeatable, Permission::ServiceConnect);
    let error = match session.hub().document(&request) {
        Ok(job) => return Ok(scheduled::shown(job.document)),
        Err(error) => error,
    };
    // The hub refuses to cancel a job that has ended, even if an earlier attempt has cancelled it.
    let refused = matches!(error.code(), ErrorCode::InvalidInput | ErrorCode::Conflict | ErrorCode::PreconditionFailed);
    if !refused && error.record().effect != EffectState::Unknown {
        return Err(error);
    }
    match scheduled::job(session, id) {
        Ok(job) if status(&job) == "cancelled" || (may_have_ended && has_ended(&job)) => Ok(job),
        Ok(job) if refused && has_ended(&job) => {
            let message = format!("The job \"{id}\" has ended ({}), and cannot be cancelled any more.", status(&job));
            Err(Error::new(ErrorCode::Conflict, message).with_detail(error.record().message.clone()))
        }
        _ => Err(error),
    }
}
