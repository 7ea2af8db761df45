//! Waits for the end of a scheduled job.
//!
//! ```scenario
//! done {"jobId": "nightly"}
//! done {"jobId": "restart", "timeoutSeconds": 60}
//! not-found {"jobId": "missing"}
//! timeout {"jobId": "someday", "timeoutSeconds": 1}
//! ```

use super::scheduled::{self, JOB};
use super::waiting::{TIMEOUT, Waiting, has_ended};
use crate::actions::shared::declaration::Declaration;
use crate::actions::shared::limits;
use crate::actions::shared::stepped::{Step, Stepped};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "wait-for-job",
        title: "Wait for a job",
        help: "Waits until a scheduled job has ended, and returns it with its counts. A job that failed or was cancelled has ended, too: the workflow has to judge the status. Needs a hub of the Standard or Free tier.",
        group: "Jobs",
        input: &[JOB, TIMEOUT],
        input_sample: r#"{ "jobId": "nightly", "timeoutSeconds": 600 }"#,
        output: scheduled::output,
        output_sample: scheduled::sample,
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::JOBS],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    paged: false,
    step: |session, input, state, _| {
        let id = scheduled::read_id(input.required_text("jobId"))?;
        let waiting = state.map_or_else(|| Ok(Waiting::begin(session, id)), Waiting::read)?;
        let job = scheduled::job(session, id)?;
        if has_ended(&job) {
            return Ok(Step::Done(job));
        }
        waiting.again(session, input.number("timeoutSeconds"), scheduled::progress(&job), false)
    },
};
