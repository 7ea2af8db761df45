//! Lists individual enrollments.
//!
//! ```scenario
//! pages {"pageSize": 2}
//! invalid-input {"query": "SELECT FROM WHERE"}
//! ```

use serde_json::json;

use crate::actions::shared::declaration::{Declaration, optional};
use crate::actions::shared::limits;
use crate::actions::shared::stepped::{Stepped, list};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::dps::{ALL_ENROLLMENTS, shown};
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
    step: |session, input, state, _| {
        list(session, input, state, |session, input, size, continuation| {
            let query = input.text("query").unwrap_or(ALL_ENROLLMENTS);
            let mut page = session.dps()?.query_enrollments(query, size, continuation)?;
            page.items = page.items.into_iter().map(|enrollment| shown(enrollment, false)).collect();
            Ok(page)
        })
    },
};
