//! Lists individual enrollments.
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
use crate::dps::{ALL_ENROLLMENTS, Kind};
use crate::form::fields;

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "query-individual-enrollments",
        title: "Query individual enrollments",
        help: "Lists the individual enrollments of the Device Provisioning Service page by page. Symmetric keys, and the key in the URL of a custom allocation, are left out.",
        group: "Enrollments",
        input: &[
            optional("query", || fields::dps_query("individual enrollments", ALL_ENROLLMENTS)),
            optional("pageSize", fields::page_size),
        ],
        input_sample: r#"{ "pageSize": 100 }"#,
        output: || fields::page_output("Enrollments", fields::enrollment_output()),
        output_sample: || json!({ "items": [fields::enrollment_sample()] }),
        dynamic_output: false,
        permissions: &[Permission::EnrollmentRead],
        limits: &[limits::PROVISIONING],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    paged: true,
    step: |session, input, state, _| list_page(Kind::Individual, session, input, state),
};
