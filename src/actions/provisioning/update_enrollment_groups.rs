//! Updates any number of enrollment groups.
//!
//! ```scenario
//! done {"enrollmentGroups": [{"enrollmentGroupId": "group-lot-1", "provisioningStatus": "disabled"}, {"enrollmentGroupId": "group-lot-2", "provisioningStatus": "disabled"}, {"enrollmentGroupId": "group-lot-3", "provisioningStatus": "disabled"}, {"enrollmentGroupId": "group-lot-4", "provisioningStatus": "disabled"}, {"enrollmentGroupId": "group-lot-5", "provisioningStatus": "disabled"}, {"enrollmentGroupId": "group-lot-6", "provisioningStatus": "disabled"}, {"enrollmentGroupId": "group-lot-7", "provisioningStatus": "disabled"}, {"enrollmentGroupId": "group-lot-8", "provisioningStatus": "disabled"}, {"enrollmentGroupId": "group-lot-9", "provisioningStatus": "disabled"}, {"enrollmentGroupId": "group-lot-10", "provisioningStatus": "disabled"}, {"enrollmentGroupId": "group-lot-11", "provisioningStatus": "disabled"}, {"enrollmentGroupId": "group-lot-12", "provisioningStatus": "disabled"}]}
//! done {"enrollmentGroups": [{"enrollmentGroupId": "group-lot-13", "certificatePolicyName": "long-lived"}, {"enrollmentGroupId": "missing", "edge": true}, {"enrollmentGroupId": "group-lot-1", "edge": true, "etag": "$stale"}]}
//! done {"enrollmentGroups": [{"enrollmentGroupId": "group-lot-17", "edge": true}, {"enrollmentGroupId": "group-lot-18", "edge": true}]} under dps:POST /enrollmentGroups=drop-afterx1
//! invalid-input {"enrollmentGroups": [{"enrollmentGroupId": "group-lot-1"}]}
//! ```

use super::form;
use super::many::{self, Work};
use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::stepped::Stepped;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::dps::Kind;

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "update-enrollment-groups",
        title: "Update enrollment groups",
        help: "Changes any number of enrollment groups, with a result for each: an entry that fails does not stop the others. What an entry leaves empty stays as it is. Each one is read first, and written, ten in one request, on the condition that nobody has changed it in between.",
        group: "Enrollments",
        input: &[required("enrollmentGroups", || {
            form::entries("Enrollment groups", form::GROUP, &["mode", "includeKeys"])
        })],
        input_sample: r#"{ "enrollmentGroups": [{ "enrollmentGroupId": "presses", "provisioningStatus": "disabled" }, { "enrollmentGroupId": "looms", "provisioningStatus": "disabled" }] }"#,
        output: || form::results("enrollmentGroupId"),
        output_sample: || form::results_sample("enrollmentGroupId"),
        dynamic_output: false,
        permissions: &[Permission::EnrollmentRead, Permission::EnrollmentWrite],
        limits: &[limits::PROVISIONING, limits::BULK],
        effect: Effect::Write,
        idempotency: Idempotency::Natural,
    },
    paged: true,
    step: |session, input, state, _| many::step(Kind::Group, Work::Update, session, input, state),
};
