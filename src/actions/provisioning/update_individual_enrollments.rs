//! Updates any number of individual enrollments.
//!
//! ```scenario
//! done {"enrollments": [{"registrationId": "lot-1", "provisioningStatus": "disabled"}, {"registrationId": "lot-2", "provisioningStatus": "disabled"}, {"registrationId": "lot-3", "provisioningStatus": "disabled"}, {"registrationId": "lot-4", "provisioningStatus": "disabled"}, {"registrationId": "lot-5", "provisioningStatus": "disabled"}, {"registrationId": "lot-6", "provisioningStatus": "disabled"}, {"registrationId": "lot-7", "provisioningStatus": "disabled"}, {"registrationId": "lot-8", "provisioningStatus": "disabled"}, {"registrationId": "lot-9", "provisioningStatus": "disabled"}, {"registrationId": "lot-10", "provisioningStatus": "disabled"}, {"registrationId": "lot-11", "provisioningStatus": "disabled"}, {"registrationId": "lot-12", "provisioningStatus": "disabled"}]}
//! done {"enrollments": [{"registrationId": "lot-13", "certificatePolicyName": "long-lived"}, {"registrationId": "missing", "edge": true}, {"registrationId": "lot-1", "edge": true, "etag": "$stale"}]}
//! done {"enrollments": [{"registrationId": "lot-17", "edge": true}, {"registrationId": "lot-18", "edge": true}]} under dps:POST /enrollments=drop-afterx1
//! invalid-input {"enrollments": [{"registrationId": "lot-1"}]}
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
        id: "update-individual-enrollments",
        title: "Update individual enrollments",
        help: "Changes any number of individual enrollments, with a result for each: an entry that fails does not stop the others. What an entry leaves empty stays as it is. Each one is read first, and written, ten in one request, on the condition that nobody has changed it in between.",
        group: "Enrollments",
        input: &[required("enrollments", || {
            form::entries("Individual enrollments", form::INDIVIDUAL, &["mode", "includeKeys"])
        })],
        input_sample: r#"{ "enrollments": [{ "registrationId": "press-17", "provisioningStatus": "disabled" }, { "registrationId": "press-18", "provisioningStatus": "disabled" }] }"#,
        output: || form::results("registrationId"),
        output_sample: || form::results_sample("registrationId"),
        dynamic_output: false,
        permissions: &[Permission::EnrollmentRead, Permission::EnrollmentWrite],
        limits: &[limits::PROVISIONING, limits::BULK],
        effect: Effect::Write,
        idempotency: Idempotency::Natural,
    },
    paged: true,
    step: |session, input, state, _| many::step(Kind::Individual, Work::Update, session, input, state),
};
