//! The fields of enrollments: those of a form for one, and those of an entry in a list.

use serde_json::{Value, json};

use crate::actions::shared::declaration::{Field, object_of, optional, required};
use crate::actions::shared::list;
use crate::form::fields;
use crate::form::schema::{help, list as list_of, literal, one_of, string, with};

/// The fields of an individual enrollment.
pub const INDIVIDUAL: &[Field] = &[
    required("registrationId", fields::registration_id),
    optional("mode", mode),
    optional("attestation", attestation_of_device),
    optional("deviceId", device_id),
    optional("provisioningStatus", provisioning_status),
    optional("allocationPolicy", allocation_policy),
    optional("iotHubHostName", iot_hub_host_name),
    optional("iotHubs", iot_hubs),
    optional("customAllocationDefinition", custom_allocation),
    optional("reprovisionPolicy", reprovision_policy),
    optional("initialTwin", initial_twin),
    optional("optionalDeviceInformation", device_information),
    optional("namespaceName", namespace_name),
    optional("certificateAuthorityName", certificate_authority_name),
    optional("certificatePolicyName", certificate_policy_name),
    optional("edge", edge),
    optional("includeKeys", fields::include_keys),
    optional("etag", fields::etag),
];

/// The fields of an enrollment group.
pub const GROUP: &[Field] = &[
    required("enrollmentGroupId", fields::enrollment_group_id),
    optional("mode", mode),
    optional("attestation", attestation_of_group),
    optional("provisioningStatus", provisioning_status),
    optional("allocationPolicy", allocation_policy),
    optional("iotHubHostName", iot_hub_host_name),
    optional("iotHubs", iot_hubs),
    optional("customAllocationDefinition", custom_allocation),
    optional("reprovisionPolicy", reprovision_policy),
    optional("initialTwin", initial_twin),
    optional("namespaceName", namespace_name),
    optional("certificateAuthorityName", certificate_authority_name),
    optional("certificatePolicyName", certificate_policy_name),
    optional("edge", edge),
    optional("includeKeys", fields::include_keys),
    optional("etag", fields::etag),
];

/// The most entries of one list. It is our own limit: the entries that are left travel in the token of each page.
const MOST_ENTRIES: u32 = 10_000;

/// A list of enrollments, each with the fields of the form for one except `left_out`.
pub fn entries(title: &str, form: &'static [Field], left_out: &[&str]) -> Value {
    let mut entry = with(object_of(form, left_out), literal!({ "title": "Enrollment" }));
    // In a list, the field that decides which others apply has no fixed place.
    let kinds = entry.pointer_mut("/properties/attestation/properties").and_then(Value::as_object_mut);
    for kind in kinds.into_iter().flat_map(|kinds| kinds.values_mut()).filter_map(Value::as_object_mut) {
        kind.remove("x-depends-on");
    }
    with(list_of(title, entry), json!({ "minItems": 1, "maxItems": MOST_ENTRIES }))
}

/// A list of ids.
pub fn ids(title: &str, id: Value) -> Value {
    with(list_of(title, id), json!({ "minItems": 1, "maxItems": MOST_ENTRIES }))
}

/// What became of each entry of a list.
pub fn results(id_member: &'static str) -> Value {
    list::results((id_member, "Id"), [])
}

/// An example of [`results`].
pub fn results_sample(id_member: &str) -> Value {
    json!({
        "items": [
            { "index": 0, id_member: "press-17", "result": "ok" },
            { "index": 1, id_member: "press-18", "result": "failed", "code": "conflict", "serviceCode": "409201", "message": "There is such an enrollment already, or it is being changed. (409201)" },
        ],
        "failed": 1,
        "unknown": 0,
    })
}

fn mode() -> Value {
    literal!({
        "type": "string",
        "title": "Mode",
        "enum": ["create", "update", "createOrUpdate"],
        "description": "`create` fails where the enrollment exists, `update` where it does not.",
        "default": "createOrUpdate"
    })
}

fn device_id() -> Value {
    help(fields::device_id(), "The id the device gets in its hub. Empty: the registration id. Case matters.")
}

fn provisioning_status() -> Value {
    literal!({ "type": "string", "title": "Provisioning status", "enum": ["enabled", "disabled"], "description": "Whether registering is allowed. A new enrollment is enabled." })
}

fn allocation_policy() -> Value {
    literal!({
        "type": "string",
        "title": "Allocation policy",
        "enum": ["hashed", "geoLatency", "static", "custom"],
        "description": "How the hub is chosen: evenly, the nearest, the one that is named, or by a function of yours. Empty: as the service is set up.",
        "x-group": "Allocation"
    })
}

fn iot_hub_host_name() -> Value {
    hub_host(
        "The one hub to use; sets the allocation policy to `static`. It must stand here exactly as it is linked to the service (**Linked IoT hubs** in the portal), which may be `plant.device.azure-devices.net`.",
    )
}

fn iot_hubs() -> Value {
    let host = hub_host(
        "A hub that is linked to the service, exactly as it is linked: it may be `plant.device.azure-devices.net`.",
    );
    with(
        list_of("IoT hubs", host),
        literal!({ "description": "The hubs to choose from. Empty: all that are linked.", "minItems": 1, "maxItems": 100, "x-group": "Allocation" }),
    )
}

fn hub_host(text: &str) -> Value {
    let host = literal!({
        "type": "string",
        "title": "IoT hub",
        "minLength": 1,
        "maxLength": 253,
        "pattern": "^[A-Za-z0-9.-]+$",
        "$comment": "must be a host name",
        "examples": ["plant.azure-devices.net"],
        "x-group": "Allocation"
    });
    help(host, text)
}

fn custom_allocation() -> Value {
    literal!({
        "type": "object",
        "title": "Custom allocation",
        "description": "The function that chooses the hub, for the allocation policy `custom`.",
        "properties": {
            "webhookUrl": {
                "type": "string",
                "title": "Webhook URL",
                "description": "The function's URL, with its key where it needs one. It is read back with `(secret)` in the place of the key; given so, the key stays as it is.",
                "minLength": 1,
                "maxLength": 2048,
                "pattern": "^https://",
                "$comment": "must begin with https://",
                "writeOnly": true
            },
            "apiVersion": {
                "type": "string",
                "title": "API version",
                "description": "The version of the service's request to the function.",
                "minLength": 1,
                "maxLength": 32,
                "examples": ["2019-03-31"]
            }
        },
        "required": ["webhookUrl", "apiVersion"],
        "additionalProperties": false,
        "x-group": "Allocation",
        "x-visibility": "advanced"
    })
}

fn reprovision_policy() -> Value {
    literal!({
        "type": "object",
        "title": "Reprovision policy",
        "description": "What happens when a device registers again.",
        "properties": {
            "updateHubAssignment": { "type": "boolean", "title": "Update the hub assignment", "default": true },
            "migrateDeviceData": { "type": "boolean", "title": "Migrate the device's data", "default": true }
        },
        "additionalProperties": false,
        "x-visibility": "advanced"
    })
}

fn initial_twin() -> Value {
    literal!({
        "type": "object",
        "title": "Initial twin",
        "description": "What a device's twin begins with. Each part that is given takes the place of the one there was.",
        "properties": {
            "tags": { "type": "object", "title": "Tags", "additionalProperties": true },
            "desired": { "type": "object", "title": "Desired properties", "additionalProperties": true }
        },
        "additionalProperties": false
    })
}

fn device_information() -> Value {
    literal!({
        "type": "object",
        "title": "Device information",
        "description": "Notes on the device, which stay in the enrollment.",
        "additionalProperties": true,
        "x-visibility": "advanced"
    })
}

/// The patterns of the members about certificates are those of the service's API description.
fn namespace_name() -> Value {
    literal!({
        "type": "string",
        "title": "Device Registry namespace",
        "description": "The namespace of Azure Device Registry that has the certificate authority and the policy. For devices that have their certificates issued when they register. Needs a provisioning service with version 2026-11-01 of its API.",
        "minLength": 3,
        "maxLength": 64,
        "pattern": "^[a-z0-9][a-z0-9-]*[a-z0-9]$",
        "$comment": "must have lower-case letters, digits and -, with a letter or digit at both ends",
        "x-group": "Certificates",
        "x-visibility": "advanced"
    })
}

fn certificate_authority_name() -> Value {
    authority_or_policy("Certificate authority", "The certificate authority in that namespace.")
}

fn certificate_policy_name() -> Value {
    authority_or_policy(
        "Certificate policy",
        "The policy of that certificate authority by which certificates are issued.",
    )
}

fn authority_or_policy(title: &str, text: &str) -> Value {
    let rules = literal!({
        "minLength": 3,
        "maxLength": 63,
        "pattern": "^[0-9a-zA-Z][a-zA-Z0-9-]*$",
        "$comment": "must have letters, digits and -, with a letter or digit at the beginning",
        "x-group": "Certificates",
        "x-visibility": "advanced"
    });
    with(help(string(title), text), rules)
}

fn edge() -> Value {
    literal!({ "type": "boolean", "title": "IoT Edge device", "x-visibility": "advanced" })
}

fn attestation_of_device() -> Value {
    let mut schema = attestation(
        "How the device proves who it is. A new enrollment needs it.",
        "PEM, or DER in base64; without its private key.",
    );
    schema["properties"]["type"] = one_of("Type", &["symmetricKey", "tpm", "x509"]);
    schema["properties"]["tpm"] = literal!({
        "type": "object",
        "title": "TPM",
        "properties": {
            "endorsementKey": {
                "type": "string",
                "title": "Endorsement key",
                "description": "The public part of the TPM's key, in base64.",
                "minLength": 1,
                "maxLength": 4096
            }
        },
        "required": ["endorsementKey"],
        "additionalProperties": false,
        "x-depends-on": "/attestation/type"
    });
    schema
}

fn attestation_of_group() -> Value {
    attestation(
        "How the devices of the group prove that they belong to it. A new group needs it. A device of a group with symmetric keys has a key of its own, which **Derive a device key** makes.",
        "The root or intermediate CA certificate that signs the devices' certificates: PEM, or DER in base64; without its private key.",
    )
}

fn attestation(text: &str, certificate: &str) -> Value {
    let mut schema = literal!({
        "type": "object",
        "title": "Attestation",
        "properties": {
            "type": { "type": "string", "title": "Type", "enum": ["symmetricKey", "x509"] },
            "symmetricKey": {
                "type": "object",
                "title": "Symmetric keys",
                "properties": {},
                "additionalProperties": false,
                "x-depends-on": "/attestation/type"
            },
            "x509": {
                "type": "object",
                "title": "X.509",
                "properties": {
                    "primaryCertificate": { "type": "string", "title": "Primary certificate", "minLength": 1, "maxLength": 16384 },
                    "secondaryCertificate": { "type": "string", "title": "Secondary certificate", "minLength": 1, "maxLength": 16384 },
                    "primaryCaReference": { "type": "string", "title": "Primary CA reference", "description": "The name of a CA certificate that the service knows.", "minLength": 1, "maxLength": 128 },
                    "secondaryCaReference": { "type": "string", "title": "Secondary CA reference", "description": "The name of a CA certificate that the service knows.", "minLength": 1, "maxLength": 128 }
                },
                "additionalProperties": false,
                "x-depends-on": "/attestation/type"
            }
        },
        "required": ["type"],
        "additionalProperties": false
    });
    let keys = &mut schema["properties"]["symmetricKey"]["properties"];
    keys["primaryKey"] = fields::symmetric_key("Primary key");
    keys["secondaryKey"] = fields::symmetric_key("Secondary key");
    for name in ["primaryCertificate", "secondaryCertificate"] {
        schema["properties"]["x509"]["properties"][name]["description"] = certificate.into();
    }
    help(schema, text)
}
