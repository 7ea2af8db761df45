//! Creates or changes an individual enrollment.
//!
//! ```scenario
//! done {"registrationId": "made-full", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "$key-1", "secondaryKey": "$key-2"}}, "deviceId": "Made-Full", "provisioningStatus": "enabled", "allocationPolicy": "custom", "iotHubs": ["plant.azure-devices.net"], "customAllocationDefinition": {"webhookUrl": "https://example.azurewebsites.net/api/choose", "apiVersion": "2019-03-31"}, "reprovisionPolicy": {"updateHubAssignment": true, "migrateDeviceData": false}, "initialTwin": {"tags": {"site": "north", "shelf": 3}, "desired": {"intervalSeconds": 30}}, "optionalDeviceInformation": {"note": "by the door", "weight": 1.5}, "edge": true, "includeKeys": true}
//! done {"registrationId": "made-key", "mode": "create", "attestation": {"type": "symmetricKey"}}
//! done {"registrationId": "made-key", "provisioningStatus": "disabled"}
//! done {"registrationId": "made-key", "mode": "update", "reprovisionPolicy": {"migrateDeviceData": false}} tagged get-individual-enrollment {"registrationId": "made-key"}
//! done {"registrationId": "made-tpm", "attestation": {"type": "tpm", "tpm": {"endorsementKey": "$key-1"}}}
//! done {"registrationId": "made-x509", "attestation": {"type": "x509", "x509": {"primaryCertificate": "$certificate"}}}
//! done {"registrationId": "made-x509", "edge": true}
//! done {"registrationId": "made-ca", "attestation": {"type": "x509", "x509": {"primaryCaReference": "root"}}}
//! done {"registrationId": "made-issued", "mode": "create", "attestation": {"type": "symmetricKey"}, "namespaceName": "plant", "certificateAuthorityName": "Factory-CA", "certificatePolicyName": "short-lived"}
//! done {"registrationId": "made-issued", "certificatePolicyName": "long-lived"}
//! done {"registrationId": "made-static", "attestation": {"type": "symmetricKey"}, "iotHubHostName": "plant.azure-devices.net"}
//! done {"registrationId": "made-lost", "attestation": {"type": "symmetricKey"}} under dps:PUT /enrollments/*=drop-afterx1
//! done {"registrationId": "made-lost", "provisioningStatus": "disabled"} under dps:PUT /enrollments/*=drop-afterx1
//! conflict {"registrationId": "made-key", "mode": "create", "attestation": {"type": "symmetricKey"}}
//! not-found {"registrationId": "missing", "mode": "update", "edge": true}
//! precondition-failed {"registrationId": "made-key", "edge": true, "etag": "$stale"}
//! invalid-input {"registrationId": "made-bad", "attestation": {"type": "x509", "x509": {"primaryCertificate": "none"}}}
//! ```

use super::enrollment::create_or_update;
use super::form;
use crate::actions::shared::declaration::Declaration;
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::dps::Kind;
use crate::form::fields;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "create-or-update-individual-enrollment",
        title: "Create or update an individual enrollment",
        help: "Lets one device register with the Device Provisioning Service, or changes how it does. \
               Of an enrollment that exists, what is left empty stays as it is. \
               With symmetric keys and none given, the service makes them; choose **Include keys** to have them in the output.",
        group: "Enrollments",
        input: form::INDIVIDUAL,
        input_sample: r#"{ "registrationId": "press-17", "attestation": { "type": "symmetricKey" }, "initialTwin": { "tags": { "site": "north" } } }"#,
        output: fields::enrollment_output,
        output_sample: fields::enrollment_sample,
        dynamic_output: false,
        permissions: &[Permission::EnrollmentRead, Permission::EnrollmentWrite],
        limits: &[limits::PROVISIONING, limits::ENROLLMENTS],
        effect: Effect::Write,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, call| create_or_update(Kind::Individual, session, input, call),
};
