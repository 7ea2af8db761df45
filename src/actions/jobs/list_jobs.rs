//! Lists scheduled jobs.
//!
//! ```scenario
//! pages {"pageSize": 1}
//! done {"type": "scheduleDeviceMethod", "status": "failed"}
//! pages {"type": "scheduleUpdateTwin", "pageSize": 2}
//! ```

use serde_json::{Value, json};

use super::scheduled;
use crate::actions::shared::declaration::{Declaration, optional};
use crate::actions::shared::limits;
use crate::actions::shared::stepped::{Stepped, list};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::Result;
use crate::form::fields;
use crate::http::{Page, Request, Response, Safety};
use crate::json;
use crate::platform::Method;

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
            let segments = ["jobs", "v2", "query"];
            let mut request = Request::new(Method::Get, segments, Safety::Read, Permission::ServiceConnect);
            for (parameter, name) in [("jobType", "type"), ("jobStatus", "status")] {
                if let Some(value) = input.text(name) {
                    request = request.query(parameter, value);
                }
            }
            let mut page = page(&session.hub().send(&Page::asked(request, size, continuation))?)?;
            page.items = page.items.into_iter().map(scheduled::shown).collect();
            Ok(page)
        })
    },
};

/// Reads a page of jobs. By the description it is an object with `items` and `continuationToken`; Microsoft's .NET client
/// reads a list and the header `x-ms-continuation`.
fn page(response: &Response) -> Result<Page> {
    let mut body = response.json()?;
    if body.is_array() {
        return Page::from_response(response);
    }
    let Value::Array(items) = json::take(&mut body, "items") else {
        return Err(response.unexpected("a list of jobs"));
    };
    let token = body.get("continuationToken").and_then(Value::as_str).or_else(|| response.header("x-ms-continuation"));
    Ok(Page { items, continuation: token.filter(|token| !token.is_empty()).map(str::to_owned) })
}
