//! Schemas of the fields and outputs that several operations share.

use serde_json::{Value, json};

use super::schema::{any_object, boolean, help, integer, list, literal, object, one_of, open_object, string, with};
use crate::dps::RegistrationId;
use crate::iothub::DeviceId;

/// The id of a device that exists.
pub fn device_id() -> Value {
    with(new_device_id(), literal!({ "x-options": "devices" }))
}

/// The id of a device to create.
pub fn new_device_id() -> Value {
    with(
        string("Device id"),
        json!({
            "description": "Case matters.",
            "minLength": 1,
            "maxLength": 128,
            "pattern": DeviceId::PATTERN,
            "$comment": "must have 1 to 128 ASCII letters, digits and - : . + % _ # * ? ! ( ) , = @ ; $ '",
        }),
    )
}

/// The id of a device's module that exists.
pub fn module_id() -> Value {
    with(new_module_id(), literal!({ "x-options": "modules", "x-depends-on": "/deviceId" }))
}

/// The id of a module to create.
pub fn new_module_id() -> Value {
    with(new_device_id(), literal!({ "title": "Module id", "description": "Case matters." }))
}

/// Which of the two symmetric keys of an identity is used.
pub fn key_slot() -> Value {
    with(one_of("Key", &["primary", "secondary"]), literal!({ "default": "primary" }))
}

/// The id of an individual enrollment and of its registration.
pub fn registration_id() -> Value {
    dps_id("Registration id", "enrollments")
}

pub fn enrollment_group_id() -> Value {
    dps_id("Enrollment group id", "enrollment-groups")
}

fn dps_id(title: &str, source: &str) -> Value {
    with(
        string(title),
        json!({
            "description": "Case does not matter.",
            "minLength": 1,
            "maxLength": 128,
            "pattern": RegistrationId::PATTERN,
            "$comment": RegistrationId::RULE,
            "x-options": source,
        }),
    )
}

/// The ETag that the thing must still have when it is changed.
pub fn etag() -> Value {
    with(
        help(
            string("ETag"),
            "Make the change only if nobody has made one since this ETag was read. Empty: make it in any case.",
        ),
        literal!({ "minLength": 1, "maxLength": 1024, "x-visibility": "advanced" }),
    )
}

/// A query of the provisioning service for `things`. `all` is the query for all of them.
pub fn dps_query(things: &str, all: &str) -> Value {
    with(
        help(string("Query"), &format!("In the service's query language. Empty: all {things}.")),
        json!({ "minLength": 1, "maxLength": 4096, "default": all, "x-visibility": "advanced" }),
    )
}

/// The number of records of a page.
pub fn page_size() -> Value {
    with(integer("Page size", 1, 1000), literal!({ "default": 100, "x-visibility": "advanced" }))
}

/// The columns of a device's summary.
pub const DEVICE_COLUMNS: &str =
    "deviceId, etag, status, statusReason, connectionState, lastActivityTime, authenticationType, capabilities";

/// How much a list shows of each device.
pub fn device_select() -> Value {
    with(
        help(
            one_of("Select", &["twin", "summary"]),
            "`twin`: tags and properties as well. `summary`: only what a list shows, which is faster for many devices.",
        ),
        literal!({ "default": "twin" }),
    )
}

/// The thumbprint of a device's certificate.
pub fn thumbprint(title: &str) -> Value {
    with(
        help(string(title), "SHA-1 (40 hexadecimal digits) or SHA-256 (64) of the certificate."),
        literal!({ "pattern": "^([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$", "$comment": "must be 40 or 64 hexadecimal digits", "x-visibility": "advanced" }),
    )
}

/// The behaviour if the thing to delete does not exist.
pub fn if_missing() -> Value {
    with(
        help(
            one_of("If it is missing", &["fail", "ignore"]),
            "`ignore`: count as done, with `deleted` false. Makes repeating the action harmless.",
        ),
        literal!({ "default": "fail", "x-visibility": "advanced" }),
    )
}

/// Whether the output of an enrollment contains its keys.
pub fn include_keys() -> Value {
    with(
        help(
            boolean("Include keys"),
            "Answer with the symmetric keys as well. Needs the permission **Enrollment write**; whatever logs or stores the output then holds secrets.",
        ),
        literal!({ "default": false, "x-visibility": "advanced" }),
    )
}

/// A symmetric key of a device.
pub fn symmetric_key(title: &str) -> Value {
    with(
        help(string(title), "Base64. Empty: the service makes one."),
        literal!({ "minLength": 1, "maxLength": 128, "writeOnly": true, "format": "password", "x-visibility": "advanced" }),
    )
}

/// A device identity as the hub returns it.
pub fn device_output() -> Value {
    let text = |title| string(title);
    open_object(
        [
            ("deviceId", text("Device id")),
            ("generationId", text("Generation id")),
            ("etag", text("ETag")),
            ("status", one_of("Status", &["enabled", "disabled"])),
            ("statusReason", with(text("Status reason"), literal!({ "type": ["string", "null"] }))),
            ("statusUpdatedTime", text("Status updated")),
            ("connectionState", one_of("Connection state", &["Connected", "Disconnected"])),
            ("connectionStateUpdatedTime", text("Connection state updated")),
            ("lastActivityTime", text("Last activity")),
            ("cloudToDeviceMessageCount", integer("Cloud-to-device messages waiting", 0, i64::from(i32::MAX))),
            ("authentication", authentication_output()),
            ("capabilities", open_object([("iotEdge", boolean("IoT Edge device"))], &[])),
            ("deviceScope", string("Scope of IoT Edge")),
            ("parentScopes", list("Scopes of the parents", string("Scope"))),
        ],
        &["deviceId", "etag", "status"],
    )
}

/// A secret in an output: whoever shows, logs or stores the output must hide it.
pub fn secret(title: &str) -> Value {
    with(string(title), literal!({ "format": "password", "x-secret": true }))
}

/// The symmetric keys of a device, an enrollment or a module.
pub fn keys_output() -> Value {
    let keys = [("primaryKey", secret_or_null("Primary key")), ("secondaryKey", secret_or_null("Secondary key"))];
    with(open_object(keys, &[]), literal!({ "title": "Symmetric keys", "type": ["object", "null"] }))
}

fn secret_or_null(title: &str) -> Value {
    with(secret(title), literal!({ "type": ["string", "null"] }))
}

/// How a device or module proves itself, as the hub returns it.
fn authentication_output() -> Value {
    let members = [
        ("type", one_of("Type", &["sas", "selfSigned", "certificateAuthority", "none"])),
        ("symmetricKey", keys_output()),
        (
            "x509Thumbprint",
            literal!({ "type": ["object", "null"], "title": "Thumbprints", "additionalProperties": true }),
        ),
    ];
    with(open_object(members, &[]), literal!({ "title": "Authentication" }))
}

/// A module identity as the hub returns it.
pub fn module_output() -> Value {
    open_object(
        [
            ("moduleId", string("Module id")),
            ("deviceId", string("Device id")),
            ("managedBy", with(string("Managed by"), literal!({ "type": ["string", "null"] }))),
            ("generationId", string("Generation id")),
            ("etag", string("ETag")),
            ("connectionState", one_of("Connection state", &["Connected", "Disconnected"])),
            ("connectionStateUpdatedTime", string("Connection state updated")),
            ("lastActivityTime", string("Last activity")),
            ("cloudToDeviceMessageCount", integer("Messages waiting", 0, i64::from(i32::MAX))),
            ("authentication", authentication_output()),
        ],
        &["moduleId", "deviceId", "etag"],
    )
}

/// An example of [`module_output`].
pub fn module_sample() -> Value {
    literal!({
        "moduleId": "vision",
        "deviceId": "press-17",
        "managedBy": null,
        "generationId": "638675123456789012",
        "etag": "NzA2NzY1ODM4",
        "connectionState": "Disconnected",
        "connectionStateUpdatedTime": "0001-01-01T00:00:00Z",
        "lastActivityTime": "0001-01-01T00:00:00Z",
        "cloudToDeviceMessageCount": 0,
        "authentication": { "type": "sas", "symmetricKey": { "primaryKey": "(base64)", "secondaryKey": "(base64)" }, "x509Thumbprint": { "primaryThumbprint": null, "secondaryThumbprint": null } }
    })
}

/// An example of [`device_output`].
pub fn device_sample() -> Value {
    literal!({
        "deviceId": "press-17",
        "generationId": "638675123456789012",
        "etag": "NzA2NzY1ODM4",
        "status": "enabled",
        "statusReason": null,
        "statusUpdatedTime": "0001-01-01T00:00:00Z",
        "connectionState": "Disconnected",
        "connectionStateUpdatedTime": "0001-01-01T00:00:00Z",
        "lastActivityTime": "0001-01-01T00:00:00Z",
        "cloudToDeviceMessageCount": 0,
        "authentication": { "type": "sas", "symmetricKey": { "primaryKey": "(base64)", "secondaryKey": "(base64)" }, "x509Thumbprint": { "primaryThumbprint": null, "secondaryThumbprint": null } },
        "capabilities": { "iotEdge": false }
    })
}

/// A device twin as the hub returns it.
pub fn twin_output() -> Value {
    open_object(
        [
            ("deviceId", string("Device id")),
            ("etag", string("ETag")),
            ("deviceEtag", string("ETag of the identity")),
            ("version", integer("Version", 0, i64::MAX)),
            ("status", one_of("Status", &["enabled", "disabled"])),
            ("connectionState", one_of("Connection state", &["Connected", "Disconnected"])),
            ("lastActivityTime", string("Last activity")),
            ("tags", any_object("Tags")),
            (
                "properties",
                open_object(
                    [("desired", any_object("Desired properties")), ("reported", any_object("Reported properties"))],
                    &[],
                ),
            ),
        ],
        &["deviceId", "etag"],
    )
}

/// An example of [`twin_output`].
pub fn twin_sample() -> Value {
    literal!({
        "deviceId": "press-17",
        "etag": "AAAAAAAAAAI=",
        "deviceEtag": "NzA2NzY1ODM4",
        "version": 5,
        "status": "enabled",
        "connectionState": "Connected",
        "lastActivityTime": "2026-05-04T07:30:00Z",
        "tags": { "site": "north", "line": "3" },
        "properties": {
            "desired": { "intervalSeconds": 30, "$metadata": { "$lastUpdated": "2026-05-04T07:00:00Z" }, "$version": 2 },
            "reported": { "firmware": "4.1.0", "$metadata": { "$lastUpdated": "2026-05-04T07:29:00Z" }, "$version": 3 }
        }
    })
}

/// An individual enrollment as the provisioning service returns it.
pub fn enrollment_output() -> Value {
    let mut schema = enrollment_of_either_kind("registrationId", "Registration id");
    schema["properties"]["deviceId"] = string("Device id");
    schema["properties"]["registrationState"] = with(registration_output(), json!({ "required": [] }));
    schema
}

/// An enrollment group as the provisioning service returns it.
pub fn enrollment_group_output() -> Value {
    enrollment_of_either_kind("enrollmentGroupId", "Enrollment group id")
}

fn enrollment_of_either_kind(id_field: &str, id_title: &str) -> Value {
    let mut schema = literal!({
        "type": "object",
        "properties": {
            "etag": { "type": "string", "title": "ETag" },
            "provisioningStatus": { "type": "string", "title": "Provisioning status", "enum": ["enabled", "disabled"] },
            "capabilities": {
                "type": "object",
                "properties": { "iotEdge": { "type": "boolean", "title": "IoT Edge device" } },
                "additionalProperties": true
            },
            "iotHubHostName": { "type": "string", "title": "IoT hub" },
            "iotHubs": { "type": "array", "title": "IoT hubs", "items": { "type": "string", "title": "IoT hub" } },
            "allocationPolicy": { "type": "string", "title": "Allocation policy", "enum": ["hashed", "geoLatency", "static", "custom"] },
            "namespaceName": { "type": "string", "title": "Device Registry namespace" },
            "certificateAuthorityName": { "type": "string", "title": "Certificate authority" },
            "certificatePolicyName": { "type": "string", "title": "Certificate policy" },
            "customAllocationDefinition": {
                "type": "object",
                "properties": {
                    "webhookUrl": { "type": "string", "title": "Webhook URL", "description": "Where the function is; `(secret)` stands for the key in it." },
                    "apiVersion": { "type": "string", "title": "API version" }
                },
                "additionalProperties": true
            },
            "initialTwin": { "type": "object", "title": "Initial twin", "additionalProperties": true },
            "createdDateTimeUtc": { "type": "string", "title": "Created" },
            "lastUpdatedDateTimeUtc": { "type": "string", "title": "Last updated" }
        },
        "additionalProperties": true
    });
    schema["properties"][id_field] = string(id_title);
    schema["properties"]["attestation"] = attestation_output();
    schema["required"] = json!([id_field, "attestation"]);
    schema
}

/// The attestation of an enrollment. It has the keys only where they were asked for.
pub fn attestation_output() -> Value {
    literal!({
        "type": "object",
        "properties": {
            "type": { "type": "string", "title": "Attestation", "enum": ["none", "tpm", "x509", "symmetricKey"] },
            "symmetricKey": {
                "type": ["object", "null"],
                "title": "Symmetric keys",
                "properties": {
                    "primaryKey": { "type": ["string", "null"], "title": "Primary key", "format": "password", "x-secret": true },
                    "secondaryKey": { "type": ["string", "null"], "title": "Secondary key", "format": "password", "x-secret": true }
                },
                "additionalProperties": true
            }
        },
        "required": ["type"],
        "additionalProperties": true
    })
}

/// An example of [`attestation_output`] with keys.
pub fn attestation_sample() -> Value {
    literal!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": "(base64)", "secondaryKey": "(base64)" } })
}

/// An example of [`enrollment_group_output`].
pub fn enrollment_group_sample() -> Value {
    literal!({
        "enrollmentGroupId": "presses",
        "etag": "\"3300a4b1-0000-0100-0000-66f0c2a10002\"",
        "provisioningStatus": "enabled",
        "attestation": { "type": "symmetricKey" },
        "capabilities": { "iotEdge": false },
        "allocationPolicy": "hashed",
        "initialTwin": { "tags": { "site": "north" }, "properties": { "desired": {} } },
        "createdDateTimeUtc": "2026-05-04T07:00:00Z",
        "lastUpdatedDateTimeUtc": "2026-05-04T07:00:00Z"
    })
}

/// An example of [`enrollment_output`].
pub fn enrollment_sample() -> Value {
    literal!({
        "registrationId": "press-17",
        "deviceId": "press-17",
        "etag": "\"3300a4b1-0000-0100-0000-66f0c2a10000\"",
        "provisioningStatus": "enabled",
        "attestation": { "type": "symmetricKey" },
        "capabilities": { "iotEdge": false },
        "allocationPolicy": "hashed",
        "initialTwin": { "tags": { "site": "north" }, "properties": { "desired": {} } },
        "createdDateTimeUtc": "2026-05-04T07:00:00Z",
        "lastUpdatedDateTimeUtc": "2026-05-04T07:00:00Z"
    })
}

/// The state of a registration as the provisioning service returns it.
pub fn registration_output() -> Value {
    open_object(
        [
            ("registrationId", string("Registration id")),
            ("deviceId", string("Device id")),
            ("assignedHub", string("Assigned hub")),
            ("status", one_of("Status", &["unassigned", "assigning", "assigned", "failed", "disabled"])),
            (
                "substatus",
                one_of(
                    "Substatus",
                    &["initialAssignment", "deviceDataMigrated", "deviceDataReset", "reprovisionedToInitialAssignment"],
                ),
            ),
            ("errorCode", integer("Error code", 0, i64::from(i32::MAX))),
            ("errorMessage", string("Error message")),
            ("createdDateTimeUtc", string("Created")),
            ("lastUpdatedDateTimeUtc", string("Last updated")),
            ("etag", string("ETag")),
        ],
        &["registrationId", "status"],
    )
}

/// An example of [`registration_output`].
pub fn registration_sample() -> Value {
    literal!({
        "registrationId": "press-17",
        "deviceId": "press-17",
        "assignedHub": "plant.azure-devices.net",
        "status": "assigned",
        "substatus": "initialAssignment",
        "createdDateTimeUtc": "2026-05-04T07:05:00Z",
        "lastUpdatedDateTimeUtc": "2026-05-04T07:05:00Z",
        "etag": "\"3300a4b1-0000-0100-0000-66f0c2a10001\""
    })
}

/// The output of an action that deletes: the id, and whether anything was deleted.
pub fn deleted_output(id_field: &str, id_title: &str) -> Value {
    object([(id_field, string(id_title)), ("deleted", boolean("Deleted"))], &[id_field, "deleted"])
}

/// One page of a paged action's output.
pub fn page_output(title: &str, item: Value) -> Value {
    object([("items", list(title, item))], &["items"])
}

/// An entry in a list of devices: the device's twin, or some columns of the twin.
pub fn listed_device_output() -> Value {
    with(twin_output(), literal!({ "required": ["deviceId"] }))
}
