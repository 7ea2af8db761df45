//! Lists enrollment groups.
//!
//! ```scenario
//! pages {"pageSize": 2}
//! invalid-input {"query": "SELECT FROM WHERE"}
//! ```

use serde_json::json;

use super::enrollment::list_page;
use crate::actions::shared::declaration::{Declaration, optional};
use crate::actions::shared::limits;
use crate::actions::shared::stepped::Stepped;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::dps::{ALL_ENROLLMENT_GROUPS, Kind};
use crate::form::fields;

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "query-enrollment-groups",
        title: "Query enrollment groups",
        help: "Lists the enrollment groups of the Device Provisioning Service page by page. Symmetric keys, and the key in the URL of a custom allocation, are left out.",
        group: "Enrollments",
        input: &[
            optional("query", || fields::dps_query("enrollment groups", ALL_ENROLLMENT_GROUPS)),
            optional("pageSize", fields::page_size),
        ],
        input_sample: r#"{ "pageSize": 100 }"#,
        output: || fields::page_output("Enrollment groups", fields::enrollment_group_output()),
        output_sample: || json!({ "items": [fields::enrollment_group_sample()] }),
        dynamic_output: false,
        permissions: &[Permission::EnrollmentRead],
        limits: &[limits::PROVISIONING],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    paged: true,
    step: |session, input, state, _| list_page(Kind::Group, session, input, state),
};
