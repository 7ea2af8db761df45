//! Lists import and export jobs.
//!
//! ```scenario
//! done {}
//! done {} under hub:GET /jobs=503x1
//! ```

use serde_json::json;

use super::blob;
use crate::actions::shared::declaration::Declaration;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "list-import-export-jobs",
        title: "List import and export jobs",
        help: "Lists the import and export jobs of the registry, those that have ended too, in one answer: the service has no pages for them. The keys to their containers are left out.",
        group: "Import and export",
        input: &[],
        input_sample: r#"{}"#,
        output: || fields::page_output("Jobs", blob::output()),
        output_sample: || json!({ "items": [blob::sample()] }),
        dynamic_output: false,
        permissions: &[Permission::RegistryWrite],
        limits: blob::LIMITS,
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, _, _| Ok(json!({ "items": session.hub().transfer_jobs()? })),
};
