//! Waits for the end of an import or export job.
//!
//! ```scenario
//! done {"jobId": "$export-job"}
//! not-found {"jobId": "missing"}
//! ```

use super::blob::{self, JOB};
use super::waiting::{TIMEOUT, Waiting, has_ended};
use crate::actions::shared::declaration::Declaration;
use crate::actions::shared::stepped::{Step, Stepped};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "wait-for-import-export-job",
        title: "Wait for an import or export job",
        help: "Waits until an import or export job has ended, and returns it. A job that failed or was cancelled has ended, too: the workflow has to judge the status.",
        group: "Import and export",
        input: &[JOB, TIMEOUT],
        input_sample: r#"{ "jobId": "2f8a4c1e-6b0d-4f57-9a53-0d6c1b7e9f20", "timeoutSeconds": 600 }"#,
        output: blob::output,
        output_sample: blob::sample,
        dynamic_output: false,
        permissions: &[Permission::RegistryWrite],
        limits: blob::LIMITS,
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    paged: false,
    step: |session, input, state, _| {
        let id = blob::id(input)?;
        let waiting = state.map_or_else(|| Ok(Waiting::begin(session, id)), Waiting::read)?;
        let job = blob::job(session, id)?;
        if has_ended(&job) {
            return Ok(Step::Done(job));
        }
        waiting.again(session, input.number("timeoutSeconds"), blob::progress(&job), false)
    },
};
