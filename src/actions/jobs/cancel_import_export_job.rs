//! Cancels an import or export job.
//!
//! ```scenario
//! done {"jobId": "$export-job"}
//! done {"jobId": "$export-job"} under hub:DELETE /jobs/*=503x1
//! not-found {"jobId": "missing"}
//! ```

use super::blob::{self, JOB};
use crate::actions::shared::declaration::Declaration;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::http::{Request, Safety};
use crate::platform::Method;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "cancel-import-export-job",
        title: "Cancel an import or export job",
        help: "Stops an import or export job, and returns it as it is then: a job that had ended before has not the status `cancelled`. What the job changed stays.",
        group: "Import and export",
        input: &[JOB],
        input_sample: r#"{ "jobId": "2f8a4c1e-6b0d-4f57-9a53-0d6c1b7e9f20" }"#,
        output: blob::output,
        output_sample: blob::sample,
        dynamic_output: false,
        permissions: &[Permission::RegistryWrite],
        limits: blob::LIMITS,
        effect: Effect::Write,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = blob::id(input)?;
        let request = Request::new(Method::Delete, ["jobs", id], Safety::Repeatable, Permission::RegistryWrite);
        session.hub().send(&request)?;
        blob::job(session, id)
    },
};
