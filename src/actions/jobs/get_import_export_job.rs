//! Reads an import or export job.
//!
//! ```scenario
//! done {"jobId": "$export-job"}
//! done {"jobId": "$export-job"} under hub:GET /jobs/*=503x1
//! not-found {"jobId": "missing"}
//! invalid-input {"jobId": ".."}
//! ```

use super::blob::{self, JOB};
use crate::actions::shared::declaration::Declaration;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "get-import-export-job",
        title: "Get an import or export job",
        help: "Reads an import or export job of the registry. The keys to its containers are left out.",
        group: "Import and export",
        input: &[JOB],
        input_sample: r#"{ "jobId": "2f8a4c1e-6b0d-4f57-9a53-0d6c1b7e9f20" }"#,
        output: blob::output,
        output_sample: blob::sample,
        dynamic_output: false,
        permissions: &[Permission::RegistryWrite],
        limits: blob::LIMITS,
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| blob::job(session, blob::id(input)?),
};
