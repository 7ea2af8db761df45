//! Creates or changes an enrollment group.
//!
//! ```scenario
//! done {"enrollmentGroupId": "made-full", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "$key-1", "secondaryKey": "$key-2"}}, "provisioningStatus": "enabled", "allocationPolicy": "custom", "iotHubs": ["plant.azure-devices.net"], "customAllocationDefinition": {"webhookUrl": "https://example.azurewebsites.net/api/choose", "apiVersion": "2019-03-31"}, "reprovisionPolicy": {"updateHubAssignment": true, "migrateDeviceData": false}, "initialTwin": {"tags": {"site": "north", "shelf": 3}, "desired": {"intervalSeconds": 30}}, "edge": true, "includeKeys": true}
//! done {"enrollmentGroupId": "made-key", "mode": "create", "attestation": {"type": "symmetricKey"}}
//! done {"enrollmentGroupId": "made-key", "provisioningStatus": "disabled"}
//! done {"enrollmentGroupId": "made-key", "mode": "update", "reprovisionPolicy": {"migrateDeviceData": false}} tagged get-enrollment-group {"enrollmentGroupId": "made-key"}
//! done {"enrollmentGroupId": "made-signed", "attestation": {"type": "x509", "x509": {"primaryCertificate": "$certificate"}}}
//! done {"enrollmentGroupId": "made-signed", "edge": true}
//! done {"enrollmentGroupId": "made-ca", "attestation": {"type": "x509", "x509": {"primaryCaReference": "root", "secondaryCaReference": "next"}}}
//! done {"enrollmentGroupId": "made-issued", "mode": "create", "attestation": {"type": "symmetricKey"}, "namespaceName": "plant", "certificateAuthorityName": "Factory-CA", "certificatePolicyName": "short-lived"}
//! done {"enrollmentGroupId": "made-issued", "certificatePolicyName": "long-lived"}
//! done {"enrollmentGroupId": "made-static", "attestation": {"type": "symmetricKey"}, "iotHubHostName": "plant.azure-devices.net"}
//! done {"enrollmentGroupId": "made-lost", "attestation": {"type": "symmetricKey"}} under dps:PUT /enrollmentGroups/*=drop-afterx1
//! done {"enrollmentGroupId": "made-lost", "provisioningStatus": "disabled"} under dps:PUT /enrollmentGroups/*=drop-afterx1
//! conflict {"enrollmentGroupId": "made-key", "mode": "create", "attestation": {"type": "symmetricKey"}}
//! not-found {"enrollmentGroupId": "missing", "mode": "update", "edge": true}
//! precondition-failed {"enrollmentGroupId": "made-key", "edge": true, "etag": "$stale"}
//! invalid-input {"enrollmentGroupId": "made-bad", "attestation": {"type": "x509", "x509": {"primaryCertificate": "none"}}}
//! invalid-input {"enrollmentGroupId": "made-bad", "edge": true}
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
        id: "create-or-update-enrollment-group",
        title: "Create or update an enrollment group",
        help: "Lets all devices of a group register with the Device Provisioning Service, or changes how they do: devices whose keys derive from the group's, or whose certificates the group's CA has signed. \
               Of a group that exists, what is left empty stays as it is. \
               With symmetric keys and none given, the service makes them; choose **Include keys** to have them in the output.",
        group: "Enrollments",
        input: form::GROUP,
        input_sample: r#"{ "enrollmentGroupId": "presses", "attestation": { "type": "symmetricKey" }, "initialTwin": { "tags": { "site": "north" } } }"#,
        output: fields::enrollment_group_output,
        output_sample: fields::enrollment_group_sample,
        dynamic_output: false,
        permissions: &[Permission::EnrollmentRead, Permission::EnrollmentWrite],
        limits: &[limits::PROVISIONING, limits::ENROLLMENT_GROUPS],
        effect: Effect::Write,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, call| create_or_update(Kind::Group, session, input, call),
};
