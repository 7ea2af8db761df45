//! Lists individual enrollments.
//!
//! ```scenario
//! pages {"pageSize": 2}
//! invalid-input {"query": "SELECT FROM WHERE"}
//! ```

use serde::Deserialize;
use serde_json::{Value, json};

use crate::actions::shared::{Action, paging};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::dps::{ALL_ENROLLMENTS, shown};
use crate::error::Result;
use crate::form::schema::{help, object, string, with};
use crate::form::{Spec, fields, typed};
use crate::session::Session;

pub struct QueryIndividualEnrollments;

const ID: &str = "query-individual-enrollments";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    query: Option<String>,
    page_size: Option<u32>,
}

impl Action for QueryIndividualEnrollments {
    fn id(&self) -> &'static str {
        ID
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Query individual enrollments",
            help: "Lists the individual enrollments of the Device Provisioning Service page by page. Symmetric keys, and the key in the URL of a custom allocation, are left out.",
            group: "Enrollments",
            input: object(
                [
                    (
                        "query",
                        with(
                            help(
                                string("Query"),
                                "In the service's query language. Empty: all individual enrollments.",
                            ),
                            json!({ "minLength": 1, "maxLength": 4096, "default": ALL_ENROLLMENTS, "x-visibility": "advanced" }),
                        ),
                    ),
                    ("pageSize", fields::page_size()),
                ],
                &[],
            ),
            output: fields::page_output("Enrollments", fields::enrollment_output()),
            input_sample: json!({ "pageSize": 100 }),
            output_sample: json!({ "items": [fields::enrollment_sample()] }),
            dynamic_output: false,
            permissions: &[Permission::EnrollmentRead],
            limits: &[("Operations of a provisioning service", 1000, "requests/minute")],
        };
        ActionDescriptor {
            operation: spec.operation(),
            effect: Effect::Read,
            idempotency: Idempotency::Natural,
            paged: true,
        }
    }

    fn invoke(&self, session: &Session, input: Value, _call: &Call) -> Result<Outcome> {
        page(session, &input, None)
    }

    fn resume(&self, session: &Session, token: &str, _call: &Call) -> Result<Outcome> {
        let (input, continuation) = paging::open(self, token)?;
        page(session, &input, Some(&continuation))
    }
}

fn page(session: &Session, input: &Value, continuation: Option<&str>) -> Result<Outcome> {
    let typed: Input = typed(input.clone())?;
    let query = typed.query.as_deref().unwrap_or(ALL_ENROLLMENTS);
    let mut page = session.dps()?.query_enrollments(query, paging::size(typed.page_size), continuation)?;
    page.items = page.items.into_iter().map(|enrollment| shown(enrollment, false)).collect();
    Ok(paging::outcome(ID, input, page))
}
