//! Reads a scheduled job.
//!
//! ```scenario
//! done {"jobId": "nightly"}
//! done {"jobId": "nightly"} under hub:GET /jobs/v2/*=503x1
//! not-found {"jobId": "missing"}
//! invalid-input {"jobId": "query"}
//! ```

use super::scheduled::{self, JOB};
use crate::actions::shared::declaration::Declaration;
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "get-job",
        title: "Get a job",
        help: "Reads a scheduled job: what it does, its status, and on how many devices it is done. The hub keeps a job for 30 days. Needs a hub of the Standard or Free tier.",
        group: "Jobs",
        input: &[JOB],
        input_sample: r#"{ "jobId": "nightly" }"#,
        output: scheduled::output,
        output_sample: scheduled::sample,
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::JOBS],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| scheduled::job(session, scheduled::read_id(input.required_text("jobId"))?),
};
