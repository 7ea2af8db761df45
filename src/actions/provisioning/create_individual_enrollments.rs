//! Creates any number of individual enrollments.
//!
//! ```scenario
//! done {"enrollments": [{"registrationId": "lot-1", "attestation": {"type": "symmetricKey"}}, {"registrationId": "lot-2", "attestation": {"type": "symmetricKey"}}, {"registrationId": "lot-3", "attestation": {"type": "symmetricKey"}}, {"registrationId": "lot-4", "attestation": {"type": "symmetricKey"}}, {"registrationId": "lot-5", "attestation": {"type": "symmetricKey"}}, {"registrationId": "lot-6", "attestation": {"type": "symmetricKey"}}, {"registrationId": "lot-7", "attestation": {"type": "symmetricKey"}}, {"registrationId": "lot-8", "attestation": {"type": "symmetricKey"}}, {"registrationId": "lot-9", "attestation": {"type": "symmetricKey"}}, {"registrationId": "lot-10", "attestation": {"type": "symmetricKey"}}, {"registrationId": "lot-11", "attestation": {"type": "symmetricKey"}}, {"registrationId": "lot-12", "attestation": {"type": "symmetricKey"}}]}
//! done {"enrollments": [{"registrationId": "lot-13", "attestation": {"type": "symmetricKey"}, "namespaceName": "plant", "certificateAuthorityName": "Factory-CA", "certificatePolicyName": "short-lived"}, {"registrationId": "lot-1", "attestation": {"type": "symmetricKey"}}]}
//! done {"enrollments": [{"registrationId": "lot-14", "attestation": {"type": "x509", "x509": {"primaryCertificate": "$certificate"}}, "iotHubHostName": "plant.azure-devices.net", "initialTwin": {"tags": {"site": "north"}}}]}
//! done {"enrollments": [{"registrationId": "lot-15", "attestation": {"type": "symmetricKey"}}]} under dps:POST /enrollments=503+1x1
//! done {"enrollments": [{"registrationId": "lot-17", "attestation": {"type": "symmetricKey"}}, {"registrationId": "lot-18", "attestation": {"type": "symmetricKey"}}]} under dps:POST /enrollments=drop-afterx1
//! invalid-input {"enrollments": [{"registrationId": "lot-16", "attestation": {"type": "symmetricKey"}}, {"registrationId": "LOT-16", "attestation": {"type": "symmetricKey"}}]}
//! invalid-input {"enrollments": [{"registrationId": "lot-16"}]}
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
        id: "create-individual-enrollments",
        title: "Create individual enrollments",
        help: "Creates any number of individual enrollments, ten in one request, with a result for each: an entry that fails does not stop the others. With symmetric keys and none given, the service makes them. One that exists is reported as `conflict`, so repeating the action harms nothing.",
        group: "Enrollments",
        input: &[required("enrollments", || {
            form::entries("Individual enrollments", form::INDIVIDUAL, &["mode", "includeKeys", "etag"])
        })],
        input_sample: r#"{ "enrollments": [{ "registrationId": "press-17", "attestation": { "type": "symmetricKey" } }, { "registrationId": "press-18", "attestation": { "type": "symmetricKey" } }] }"#,
        output: || form::results("registrationId"),
        output_sample: || form::results_sample("registrationId"),
        dynamic_output: false,
        permissions: &[Permission::EnrollmentWrite],
        limits: &[limits::PROVISIONING, limits::BULK, limits::ENROLLMENTS],
        effect: Effect::Write,
        idempotency: Idempotency::None,
    },
    paged: true,
    step: |session, input, state, _| many::step(Kind::Individual, Work::Create, session, input, state),
};
