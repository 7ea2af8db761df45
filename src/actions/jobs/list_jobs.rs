//! Lists scheduled jobs.
//!
//! ```scenario
//! pages {"pageSize": 1}
//! done {"type": "scheduleDeviceMethod", "status": "failed"}
//! pages {"type": "scheduleUpdateTwin", "pageSize": 2}
//! ```

use serde_json::json;

use super::scheduled;
use crate::actions::shared::declaration::{Declaration, optional};
use crate::actions::shared::limits;
use crate::actions::shared::stepped::{Stepped, list};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "list-jobs",
        title: "List jobs",
        help: "Lists scheduled jobs page by page, those that have ended too. The hub keeps a job for 30 days. Needs a hub of the Standard or Free tier.",
        group: "Jobs",
        input: &[
            optional("type", scheduled::kind),
            optional("status", scheduled::state),
            optional("pageSize", fields::page_size),
        ],
        input_sample: r#"{ "status": "running" }"#,
        output: || fields::page_output("Jobs", scheduled::output()),
        output_sample: || json!({ "items": [scheduled::sample()] }),
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::JOBS, limits::PAGE],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    paged: true,
    step: |session, input, state, _| {
        list(session, input, state, |session, input, size, continuation| {
            session.hub().scheduled_jobs(
                [("jobType", input.text("type")), ("jobStatus", input.text("status"))],
                size,
                continuation,
            )
        })
    },
};
