//! Lists what a job did on its devices.
//!
//! ```scenario
//! pages {"jobId": "awaited", "pageSize": 1}
//! done {"jobId": "awaited", "status": "failed"}
//! not-found {"jobId": "missing"}
//! ```

use serde_json::json;

use super::scheduled::{self, JOB};
use crate::actions::shared::declaration::{Declaration, optional};
use crate::actions::shared::limits;
use crate::actions::shared::stepped::{Stepped, list};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;
use crate::form::schema::one_of;

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "list-job-results",
        title: "List a job's results",
        help: "Lists what a scheduled job did on each of its devices, page by page: the status, the error, and the answer to a direct method. The results may lag behind the job by seconds. Needs a hub of the Standard or Free tier.",
        group: "Jobs",
        input: &[
            JOB,
            optional("status", || {
                one_of("Status", &["pending", "scheduled", "running", "completed", "failed", "canceled"])
            }),
            optional("pageSize", fields::page_size),
        ],
        input_sample: r#"{ "jobId": "nightly", "status": "failed" }"#,
        output: || fields::page_output("Results", scheduled::result_output()),
        output_sample: || json!({ "items": [scheduled::result_sample()] }),
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::QUERIES, limits::PAGE],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    paged: true,
    step: |session, input, state, _| {
        let id = scheduled::read_id(input.required_text("jobId"))?;
        if state.is_none() {
            // A query for a job that does not exist would only be empty.
            scheduled::job(session, id)?;
        }
        list(session, input, state, |session, input, size, continuation| {
            let query = scheduled::results_query(input.required_text("jobId"), input.text("status"));
            let mut page = session.hub().query(&query, size, continuation)?;
            page.items = page.items.into_iter().map(scheduled::shown).collect();
            Ok(page)
        })
    },
};
