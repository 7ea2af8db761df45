//! Lists the registrations of an enrollment group.
//!
//! ```scenario
//! pages {"enrollmentGroupId": "looms", "pageSize": 2}
//! not-found {"enrollmentGroupId": "missing"}
//! ```

use serde_json::json;

use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::limits;
use crate::actions::shared::stepped::{Stepped, list};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "query-registration-states",
        title: "Query registration states",
        help: "Lists the devices that have registered through an enrollment group of the Device Provisioning Service, page by page. \
               For individual enrollments use **Query individual enrollments**: each has its registration in it.",
        group: "Registrations",
        input: &[required("enrollmentGroupId", fields::enrollment_group_id), optional("pageSize", fields::page_size)],
        input_sample: r#"{ "enrollmentGroupId": "presses", "pageSize": 100 }"#,
        output: || fields::page_output("Registrations", fields::registration_output()),
        output_sample: || json!({ "items": [fields::registration_sample()] }),
        dynamic_output: false,
        permissions: &[Permission::RegistrationStatusRead],
        limits: &[limits::PROVISIONING],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    paged: true,
    step: |session, input, state, _| {
        list(session, input, state, |session, input, size, continuation| {
            session.dps()?.query_registrations(&input.enrollment_group()?, size, continuation)
        })
    },
};
