//! Creates any number of enrollment groups.
//!
//! ```scenario
//! done {"enrollmentGroups": [{"enrollmentGroupId": "group-lot-1", "attestation": {"type": "symmetricKey"}}, {"enrollmentGroupId": "group-lot-2", "attestation": {"type": "symmetricKey"}}, {"enrollmentGroupId": "group-lot-3", "attestation": {"type": "symmetricKey"}}, {"enrollmentGroupId": "group-lot-4", "attestation": {"type": "symmetricKey"}}, {"enrollmentGroupId": "group-lot-5", "attestation": {"type": "symmetricKey"}}, {"enrollmentGroupId": "group-lot-6", "attestation": {"type": "symmetricKey"}}, {"enrollmentGroupId": "group-lot-7", "attestation": {"type": "symmetricKey"}}, {"enrollmentGroupId": "group-lot-8", "attestation": {"type": "symmetricKey"}}, {"enrollmentGroupId": "group-lot-9", "attestation": {"type": "symmetricKey"}}, {"enrollmentGroupId": "group-lot-10", "attestation": {"type": "symmetricKey"}}, {"enrollmentGroupId": "group-lot-11", "attestation": {"type": "symmetricKey"}}, {"enrollmentGroupId": "group-lot-12", "attestation": {"type": "symmetricKey"}}]}
//! done {"enrollmentGroups": [{"enrollmentGroupId": "group-lot-13", "attestation": {"type": "symmetricKey"}, "namespaceName": "plant", "certificateAuthorityName": "Factory-CA", "certificatePolicyName": "short-lived"}, {"enrollmentGroupId": "group-lot-1", "attestation": {"type": "symmetricKey"}}]}
//! done {"enrollmentGroups": [{"enrollmentGroupId": "group-lot-14", "attestation": {"type": "x509", "x509": {"primaryCertificate": "$certificate"}}, "iotHubHostName": "plant.azure-devices.net", "initialTwin": {"tags": {"site": "north"}}}]}
//! done {"enrollmentGroups": [{"enrollmentGroupId": "group-lot-15", "attestation": {"type": "symmetricKey"}}]} under dps:POST /enrollmentGroups=503+1x1
//! done {"enrollmentGroups": [{"enrollmentGroupId": "group-lot-17", "attestation": {"type": "symmetricKey"}}, {"enrollmentGroupId": "group-lot-18", "attestation": {"type": "symmetricKey"}}]} under dps:POST /enrollmentGroups=drop-afterx1
//! invalid-input {"enrollmentGroups": [{"enrollmentGroupId": "group-lot-16", "attestation": {"type": "symmetricKey"}}, {"enrollmentGroupId": "GROUP-LOT-16", "attestation": {"type": "symmetricKey"}}]}
//! invalid-input {"enrollmentGroups": [{"enrollmentGroupId": "group-lot-16"}]}
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
        id: "create-enrollment-groups",
        title: "Create enrollment groups",
        help: "Creates any number of enrollment groups, ten in one request, with a result for each: an entry that fails does not stop the others. With symmetric keys and none given, the service makes them. One that exists is reported as `conflict`, so repeating the action harms nothing.",
        group: "Enrollments",
        input: &[required("enrollmentGroups", || {
            form::entries("Enrollment groups", form::GROUP, &["mode", "includeKeys", "etag"])
        })],
        input_sample: r#"{ "enrollmentGroups": [{ "enrollmentGroupId": "presses", "attestation": { "type": "symmetricKey" } }, { "enrollmentGroupId": "looms", "attestation": { "type": "symmetricKey" } }] }"#,
        output: || form::results("enrollmentGroupId"),
        output_sample: || form::results_sample("enrollmentGroupId"),
        dynamic_output: false,
        permissions: &[Permission::EnrollmentWrite],
        limits: &[limits::PROVISIONING, limits::BULK, limits::ENROLLMENT_GROUPS],
        effect: Effect::Write,
        idempotency: Idempotency::None,
    },
    paged: true,
    step: |session, input, state, _| many::step(Kind::Group, Work::Create, session, input, state),
};
