//! Lists the registrations of an enrollment group.
//!
//! ```scenario
//! pages {"enrollmentGroupId": "looms", "pageSize": 2}
//! not-found {"enrollmentGroupId": "missing"}
//! ```

use serde::Deserialize;
use serde_json::{Value, json};

use crate::actions::shared::{Action, paging};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::dps::RegistrationId;
use crate::error::Result;
use crate::form::schema::literal;
use crate::form::{Spec, fields, schema::object, typed};
use crate::session::Session;

pub struct QueryRegistrationStates;

const ID: &str = "query-registration-states";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    enrollment_group_id: String,
    page_size: Option<u32>,
}

impl Action for QueryRegistrationStates {
    fn id(&self) -> &'static str {
        ID
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Query registration states",
            help: "Lists the devices that have registered through an enrollment group of the Device Provisioning Service, page by page. \
                   For individual enrollments use **Query individual enrollments**: each has its registration in it.",
            group: "Registrations",
            input: object(
                [("enrollmentGroupId", fields::enrollment_group_id()), ("pageSize", fields::page_size())],
                &["enrollmentGroupId"],
            ),
            output: fields::page_output("Registrations", fields::registration_output()),
            input_sample: literal!({ "enrollmentGroupId": "presses", "pageSize": 100 }),
            output_sample: json!({ "items": [fields::registration_sample()] }),
            dynamic_output: false,
            permissions: &[Permission::RegistrationStatusRead],
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
    let group = RegistrationId::parse(&typed.enrollment_group_id, "/enrollmentGroupId")?;
    let page = session.dps()?.query_registrations(&group, paging::size(typed.page_size), continuation)?;
    Ok(paging::outcome(ID, input, page))
}
