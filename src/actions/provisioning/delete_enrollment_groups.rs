//! Deletes any number of enrollment groups.
//!
//! ```scenario
//! done {"enrollmentGroupIds": ["group-lot-1", "group-lot-2", "group-lot-3", "group-lot-4", "group-lot-5", "group-lot-6", "group-lot-7", "group-lot-8", "group-lot-9", "group-lot-10", "group-lot-11", "group-lot-12"]}
//! done {"enrollmentGroupIds": ["group-lot-1", "group-lot-13"], "ifMissing": "ignore"}
//! done {"enrollmentGroupIds": ["missing", "group-lot-14"]}
//! done {"enrollmentGroupIds": ["group-lot-17", "group-lot-18"]} under dps:POST /enrollmentGroups=drop-afterx1
//! invalid-input {"enrollmentGroupIds": ["group-lot-1", "GROUP-LOT-1"]}
//! ```

use super::form;
use super::many::{self, Work};
use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::removal::IF_MISSING;
use crate::actions::shared::stepped::Stepped;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::dps::Kind;
use crate::form::fields;

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "delete-enrollment-groups",
        title: "Delete enrollment groups",
        help: "Removes any number of enrollment groups from the Device Provisioning Service, ten in one request, with a result for each: an entry that fails does not stop the others. Their keys are lost. Devices that have registered stay in their hubs; delete them there as well to keep them out.",
        group: "Enrollments",
        input: &[
            required("enrollmentGroupIds", || form::ids("Enrollment group ids", fields::enrollment_group_id())),
            IF_MISSING,
        ],
        input_sample: r#"{ "enrollmentGroupIds": ["presses", "looms"], "ifMissing": "ignore" }"#,
        output: || form::results("enrollmentGroupId"),
        output_sample: || form::results_sample("enrollmentGroupId"),
        dynamic_output: false,
        permissions: &[Permission::EnrollmentWrite],
        limits: &[limits::PROVISIONING, limits::BULK],
        effect: Effect::Destructive,
        idempotency: Idempotency::Natural,
    },
    paged: true,
    step: |session, input, state, _| many::step(Kind::Group, Work::Delete, session, input, state),
};
